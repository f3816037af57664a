"""Whether a file is the one that was noted: by size and time, and where these tell nothing by its bytes."""

import os

import pytest

from nnunet_resunet_ds.base.files import identity_of, is_same


@pytest.mark.parametrize(("name", "is_read"), [("a.nii.gz", False), ("a.nii", True), ("A.NII", True)])
def test_unpacked_images_of_the_same_size_and_time_are_read(tmp_path, name, is_read, monkeypatch):
    path = tmp_path / name
    path.write_bytes(b"before")
    os.utime(path, ns=(1, 1))
    known = identity_of(path)
    assert is_same(known, path)
    path.write_bytes(b"behind")
    os.utime(path, ns=(1, 1))
    assert is_same(known, path) is not is_read


def test_another_time_alone_is_no_other_file(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"before")
    known = identity_of(path)
    os.utime(path, ns=(1, 1))
    assert is_same(known, path)
    path.write_bytes(b"after")
    assert not is_same(known, path)
