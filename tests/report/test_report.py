"""What stands in the report, without a browser: pictures, figures, flags, escaping, and bad input."""

import argparse
import base64
import gzip
import inspect
import io
import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import write
from PIL import Image
from reports import CASES, SHAPE, SPACING, make_cohort, make_images, tumour

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.commands import report
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS
from nnunet_resunet_ds.report import ReportSettings, write_report
from nnunet_resunet_ds.report.pictures import LABEL_STEP, grey_values, make_pictures, side_by_side
from nnunet_resunet_ds.report.plots import HEIGHT, agreement, distribution
from nnunet_resunet_ds.report.remarks import flags
from nnunet_resunet_ds.report.worst_first import worst_first

GLI = PROTOCOLS["brats2023-gli"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("cohort"))


def run(*arguments):
    return main(["report", *map(str, arguments)])


def data_of(page, name="data"):
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1])


def volume_of(url, pictures):
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L"))
    depth, height, width = pictures["shape"]
    slices = picture.reshape(-1, height, pictures["columns"], width).swapaxes(1, 2).reshape(-1, height, width)
    return slices[:depth]


def test_the_page_holds_every_case_and_needs_nothing_else(cohort, tmp_path, capsys):
    page = tmp_path / "new" / "report.html"
    arguments = (
        "-i",
        cohort / "raw",
        "-pred",
        cohort / "labels",
        "-ref",
        cohort / "raw",
        "--before",
        cohort / "before",
    )
    assert run(*arguments, "-o", page) == 0
    assert f"wrote {page}: 3 cases, 3 with pictures" in capsys.readouterr().out
    text = page.read_text()
    assert "http" not in text.replace("http-equiv", "") and "<link" not in text and " src=" not in text
    data = data_of(page)
    assert [case["name"] for case in data["cases"]] == [CASES[1], CASES[2], CASES[0]]
    worst = data["cases"][0]
    assert worst["name"] == CASES[1] and worst["values"]["WT"]["dice"] < data["cases"][1]["values"]["WT"]["dice"]
    assert "Lesion-wise Dice" in data["metrics"].values()


def test_the_pictures_hold_labels_without_loss_and_images_almost(cohort, tmp_path):
    page = tmp_path / "report.html"
    assert (
        run(
            "-i", cohort / "raw", "-pred", cohort / "labels", "--before", cohort / "before", "-o", page, "--quality", 95
        )
        == 0
    )
    number = [case["name"] for case in data_of(page)["cases"]].index(CASES[0])
    pictures = data_of(page, f"pictures-{number}")
    prediction = volume_of(pictures["labels"]["prediction"], pictures)
    assert prediction.shape == tuple(pictures["shape"]) < SHAPE
    values, counts = np.unique(tumour((11, 13, 13)), return_counts=True)
    in_2023 = {0: 0, 1: 2, 2: 1, 3: 3}
    expected = {
        in_2023[value] * LABEL_STEP: n for value, n in zip(values.tolist(), counts.tolist(), strict=True) if value
    }
    found = dict(zip(*(array.tolist() for array in np.unique(prediction, return_counts=True)), strict=True))
    assert {value: n for value, n in found.items() if value} == expected
    assert "reference" not in pictures["labels"] and "before" in pictures["labels"]
    assert pictures["spacing"] == [1.5, 1.0, 1.0]  # z first
    assert set(pictures["images"]) == {"T1", "T1ce", "T2", "FLAIR"}
    image = volume_of(pictures["images"]["T1"], pictures)
    assert image[prediction > 0].mean() == pytest.approx(128, abs=25)


@pytest.mark.parametrize("columns", [1, 3, 5, 9])
def test_slices_lie_side_by_side_in_rows(columns):
    volume = np.random.default_rng(0).integers(0, 255, (7, 3, 4), dtype=np.uint8)
    picture = side_by_side(volume, columns)
    for number, expected in enumerate(volume):
        row, column = divmod(number, columns)
        np.testing.assert_array_equal(picture[row * 3 : row * 3 + 3, column * 4 : column * 4 + 4], expected)


def test_grey_values_spread_over_the_brain_and_leave_the_background_black():
    volume = np.zeros((4, 4, 4))
    volume[1:3] = np.linspace(100, 200, 32).reshape(2, 4, 4)
    grey = grey_values(volume)
    assert grey[0].max() == 0 and grey.max() == 255 and grey[1, 0, 1] < 20
    assert not grey_values(np.zeros((2, 2, 2))).any()
    assert np.isfinite(grey_values(np.full((2, 2, 2), 5.0))).all()


def test_an_empty_case_has_pictures_too():
    empty = np.zeros((3, 4, 5))
    assert make_pictures({"T1": empty}, {"prediction": empty.astype(np.uint8)}, {}, (1, 1, 1)).shape == (3, 4, 5)


