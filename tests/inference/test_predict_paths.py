"""Paths that cannot be meant are told at once, before anything heavy is imported; label maps stay out of the images."""

import subprocess
import sys

import pytest
from brats_files import CASES
from models import predict

from nnunet_resunet_ds.cli import main

KINDS = BARE, NO_FILE, AMONG = "input: no such folder", "input: no such file", "output: the folder of the images"
HEAVY = {"torch", "nnunetv2", "SimpleITK", "scipy"}


def imported_by(folder, *words):
    """Return rc, last line of the error, and which heavy modules the command imported before it ended."""
    code = f"""
import sys
from nnunet_resunet_ds.cli import main
rc = main({list(map(str, words))!r})
print(sorted({HEAVY!r} & set(sys.modules)), rc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    loaded, _, rc = done.stdout.strip().rpartition(" ")
    return int(rc), done.stderr.strip(), loaded


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["predict", "-i", "nowhere", "-o", "out"], "nowhere: no such folder; give a path, such as -i /"),
        (["predict", "-i", ".", "-o", "out", "-m", "nowhere"], "nowhere: no such folder; give starter, or the folder"),
        (["predict", "-i", ".", "-o", "out", "--config", "a/b.json"], "a/b.json: no such file; "),
        (["predict", "--t1", "a.nii.gz", "-o", "out"], "a.nii.gz: no such file"),
        (["predict", "-i", ".", "-o", "."], ".: the images are there"),
        (["predict", "-i", ".", "-o", "out.nii.gz"], "cases of folders need a folder"),
        (["postprocess", "-i", "nowhere", "-o", "out"], "nowhere: no such folder"),
        (["postprocess", "-i", ".", "-o", "out", "--config", "b.json"], "b.json: no such file"),
    ],
)
def test_a_wrong_path_is_told_before_anything_heavy_is_imported(tmp_path, words, named):
    """Counted, not timed."""
    rc, error, loaded = imported_by(tmp_path, *words)
    assert rc == 2 and named in error and len(error.splitlines()) == 1
    assert loaded == "[]" and list(tmp_path.iterdir()) == []


def test_a_case_id_for_a_folder_is_answered_with_a_path(tmp_path, monkeypatch, capsys, bad_input):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "-i", CASES[0], "-o", "out"]) == 2
    answer = capsys.readouterr().err
    assert f"give a path, such as -i /data/BraTS2021/{CASES[0]}" in answer
    bad_input("predict", BARE, answer)
    assert main(["predict", "-i", str(tmp_path / "a" / "b"), "-o", "out"]) == 2
    assert f"no such folder; look at the path: {tmp_path} has no a" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path, capsys, bad_input):
    assert main(["predict", "--t1", str(tmp_path / "t1.nii.gz"), "-o", "out"]) == 2
    answer = capsys.readouterr().err
    bad_input("predict", NO_FILE, answer)


def test_label_maps_do_not_go_among_the_images(cohort, images_ts, model, tmp_path, capsys, bad_input):
    before = sorted(tmp_path.rglob("*"))
    for inputs, output in ((cohort, cohort), (cohort, cohort / CASES[0]), (images_ts, images_ts)):
        assert predict(inputs, output, model) == 2
        answer = capsys.readouterr().err.strip().splitlines()[-1]
        assert "the images are there" in answer and "give another folder with -o" in answer
    bad_input("predict", AMONG, answer)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_new_folder_within_the_input_is_no_folder_of_images(cohort, model, capsys):
    assert predict(cohort / CASES[0], cohort / CASES[0] / "labels", model, "-f", "0") == 0
    assert (cohort / CASES[0] / "labels" / f"{CASES[0]}.nii.gz").is_file()
    assert "warning: /" not in capsys.readouterr().err


def test_label_maps_of_others_in_the_output_are_warned_of(cohort, model, tmp_path, capsys):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "old.nii.gz").write_bytes(b"somebody's")
    for _ in range(2):
        assert predict(cohort / CASES[0], notes, model, "-f", "0") == 0
        error = capsys.readouterr().err
        assert f"warning: {notes} holds old.nii.gz, which this command did not write" in error
    assert (notes / "old.nii.gz").read_bytes() == b"somebody's"
    (notes / "old.nii.gz").unlink()
    assert predict(cohort / CASES[1], notes, model, "-f", "0") == 0  # the first is ours
    assert "did not write" not in capsys.readouterr().err
