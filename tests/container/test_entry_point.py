"""What runs in the container: label maps are handed over whole and early, and nothing else is left anywhere."""

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest

from nnunet_resunet_ds.container import entry_point


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """(input, output) and a container's settings, with a folder for temporary files of its own."""
    (tmp_path / "opt").mkdir()
    settings = {"edition": "menrt", "suffix": "_gtv", "models": ["models/1"], "flags": ["--no-tta"]}
    (tmp_path / "opt" / "container.json").write_text(json.dumps(settings))
    monkeypatch.setattr(entry_point, "HERE", tmp_path / "opt")
    monkeypatch.setattr(entry_point, "_SECONDS_BETWEEN_LOOKS", 0.02)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for case in ("a", "b"):
        (tmp_path / "input" / case).mkdir(parents=True)
        (tmp_path / "input" / case / f"{case}_t1c.nii.gz").write_bytes(b"image")
    return tmp_path / "input", tmp_path / "output"


def instead(monkeypatch, code):
    """Run a few lines of Python for ``resunet-ds predict``: ``labels`` is the folder that it writes to."""
    code = "import os, pathlib, sys, time\nlabels = pathlib.Path(sys.argv[1]); labels.mkdir()\n" + textwrap.dedent(code)
    monkeypatch.setattr(entry_point, "command", lambda _, __, labels: [sys.executable, "-c", code, str(labels)])


BOTH = "[(labels / f'{case}.nii.gz').write_text(case) for case in 'ab']\n"


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_label_maps_alone_come_out_and_all_else_is_removed(folders, monkeypatch, tmp_path):
    inputs, output = folders
    instead(monkeypatch, BOTH + "(labels / 'run.json').write_text('{}'); (labels / '.x.nii.gz').write_text('half')")
    assert entry_point.main(inputs, output) == 0
    assert names_in(output) == ["a_gtv.nii.gz", "b_gtv.nii.gz"]
    assert (output / "a_gtv.nii.gz").read_text() == "a"
    assert names_in(tmp_path / "tmp") == []


def test_a_label_map_is_there_before_the_last_one_is_finished(folders, monkeypatch):
    inputs, output = folders
    instead(monkeypatch, f"""
        (labels / 'a.nii.gz').write_text('a')
        wanted, waited = pathlib.Path({str(output)!r}, 'a_gtv.nii.gz'), 0
        while not wanted.exists() and waited < 30:
            time.sleep(0.05); waited += 0.05
        assert wanted.exists()
        (labels / 'b.nii.gz').write_text('b')
    """)  # fmt: skip
    assert entry_point.main(inputs, output) == 0
    assert names_in(output) == ["a_gtv.nii.gz", "b_gtv.nii.gz"]


def test_a_case_that_fails_leaves_the_others_and_the_exit_code(folders, monkeypatch):
    inputs, output = folders
    instead(monkeypatch, "(labels / 'a.nii.gz').write_text('a'); sys.exit(2)")
    assert entry_point.main(inputs, output) == 2
    assert names_in(output) == ["a_gtv.nii.gz"]


def test_images_that_were_not_found_are_named(folders, monkeypatch):
    inputs, output = folders
    (inputs / "c").mkdir()
    (inputs / "c" / "c_T1-contrast.nii.gz").write_bytes(b"image")
    (inputs / "c" / "._hidden.nii.gz").write_bytes(b"")
    (inputs / "notes").mkdir()
    instead(monkeypatch, BOTH)
    with pytest.raises(SystemExit, match=r"no label map for the images in \S+/c:"):
        entry_point.main(inputs, output)
    assert names_in(output) == ["a_gtv.nii.gz", "b_gtv.nii.gz"]


def test_ids_that_begin_alike_do_not_answer_for_each_other(tmp_path):
    for name in ("CASE-0004", "CASE-0004_FU003d", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_T1.nii.gz").touch()
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("CASE-0005_T1.nii.gz", "CASE-0006_T1.nii.gz"):
        (flat / name).touch()
    written = {"CASE-0004", "CASE-0005"}
    assert entry_point.unanswered(tmp_path, written) == [flat]
    assert entry_point.unanswered(tmp_path, {"CASE-0004_FU003d", "CASE-0005", "CASE-0006"}) == [tmp_path / "CASE-0004"]


def test_being_killed_is_said_and_leaves_what_was_finished(folders, monkeypatch, tmp_path):
    inputs, output = folders
    instead(monkeypatch, "(labels / 'a.nii.gz').write_text('a'); os.kill(os.getpid(), 9)")
    with pytest.raises(SystemExit, match="ended by signal 9"):
        entry_point.main(inputs, output)
    assert names_in(output) == ["a_gtv.nii.gz"] and names_in(tmp_path / "tmp") == []


def test_home_and_caches_are_folders_that_can_be_written_to(folders, monkeypatch):
    inputs, output = folders
    monkeypatch.delenv("HOME")
    instead(monkeypatch, BOTH + """
names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TRITON_CACHE_DIR", "nnUNet_results")
for name in names:
    assert str(labels.parent) in os.environ[name], name
    pathlib.Path(os.environ[name], "x").write_text("x")
assert os.getcwd() == str(labels.parent) and os.environ["USER"]
""")  # fmt: skip
    assert entry_point.main(inputs, output) == 0


@pytest.mark.parametrize("why", ["no folder", "no space", "read-only"])
def test_where_no_other_folder_can_be_written_to_the_output_takes_temporary_files(folders, monkeypatch, why):
    inputs, output = folders
    monkeypatch.setenv("TMPDIR", "/nowhere")
    if why == "no space":
        usage = type("Usage", (), {"free": entry_point.LEAST_FREE - 1})
        monkeypatch.setattr(entry_point.shutil, "disk_usage", lambda _: usage)
    else:
        error = OSError(30, "Read-only file system") if why == "read-only" else FileNotFoundError()
        monkeypatch.setattr(entry_point.tempfile, "TemporaryFile", lambda **_: (_ for _ in ()).throw(error))
    output.mkdir()
    assert entry_point.folder_for_temporary_files(output) == output
    instead(monkeypatch, f"assert labels.parent.parent == pathlib.Path({str(output)!r})\n" + BOTH)
    assert entry_point.main(inputs, output) == 0
    assert names_in(output) == ["a_gtv.nii.gz", "b_gtv.nii.gz"]


def test_the_command_names_edition_models_and_flags():
    settings = {"edition": "2026-met", "models": ["models/1", "models/2"], "flags": ["--allow-missing", "T2"]}
    words = entry_point.command(settings, Path("/input"), Path("/x"))
    expected = "predict -i /input -o /x --edition 2026-met --labels 2026-met"
    models = " ".join(f"-m {entry_point.HERE}/models/{number}" for number in (1, 2))
    assert " ".join(words[1:]) == f"-m nnunet_resunet_ds.cli {expected} {models} --allow-missing T2"
    assert os.access(words[0], os.X_OK)