def test_higher_quality_is_larger(cohort, tmp_path):
    sizes = []
    for quality in (5, 90):
        page = tmp_path / f"{quality}.html"
        write_report(ReportSettings([cohort / "raw"], cohort / "labels", page, quality=quality))
        sizes.append(page.stat().st_size)
    assert sizes[0] < sizes[1]


def test_without_reference_there_are_volumes_and_flags(cohort, tmp_path):
    page = tmp_path / "report.html"
    assert run("-i", cohort / "raw", "-pred", cohort / "labels", "-o", page) == 0
    data = data_of(page)
    assert list(data["metrics"]) == ["volume"]
    case = next(case for case in data["cases"] if case["name"] == CASES[0])
    assert case["values"]["WT"]["volume"] == pytest.approx((tumour((11, 13, 13)) > 0).sum() * 1.5 / 1000)
    assert case["flags"] == [f"only {(tumour((11, 13, 13)) == 3).sum()} voxels of enhancing tumour"]
    assert "no reference" in page.read_text()


def test_flags_say_what_deserves_a_look():
    nothing = np.zeros((20, 20, 20), int)
    assert flags(nothing, GLI, 1.0, {}) == ["no tumour predicted"]
    large = nothing.copy()
    large[2:10, 2:10, 2:10] = 2
    assert flags(large, GLI, 1.0, {"WT": 0.95}) == ["no enhancing tumour predicted"]
    large[2:7, 2:7, 2:7] = 3
    assert flags(large, GLI, 1.0, {"WT": 0.95, "ET": 0.81}) == []
    assert flags(large, GLI, 1.0, {"WT": 0.95, "ET": 0.79}) == ["low confidence: ET has mean probability 0.79"]
    for x in (0, 6, 12):
        large[12:17, 12:17, x : x + 5] = 2
    assert flags(large, GLI, 1.0, {}) == ["WT in 4 separate parts"]
    assert flags(large, GLI, 0.5, {}) == []  # too small to count
    assert flags(nothing + 1, PROTOCOLS["brats2024-menrt"], 1.0, {}) == []


def test_only_the_worst_have_pictures_where_there_are_many(cohort, tmp_path):
    page = tmp_path / "report.html"
    assert (
        run("-i", cohort / "raw", "-pred", cohort / "labels", "-ref", cohort / "raw", "-o", page, "--max-viewers", 1)
        == 0
    )
    text = page.read_text()
    assert 'id="pictures-0"' in text and 'id="pictures-1"' not in text
    assert len(data_of(page)["cases"]) == 3


def test_text_of_file_names_cannot_become_markup(cohort, tmp_path):
    name = "</script><img src=x onerror=alert(1)>&\"'"
    safe = name.replace("/", "_")
    for channel in range(4):
        write(tmp_path / "images" / f"{safe}_{channel:04d}.nii.gz", np.full(SHAPE, 5, np.int16), spacing=SPACING)
    write(tmp_path / "labels" / f"{safe}.nii.gz", tumour((11, 13, 12)), spacing=SPACING)
    page = tmp_path / "report.html"
    write_report(
        ReportSettings([tmp_path / "images"], tmp_path / "labels", page, prediction_labels="nnunet", title=name)
    )
    text = page.read_text()
    assert "<img" not in text and text.count("</script>") == text.count("<script")
    assert data_of(page)["cases"][0]["name"] == safe


def test_metrics_of_evaluate_are_taken_as_they_are(cohort, tmp_path):
    metrics, page = tmp_path / "metrics.json", tmp_path / "report.html"
    compared = ("-ref", cohort / "raw", "-pred", cohort / "labels")
    assert main(["evaluate", *map(str, compared), "-o", str(metrics), "--protocol", "brats2021"]) == 0
    assert run("-i", cohort / "raw", *compared, "--metrics", metrics, "-o", page, "--protocol", "brats2023-gli") == 2
    content = json.loads(metrics.read_text())
    content["cases"][CASES[0]]["WT"]["dice"] = 0.123
    metrics.write_text(json.dumps(content))
    assert run("-i", cohort / "raw", *compared, "--metrics", metrics, "-o", page) == 0
    data = data_of(page)
    assert next(case for case in data["cases"] if case["name"] == CASES[0])["values"]["WT"]["dice"] == 0.123
    assert "lesion_dice" not in data["metrics"]


