"""No thread of ours makes global objects of ITK's, which two at once could break."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from reports import make_cohort

MADE_BY_A_FILTER = {"MultiThreaderBase", "OutputWindow", "ImageSourceCommon", "GlobalReleaseDataFlag"}
"""As ITK's sources name them."""
MADE_BY_USE = {*MADE_BY_A_FILTER, "GlobalWarningDisplay", "DefaultDoublePrecision"}
"""The latter by looking for a reader of a file."""

ORIENT = """
import SimpleITK as sitk
sitk.DICOMOrient(sitk.Image([2, 2, 2], sitk.sitkUInt8), "LPS")
"""
COMMAND = "import sys; from nnunet_resunet_ds.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    """Runs Python code; returns which global objects of ITK's the first thread has made, and which the others have."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler to watch ITK")
    library = tmp_path_factory.mktemp("watch") / "itk_globals.so"
    source = Path(__file__).with_name("itk_globals.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-o", library, source, "-ldl"], check=True)

    def watched(code, *words):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        entries = [line.split(" ", 3)[2:] for line in done.stderr.splitlines() if line.startswith("ITK global: ")]
        return [{name for name, by in entries if by == which} for which in ("first thread", "other thread")]

    if "ObjectFactoryBase" not in watched("import SimpleITK")[0]:
        pytest.skip("this build of SimpleITK cannot be watched: it has a C++ library of its own")
    return watched


def test_simpleitk_alone_makes_them_in_the_thread_that_needs_them(watch):
    """What the remedy is for; when this fails, ITK may have one of its own."""
    code = f"from threading import Thread\nimport SimpleITK\nthread = Thread(target=lambda: exec({ORIENT!r}))\n"
    _, by_others = watch(code + "thread.start()\nthread.join()")
    assert by_others >= MADE_BY_A_FILTER


def test_reading_images_has_made_them_before(watch):
    by_first, by_others = watch("import nnunet_resunet_ds.base.images")
    assert by_first >= MADE_BY_USE
    assert not by_others


def test_threads_of_a_report_make_none(watch, tmp_path):
    folder = make_cohort(tmp_path)
    words = ("-i", folder / "raw", "-pred", folder / "labels", "-ref", folder / "raw", "-o", tmp_path / "report.html")
    by_first, by_others = watch(COMMAND, "report", *words)
    assert by_first >= MADE_BY_USE
    assert not by_others


def test_threads_of_a_conversion_make_none(watch, cohort, raw):
    by_first, by_others = watch(COMMAND, "convert", cohort, "-d", "137")
    assert (raw / "Dataset137_BraTS2021" / "dataset.json").is_file()
    assert by_first >= MADE_BY_USE
    assert not by_others
