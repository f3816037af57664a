"""Whether the voxels that SimpleITK unpacks prove that a file is whole; the oracle is Python's own unpacking."""

import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_image
from nnunet_resunet_ds.base.nifti_check import check_bytes, seal_of

SHAPE = (4, 5, 6)


def packed(values, folder):
    file = folder / "whole.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(values), str(file))
    return file.read_bytes()


def refusal(action):
    try:
        action()
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_a_whole_file_is_sealed_by_its_voxels(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    seal = seal_of(packed(values, tmp_path))
    assert seal.fits(values)
    assert seal.checksum == zlib.crc32(seal.start + values.tobytes())
    values[1, 2, 3] += 1
    assert not seal.fits(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_never_fit(tmp_path, bad):
    values = np.ones(SHAPE, np.float32)
    values[0, 0, 0] = bad
    content = bytearray(gzip.decompress(packed(np.ones(SHAPE, np.float32), tmp_path)))
    content[352:356] = np.float32(bad).tobytes()
    file = tmp_path / "bad.nii.gz"
    file.write_bytes(gzip.compress(bytes(content)))
    assert not seal_of(file.read_bytes()).fits(values)
    with pytest.raises(InputError, match="holds NaN or infinite values"):
        read_image(file)


PACKED = (gzip.compress(b"", mtime=0), gzip.compress(bytes(600), mtime=0))


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", *PACKED, bytes(600)])
def test_what_is_no_nifti_file_has_no_seal(content):
    assert seal_of(content) is None


def test_members_and_bytes_behind_the_end_take_away_the_seal(tmp_path):
    content = packed(np.ones(SHAPE, np.uint8), tmp_path)
    plain = gzip.decompress(content)
    assert seal_of(gzip.compress(plain + b"more")) is None
    assert seal_of(gzip.compress(plain[:400]) + gzip.compress(plain[400:])) is None
    assert seal_of(content[:-1]) is None


@settings(max_examples=200, deadline=None)
@given(
    values=hnp.arrays(np.int16, SHAPE, elements=st.integers(0, 3)),
    place=st.integers(0, 10**6),
    flipped=st.integers(1, 255),
)
def test_a_damaged_byte_is_refused_in_the_same_words_or_has_hurt_no_voxel(tmp_path_factory, values, place, flipped):
    """The oracle unpacks and checks everything before SimpleITK sees the file. Only behind the voxels it sees more."""
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(packed(values, folder))
    content[place % len(content)] ^= flipped
    file = folder / "image.nii.gz"
    file.write_bytes(content)
    expected = refusal(lambda: check_bytes(bytes(content), file))
    found = refusal(lambda: read_image(file))
    if found is None:
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(file)), values)
    elif expected is not None:
        assert found == expected
