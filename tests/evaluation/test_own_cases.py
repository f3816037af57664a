"""References of a user's own case ids, with the names that releases give their files."""

import numpy as np
from brats_files import write

from nnunet_resunet_ds.base.run_file import RunFile
from nnunet_resunet_ds.cli import main


def test_segmentations_of_a_user_s_own_cases_are_references(tmp_path, capsys):
    """Next to the images, as ``predict`` takes them; what their values mean is to be said."""
    for case, seed in (("P001", 0), ("P002", 1)):
        labels = np.random.default_rng(seed).integers(0, 4, (6, 6, 6)).astype(np.uint8)
        write(tmp_path / "raw" / case / f"{case}_t1ce.nii.gz", labels * 100)
        write(tmp_path / "raw" / case / f"{case}_seg.nii.gz", labels)
        write(tmp_path / "pred" / f"{case}.nii.gz", labels)
    words = ("-ref", str(tmp_path / "raw"), "-pred", str(tmp_path / "pred"))
    assert main(["evaluate", *words, "--ref-labels", "nnunet", "--pred-labels", "nnunet"]) == 0
    assert "reference: 2 label maps with the values of nnU-Net, as you said" in capsys.readouterr().out
    assert main(["evaluate", *words]) == 0
    assert f"warning: {tmp_path / 'raw'}: no file says what its label values mean" in capsys.readouterr().out


def test_a_prediction_among_them_is_not_replaced_by_its_reference(tmp_path, capsys):
    """``predict -o P001.nii.gz`` may write next to the images."""
    labels = np.ones((6, 6, 6), np.uint8)
    for name in ("P001_t1ce", "P001_seg", "P001"):
        write(tmp_path / "raw" / f"{name}.nii.gz", labels)
    run_file = RunFile(tmp_path / "raw", {"made_by": "resunet-ds predict", "labels": "nnunet"})
    run_file.open(["P001"])
    run_file.note("P001", "P001.nii.gz", {})
    run_file.close()
    reference = tmp_path / "raw" / "P001_seg.nii.gz"
    words = ["evaluate", "-ref", str(reference), "--ref-labels", "nnunet"]
    assert main([*words, "-pred", str(tmp_path / "raw")]) == 2
    assert "has predictions, such as P001.nii.gz, and segmentations" in capsys.readouterr().err
    assert main([*words, "-pred", str(tmp_path / "raw" / "P001.nii.gz")]) == 0
