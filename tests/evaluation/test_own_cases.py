"""References of a user's own case ids, with the names that releases give their files."""

import numpy as np
from brats_files import write

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
