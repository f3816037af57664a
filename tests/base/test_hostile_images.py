"""Image files that are damaged or made to do harm: a sound image or an InputError, within the memory allowed."""

import gzip
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from damage import damaged_bytes, fuzz
from hypothesis import given

from nnunet_resunet_ds.base import nifti_check
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_image, read_labels


def nifti(dtype=np.int16, shape=(4, 5, 6)):
    folder = Path(nifti.folder)
    path = folder / "image.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(np.prod(shape)).reshape(shape).astype(dtype)), str(path))
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    nifti.folder = tmp_path


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("packed", [False, True])
def test_nifti_headers(tmp_path, dtype, packed):
    whole = nifti(dtype)

    @fuzz
    @given(damaged_bytes(whole, last=352))
    def check(content):
        path = tmp_path / "damaged.nii.gz"
        path.write_bytes(gzip.compress(content, 1) if packed else content)
        with suppress(InputError):
            image, values = read_labels(path)
            assert values.size == np.prod(image.GetSize()) <= len(content)

    check()


def test_gzip_streams(tmp_path):
    packed = gzip.compress(nifti(), 6, mtime=0)

    @fuzz
    @given(damaged_bytes(packed))
    def check(content):
        path = tmp_path / "damaged.nii.gz"
        path.write_bytes(content)
        with suppress(InputError):
            read_image(path)

    check()


def test_a_gzip_bomb_is_refused_within_the_bound(tmp_path, monkeypatch):
    """A few kilobytes that unpack to a hundred times the bound: no more than the bound is unpacked."""
    monkeypatch.setattr(nifti_check, "MAX_UNPACKED_BYTES", 2**20)
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(nifti() + bytes(100 * 2**20), 9))
    assert bomb.stat().st_size < 2**18
    lengths, unpack = [], nifti_check._unpacked

    def noted(content):
        unpacked = unpack(content)
        lengths.append(len(unpacked))
        return unpacked

    monkeypatch.setattr(nifti_check, "_unpacked", noted)
    with pytest.raises(InputError, match="when unpacked"):
        read_image(bomb)
    assert lengths == [2**20 + 1]


def test_files_of_several_gzip_members_are_read_and_bounded_too(tmp_path, monkeypatch):
    whole = nifti()
    path = tmp_path / "members.nii.gz"
    path.write_bytes(gzip.compress(whole[:400]) + gzip.compress(whole[400:]))
    assert read_image(path).GetSize() == (6, 5, 4)
    monkeypatch.setattr(nifti_check, "MAX_UNPACKED_BYTES", 420)
    with pytest.raises(InputError, match="when unpacked"):
        read_image(path)


@pytest.mark.parametrize("version", [1, 2])
def test_a_header_that_asks_for_the_whole_memory_is_refused(tmp_path, version):
    """2 TB by the header, a few kilobytes in the file."""
    if version == 1:
        header = bytearray(nifti()[:352])
        header[40:48] = np.array([3, 10000, 10000, 10000], "<i2").tobytes()
    else:
        header = bytearray(544)
        header[0:4] = np.array([540], "<i4").tobytes()
        header[4:12] = b"n+2\0\r\n\x1a\n"
        header[12:16] = np.array([4, 16], "<i2").tobytes()
        header[16:80] = np.array([3, 10000, 10000, 10000, 1, 1, 1, 1], "<i8").tobytes()
        header[104:168] = np.ones(8, "<f8").tobytes()
        header[168:176] = np.array([544], "<i8").tobytes()
    path = tmp_path / "huge.nii"
    path.write_bytes(bytes(header) + bytes(4096))
    with pytest.raises(InputError):
        read_image(path)
