"""How often a conversion opens the files of a download: once, where nothing has to be rewritten."""

import ctypes
import os
import struct
import sys
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
from brats_files import replace_one, values_of

from dataset_conversion import check, convert
from nnunet_resunet_ds.base.images import read_image

IN_CLOSE, IN_OPEN = 0x18, 0x20
EVENT = struct.Struct("iIII")
CASE = "BraTS2021_00003"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who opens a file")


@contextmanager
def opens(files):
    """Yield a counter of the times that each file is opened, by Python or by SimpleITK, under whatever name."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert watch >= 0
    names = {libc.inotify_add_watch(watch, os.fsencode(file), IN_OPEN | IN_CLOSE): file.name for file in files}
    assert min(names) >= 0 and len(names) == len(files)
    counted = Counter()
    try:
        yield counted
        with open(watch, "rb", closefd=False, buffering=0) as stream:
            while events := stream.read(1 << 16):
                for place in range(0, len(events), EVENT.size):  # watches of files come without names
                    number, mask, _, _ = EVENT.unpack_from(events, place)
                    counted[names[number]] += bool(mask & IN_OPEN)
    finally:
        os.close(watch)


def raw_files(cohort):
    return sorted(cohort.rglob("*.nii*"))


def test_the_counter_sees_python_and_simple_itk(cohort):
    import SimpleITK as sitk

    file, other, *_ = raw_files(cohort)
    with opens([file, other]) as counted:
        file.read_bytes()
        file.read_bytes()
        sitk.ReadImage(str(other))
    assert counted[file.name] == 2
    assert counted[other.name] >= 2


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize(("link_mode", "of_image"), [("hardlink", 1), ("symlink", 1), ("copy", 2)])
def test_each_file_is_opened_once_and_once_more_to_copy_it(cohort, raw, validate, link_mode, of_image):
    with opens(raw_files(cohort)) as counted:
        convert([cohort], 137, validate=validate, link_mode=link_mode)
    expected = {file.name: 1 if "_seg" in file.name else of_image for file in raw_files(cohort)}
    assert counted == expected


def test_an_image_that_is_rewritten_is_opened_once_more(cohort, raw):
    file = cohort / CASE / f"{CASE}_t2.nii.gz"
    values = values_of(file)
    values[0] = values[:, 0] = values[:, :, 0] = values[-1] = values[:, -1] = values[:, :, -1] = -7
    replace_one(cohort / CASE, "t2", values)
    labels = values_of(cohort / CASE / f"{CASE}_seg.nii.gz")
    replace_one(cohort / CASE, "seg", labels.astype(np.float32))
    with opens(raw_files(cohort)) as counted:
        convert([cohort], 137)
    assert {name: n for name, n in counted.items() if n != 1} == {file.name: 2}


def test_checking_and_reading_open_a_file_once(cohort):
    with opens(raw_files(cohort)) as counted:
        check([cohort])
    assert set(counted.values()) == {1} and len(counted) == 10
    file = raw_files(cohort)[0]
    with opens([file]) as counted:
        read_image(file)
    assert counted == {file.name: 1}


def test_a_file_that_changes_after_it_was_checked_is_refused(cohort, raw, monkeypatch):
    """The manifest would speak of other bytes than the dataset has."""
    from dataset_conversion import conversion
    from nnunet_resunet_ds.base.errors import InputError

    write_case = conversion.write_case
    changed = cohort / CASE / f"{CASE}_t1.nii.gz"

    def late(*arguments):
        changed.write_bytes(changed.read_bytes() + b"\0")
        return write_case(*arguments)

    monkeypatch.setattr(conversion, "write_case", late)
    with pytest.raises(InputError, match=rf"{CASE}_t1\.nii\.gz: has changed since it was checked; convert again"):
        convert([cohort], 137)
    assert not list(raw.glob("Dataset*"))