def test_metrics_of_another_reference_are_refused(cohort, tmp_path, capsys):
    metrics, reference = tmp_path / "metrics.json", tmp_path / "reference"
    shutil.copytree(cohort / "raw", reference)
    compared = ("-ref", reference, "-pred", cohort / "labels")
    assert main(["evaluate", *map(str, compared), "-o", str(metrics)]) == 0
    shown = ("-i", cohort / "raw", *compared, "--metrics", metrics, "-o", tmp_path / "report.html")
    assert run(*shown) == 0
    segmentation = reference / CASES[1] / f"{CASES[1]}_seg.nii.gz"
    image = sitk.ReadImage(str(segmentation))
    image[0, 0, 0] = 1
    sitk.WriteImage(image, str(segmentation))
    capsys.readouterr()
    assert run(*shown) == 2
    assert f"was made from another reference of {CASES[1]} than" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["cases"].pop(CASES[1]), f"has no metrics of 1 of 3 cases, such as {CASES[1]}"),
        (lambda content: content["cases"][CASES[0]].pop("ET"), "is not what resunet-ds evaluate writes"),
        (lambda content: content["cases"][CASES[0]]["ET"].pop("reference_volume"), "is not what resunet-ds evaluate"),
        (lambda content: content.pop("protocol"), "is not what resunet-ds evaluate writes"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(change, message, cohort, tmp_path, capsys):
    metrics = tmp_path / "metrics.json"
    compared = ("-ref", cohort / "raw", "-pred", cohort / "labels")
    assert main(["evaluate", *map(str, compared), "-o", str(metrics)]) == 0
    content = json.loads(metrics.read_text())
    change(content)
    metrics.write_text(json.dumps(content))
    assert run("-i", cohort / "raw", *compared, "--metrics", metrics, "-o", tmp_path / "report.html") == 2
    assert message in capsys.readouterr().err


def test_labels_are_checked_without_a_reference_too(tmp_path, capsys):
    folder = make_cohort(tmp_path)
    (folder / "labels" / "run.json").unlink()
    write(folder / "labels" / f"{CASES[0]}.nii.gz", np.full(SHAPE, 4, np.uint8), spacing=SPACING)
    assert run("-i", folder / "raw", "-pred", folder / "labels", "-o", tmp_path / "report.html") == 2
    printed = capsys.readouterr()
    assert "label values 4 are not among BraTS 2023 GLI's" in printed.err
    assert "prediction: 3 label maps with the values of BraTS 2023 GLI" in printed.err


def test_what_a_placed_prediction_contradicts_is_refused_and_what_has_no_place_follows_the_images(tmp_path):
    import SimpleITK as sitk

    folder = make_cohort(tmp_path, CASES[:1])
    page, path = tmp_path / "report.html", folder / "labels" / f"{CASES[0]}.nii.gz"
    write_report(ReportSettings([folder / "raw"], folder / "labels", page))
    expected = data_of(page, "pictures-0")
    image = sitk.ReadImage(str(path))
    image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    assert run("-i", folder / "raw", "-pred", folder / "labels", "-o", page) == 2
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[252:256] = bytes(4)  # qform_code and sform_code: it lies nowhere
    path.write_bytes(gzip.compress(bytes(content)))
    write_report(ReportSettings([folder / "raw"], folder / "labels", page))
    assert data_of(page, "pictures-0")["images"] == expected["images"]


def test_a_single_file_and_a_case_without_images_have_what_they_can(cohort, tmp_path):
    page = tmp_path / "report.html"
    write_report(
        ReportSettings([cohort / "raw"], cohort / "labels" / f"{CASES[0]}.nii.gz", page, prediction_labels="nnunet")
    )
    assert [case["name"] for case in data_of(page)["cases"]] == [CASES[0]]
    folder = make_cohort(tmp_path / "b")
    (folder / "raw" / CASES[1] / f"{CASES[1]}_t2.nii.gz").unlink()
    written = write_report(
        ReportSettings([folder / "raw"], folder / "labels", page, reference=folder / "raw", skip_invalid=True)
    )
    worst = data_of(page)["cases"][0]
    assert worst["name"] == CASES[1] and worst["values"]["WT"]["dice"] < 0.7 and "T2" in worst["problem"]
    assert "T2" in written.problems[0] and 'id="pictures-0"' not in page.read_text()


def test_what_the_command_says_of_defaults_is_so():
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    defaults = {action.dest: action.default for action in parser._actions}
    signature = inspect.signature(ReportSettings).parameters
    for name in ("quality", "max_viewers", "title"):
        assert defaults[name] == signature[name].default


def test_another_orientation_is_turned_for_display(tmp_path):
    import SimpleITK as sitk

    cohort = make_cohort(tmp_path / "a", CASES[:1])
    pictures = []
    for orientation in ("LPS", "RAS", "PIR"):
        for path in cohort.rglob("*.nii.gz"):
            sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), orientation), str(path))
        write_report(ReportSettings([cohort / "raw"], cohort / "labels", tmp_path / "report.html"))
        pictures.append(data_of(tmp_path / "report.html", "pictures-0"))
    assert pictures[0] == pictures[1] == pictures[2]


