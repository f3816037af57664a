"""Where a command may write a file, which it checks before its work."""

import os
from pathlib import Path

import pytest

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_file, replacing


def test_a_file_that_is_read_is_not_replaced(tmp_path):
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    for file in (ours, theirs):
        file.write_text("{}")
    check_output_file(tmp_path / "new.json", ".json", [ours, theirs])
    with pytest.raises(InputError, match=r"ours\.json: would be replaced"):
        check_output_file(tmp_path / "." / "ours.json", ".json", [ours, theirs])


@pytest.mark.parametrize("name", ["run.json", "dataset.json", "postprocessing_changes.csv"])
def test_what_tells_of_the_files_next_to_it_is_not_replaced(tmp_path, name):
    check_output_file(tmp_path / name, Path(name).suffix)
    (tmp_path / name).touch()
    with pytest.raises(InputError, match="is read by this command or others"):
        check_output_file(tmp_path / name, Path(name).suffix)


def test_a_folder_that_cannot_be_written_to_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != tmp_path)  # root may write everywhere
    with pytest.raises(InputError, match=rf"new/m\.json: {tmp_path} cannot be written to"):
        check_output_file(tmp_path / "new" / "m.json", ".json")


def test_a_disk_that_cannot_be_written_to_is_said_of_the_file_itself(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system", "temporary")

    monkeypatch.setattr(Path, "unlink", refused)
    with (
        pytest.raises(OSError, match="choose a folder that can be written to") as raised,
        replacing(tmp_path / "m.json"),
    ):
        refused()
    assert raised.value.filename == str(tmp_path / "m.json")
