"""One case by its four files: what is read as what is told before the wait, and exchanged files are warned of."""

import json

import pytest
from brats_files import CASES, MODALITIES

from nnunet_resunet_ds.cli import main

CASE = CASES[0]
OF_OTHERS = "output: a file that others wrote"


@pytest.fixture
def single(cohort, model):
    """Runs ``predict`` on the files of one case, in this order of modalities."""

    def run(output, *flags, order=MODALITIES):
        names = zip(MODALITIES, order, strict=True)
        files = [word for flag, name in names for word in (f"--{flag}", str(cohort / CASE / f"{CASE}_{name}.nii.gz"))]
        return main(["predict", *files, "-o", str(output), "-m", str(model), "--no-tta", "-f", "0", *flags])

    return run


def cases_of(folder):
    return json.loads((folder / "run.json").read_text())["cases"]


def test_files_in_their_order_are_told_and_not_warned_of(single, tmp_path, capsys):
    assert single(tmp_path / "tumour.nii.gz") == 0
    printed = capsys.readouterr()
    told = f"1 case, tumour: T1 is {CASE}_t1.nii.gz, T1ce is {CASE}_t1ce.nii.gz, T2 is {CASE}_t2.nii.gz, FLAIR is"
    assert told in printed.out and "read as BraTS" not in printed.out
    assert printed.out.index(told) < printed.out.index("wrote ")
    assert "exchanged" not in printed.out + printed.err
    assert f"wrote {tmp_path / 'tumour.nii.gz'}; run.json and postprocessing_changes.csv are there, too" in printed.out
    assert "no flips" in printed.out and "forward pass of the network\n" in printed.err


def test_exchanged_files_are_warned_of_and_noted(single, tmp_path, capsys):
    assert single(tmp_path / "swapped.nii.gz", order=("t1ce", "t1", "t2", "flair")) == 0
    printed = capsys.readouterr()
    for flag, name in (("t1", "t1ce"), ("t1ce", "t1")):
        assert f"warning: --{flag} is {CASE}_{name}.nii.gz: are two images exchanged?" in printed.err
    assert "--t2 is" not in printed.err
    (noted,) = (one for one in cases_of(tmp_path)["swapped"]["warnings"] if one.startswith("images exchanged?"))
    assert f"T1 is {CASE}_t1ce.nii.gz, T1ce is {CASE}_t1.nii.gz" in noted
    assert f"T1ce is {CASE}_t1.nii.gz, T2 is" in printed.out  # all four, before the wait


def test_a_second_case_in_the_folder_counts_itself_alone(single, tmp_path, capsys):
    for name in ("first", "second"):
        capsys.readouterr()
        assert single(tmp_path / f"{name}.nii.gz") == 0
    said = capsys.readouterr().out
    assert "et_total: changed 0 of 1 case" in said and "of 2 cases" not in said
    rows = (tmp_path / "postprocessing_changes.csv").read_text().splitlines()[1:]
    assert {row.partition(",")[0] for row in rows} == {"first", "second"}


def test_what_is_replaced_is_said_before_the_wait(single, tmp_path, capsys):
    assert single(tmp_path / "out") == 0
    assert "is replaced" not in capsys.readouterr().out
    assert single(tmp_path / "out") == 0
    said = capsys.readouterr().out
    told = "1 label map was there and is replaced; --continue leaves it\n"
    assert told in said and said.index(told) < said.index("wrote ")
    assert single(tmp_path / "out", "--wt", "0.3") == 0
    assert f"and is replaced: other settings or another program made {CASE}.nii.gz" in capsys.readouterr().out
    assert single(tmp_path / "out", "--wt", "0.3", "--continue") == 0
    said = capsys.readouterr().out
    assert "is replaced" not in said and "wrote 0 label maps" in said and "1 was there" in said


def test_what_no_run_of_ours_wrote_is_not_replaced_unasked(single, cohort, tmp_path, capsys, bad_input):
    """As the segmentation of an expert, whose name is given for the output."""
    expert = cohort / CASE / f"{CASE}_seg.nii.gz"
    before = expert.read_bytes()
    assert single(expert) == 2
    error = capsys.readouterr().err
    assert f"{expert}: is there, and no run.json says that we wrote it" in error
    bad_input("predict", OF_OTHERS, next(line for line in error.splitlines() if "error:" in line))
    assert expert.read_bytes() == before
    mine = tmp_path / "mine.nii.gz"
    mine.write_bytes(before)
    assert single(mine, "--overwrite") == 0
    assert single(mine) == 0  # which this time is ours
    assert mine.read_bytes() != before


def test_the_folder_of_the_four_files_is_no_output(single, cohort, capsys):
    assert single(cohort / CASE) == 2
    assert "the images are there, and label maps would lie among them" in capsys.readouterr().err


def test_a_training_case_is_known_by_the_names_of_its_images(cohort, tmp_path, capsys):
    """Its label map has another name; the starter model was trained on a case that is called so."""
    trained = "BraTS2021_01476"
    folder = cohort / trained
    folder.mkdir()
    words = []
    for name in MODALITIES:
        file = folder / f"{trained}_{name}.nii.gz"
        file.write_bytes((cohort / CASE / f"{CASE}_{name}.nii.gz").read_bytes())
        words += [f"--{name}", str(file)]
    assert main(["predict", *words, "-o", str(tmp_path / "mine.nii.gz"), "-f", "1", "--no-tta"]) == 0
    said = capsys.readouterr().out
    assert "warning: a training case?: 1 case, mine (the model was trained on one of this name" in said
    assert "the starter model: a first look, not a result; mean Dice" in said and "; fold 1; choose your own" in said
    assert "site-packages" not in said and "starter_model" not in said


def test_files_without_a_common_name_are_called_as_their_folder(cohort, model, tmp_path):
    """So the second patient does not replace the first one."""
    for patient in ("P1", "P2"):
        words = ["predict", "-o", str(tmp_path / "both"), "-m", str(model), "--no-tta", "-f", "0"]
        for name in MODALITIES:
            file = tmp_path / patient / f"{name}.nii.gz"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes((cohort / CASE / f"{CASE}_{name}.nii.gz").read_bytes())
            words += [f"--{name}", str(file)]
        assert main(words) == 0
    assert sorted(cases_of(tmp_path / "both")) == ["P1", "P2"]
