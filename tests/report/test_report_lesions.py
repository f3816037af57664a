"""False and missed lesions in the report: in words, and where its pictures show them, whatever way the images lie."""

import base64
import io
import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from reports import CASES, add_a_false_lesion, make_cohort

from nnunet_resunet_ds.report import ReportSettings, write_report


def turned(path, orientation):
    """Store an image again with its voxels in another order."""
    sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), orientation), str(path))


def parts_of(page):
    """The data of the page, and the pictures of its first case."""
    scripts = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page.read_text(), re.DOTALL)
    found = {name: json.loads(text) for name, text in scripts}
    return found["data"], found["pictures-0"]


def volume_of(url, pictures):
    """Labels (Z, Y, X) out of a picture with slices side by side."""
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("L"))
    depth, height, width = pictures["shape"]
    rows = picture.reshape(-1, height, pictures["columns"], width).swapaxes(1, 2).reshape(-1, height, width)
    return rows[:depth] // pictures["label_step"]


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
def test_a_lesion_is_where_the_pictures_show_it(tmp_path, orientation):
    case = CASES[1]
    folder = make_cohort(tmp_path, (case,))
    add_a_false_lesion(folder, case)
    for path in folder.rglob("*.nii.gz"):
        turned(path, orientation)
    page = tmp_path / "page.html"
    write_report(ReportSettings([folder / "raw"], folder / "labels", page, reference=folder / "raw"))
    data, pictures = parts_of(page)
    (lesion,) = data["cases"][0]["lesions"]
    assert lesion["text"].startswith("false WT: 0.01 ml, at ")
    prediction = volume_of(pictures["labels"]["prediction"], pictures)
    z, y, x = lesion["place"]
    around = prediction[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2]
    assert prediction[z, y, x] == 2 and (around == 2).sum() == 7  # the middle of the ball, in BraTS 2023: ED is 2
    reference = volume_of(pictures["labels"]["reference"], pictures)
    assert not reference[z, y, x]


def test_without_pictures_a_lesion_is_words_alone(tmp_path):
    folder = make_cohort(tmp_path, (CASES[1],))
    add_a_false_lesion(folder, CASES[1])
    page = tmp_path / "page.html"
    settings = ReportSettings([folder / "raw"], folder / "labels", page, reference=folder / "raw", max_viewers=0)
    (case,) = write_report(settings).cases
    assert [lesion.place for lesion in case.lesions] == [None]