def _add_case(labels, name):
    shutil.copy(labels / f"{CASES[0]}.nii.gz", labels / f"{name}.nii.gz")
    (labels / "run.json").write_text(json.dumps({"labels": "nnunet", "cases": {case: {} for case in (*CASES, name)}}))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "labels" / f"{CASES[0]}.nii.gz").write_bytes(b"x"), "is not a NIfTI image"),
        (
            lambda folder: write(folder / "labels" / f"{CASES[0]}.nii.gz", tumour((9, 9, 9))[1:], spacing=SPACING),
            "size",
        ),
        (lambda folder: _add_case(folder / "labels", "other"), "has no images"),
        (lambda folder: (folder / "raw" / CASES[0] / f"{CASES[0]}_t2.nii.gz").unlink(), "T2"),
    ],
)
def test_a_case_that_cannot_be_shown_is_named_and_left_out_where_asked(break_it, message, tmp_path, capsys):
    folder, page = make_cohort(tmp_path), tmp_path / "report.html"
    break_it(folder)
    assert run("-i", folder / "raw", "-pred", folder / "labels", "-o", page) == 2
    errors = capsys.readouterr().err
    assert message in errors and "--skip-invalid" in errors and "Traceback" not in errors and not page.exists()
    assert run("-i", folder / "raw", "-pred", folder / "labels", "-o", page, "--skip-invalid") == 0
    assert message in capsys.readouterr().out
    assert len(data_of(page)["cases"]) >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metrics", "gone.json"), "gone.json: no such file"),
        (("--quality", "0"), "quality"),
        (("-o", "labels.nii.gz"), "ends in .html"),
        (("--max-viewers", "-1"), "max_viewers"),
        (("-ref", "gone"), "gone: no such file or folder"),
        (("--protocol", "brats1999"), "choose from"),
    ],
)
def test_wrong_options_are_explained(arguments, message, cohort, tmp_path, capsys):
    assert run("-i", cohort / "raw", "-pred", cohort / "labels", "-o", tmp_path / "x.html", *arguments) == 2
    assert message in capsys.readouterr().err


def test_the_worst_come_first_and_those_without_a_score_last():
    def scored(dice, lesion_dice):
        return {"WT": {"dice": dice, "lesion_dice": lesion_dice}}

    scores = {"a": scored(0.9, 0.2), "b": scored(0.1, 0.3)}
    assert worst_first(["a", "b", "c"], scores, GLI) == ["a", "b", "c"]
    assert worst_first(["c", "a", "b"], scores, PROTOCOLS["brats2021"]) == ["b", "a", "c"]


def test_a_distribution_places_values_on_its_axis():
    plot = distribution("Dice", {"WT": {"a": 0.0, "b": 1.0, "c": float("nan")}, "TC": {"a": 0.5}})
    ticks = {tick.text: tick.at for tick in plot.y_ticks}
    assert [mark.y for mark in plot.marks] == [ticks["0"], ticks["1"], pytest.approx((ticks["0"] + ticks["1"]) / 2)]
    assert plot.boxes[0].median == pytest.approx((ticks["0"] + ticks["1"]) / 2) and plot.boxes[1].name == "TC"
    assert all(0 < mark.y < HEIGHT for mark in plot.marks)
    assert distribution("Dice", {"WT": {"a": float("nan")}}) is None


@pytest.mark.parametrize("highest", [1.0, 3.7, 37.0, 374.0])
def test_an_axis_has_a_few_round_numbers(highest):
    assert 3 <= len(distribution("x", {"WT": {"a": highest}}).y_ticks) <= 10


def test_equal_volumes_lie_on_the_diagonal():
    plot = agreement("Volume", {"WT": {"a": (0, 0), "b": (40_000, 40_000), "c": (10_000, 20_000)}})
    x1, y1, x2, y2 = plot.diagonal
    for mark in plot.marks[:2]:
        assert (mark.x - x1) / (x2 - x1) == pytest.approx((mark.y - y1) / (y2 - y1), abs=1e-3)
    assert plot.marks[2].y < y1 + (plot.marks[2].x - x1) / (x2 - x1) * (y2 - y1)  # above: more was predicted
    assert agreement("Volume", {"WT": {"a": (0, 0)}}) is None


def test_images_alone_of_a_case_do_no_harm(cohort, tmp_path):
    make_images(tmp_path / "raw", "BraTS2021_00009", 9)
    page = tmp_path / "report.html"
    assert run("-i", cohort / "raw", tmp_path / "raw", "-pred", cohort / "labels", "-o", page) == 0
    assert len(data_of(page)["cases"]) == 3
