"""Small made-up files in the BraTS 2021 layout, for the tests of conversion."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE = (6, 7, 8)
MODALITIES = ("t1", "t1ce", "t2", "flair")
CASES = ("BraTS2021_00000", "BraTS2021_00003")
"""Of the fixture ``cohort``."""


def write(path, values, origin=(0.0, -239.0, 0.0), spacing=(1.0, 1.0, 1.0)):
    image = values if isinstance(values, sitk.Image) else sitk.GetImageFromArray(values, isVector=False)
    image.SetOrigin((*origin, *[0.0] * (image.GetDimension() - 3)))
    image.SetSpacing((*spacing, *[1.0] * (image.GetDimension() - 3)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def make_case(folder: Path, case: str, labelled=True, seed=0):
    random = np.random.default_rng(seed)
    for modality in MODALITIES:
        write(folder / case / f"{case}_{modality}.nii.gz", random.integers(0, 900, SHAPE, dtype=np.int16))
    if labelled:
        write(folder / case / f"{case}_seg.nii.gz", random.choice(np.array([0, 1, 2, 4], dtype=np.uint8), SHAPE))
    return folder / case


def values_of(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def painted(probabilities):
    """The label map that nnU-Net paints from region probabilities: region after region, where one exceeds 0.5."""
    labels = np.zeros(probabilities.shape[1:], np.uint8)
    for value, region in enumerate(probabilities, 1):
        labels[region > 0.5] = value
    return labels


def without_times(content):
    """The bytes of a file of JSON without the times at which others were written."""
    return re.sub(rb'"modified_ns": \d+', b'"modified_ns"', content)


def shear_sform(path, off, qform_code=0):
    """Change one entry of the sform of a NIfTI-1 file with axes of 1 mm, so that two axes have this cosine between."""
    header = bytearray(gzip.decompress(path.read_bytes()))
    place = 280 + 4 * 1  # of x along the second axis
    (entry,) = struct.unpack_from("<f", header, place)
    struct.pack_into("<f", header, place, entry + off / np.sqrt(1 - off**2))
    struct.pack_into("<h", header, 252, qform_code)
    path.write_bytes(gzip.compress(bytes(header)))


def replace_one(case, file, values=None, **geometry):
    path = case / f"{case.name}_{file}.nii.gz"
    write(path, values_of(path) if values is None else values, **geometry)
