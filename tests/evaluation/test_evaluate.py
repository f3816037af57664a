"""Evaluating files: pairing, label values, spacing, statistics, and what is written."""

import csv
import json
import math
import re
import shutil

import numpy as np
import pytest
from brats_files import CASES, write
from scipy import stats

from dataset_conversion.label_conventions import CONVENTIONS, NNUNET_CONVENTION
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation import evaluate, evaluate_case
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps, to_protocol
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS
from nnunet_resunet_ds.evaluation.statistics import bootstrap_interval, differences, statistics

NAMES = ["BraTS-GLI-00001-000", "BraTS-GLI-00002-000", "BraTS-GLI-00003-000"]
SPACING = (0.5, 1.0, 2.0)
TO_NNUNET = np.array([0, 2, 1, 3], np.uint8)
REGIONS_JSON = {
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
    "regions_class_order": [1, 2, 3],
}


def blobs(seed, shape=(14, 12, 10)):
    """A label map (Z, Y, X) in the values of BraTS 2023."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for value in (2, 1, 3):
        z, y, x = random.integers(1, 5, 3)
        labels[z : z + 7, y : y + 6, x : x + 4] = value
    return labels


@pytest.fixture
def folders(tmp_path):
    """References and predictions of three cases, in BraTS 2023's values."""
    for number, name in enumerate(NAMES):
        write(tmp_path / "ref" / f"{name}.nii.gz", blobs(number), spacing=SPACING)
        write(tmp_path / "pred" / f"{name}.nii.gz", np.roll(blobs(number), number, 0), spacing=SPACING)
    return tmp_path / "ref", tmp_path / "pred"


def run(*arguments):
    return main(["evaluate", *map(str, arguments)])


def test_files_give_what_arrays_give_in_the_order_of_niftis_axes(folders):
    found = evaluate(*folders, "brats2024-gli")
    assert list(found.cases) == NAMES
    for number, name in enumerate(NAMES):
        expected = evaluate_case(blobs(number).T, np.roll(blobs(number), number, 0).T, SPACING, "brats2024-gli")
        assert found.cases[name] == expected


def test_the_files_hold_cases_and_statistics(folders, tmp_path, capsys):
    json_file, csv_file = tmp_path / "new" / "metrics.json", tmp_path / "new" / "metrics.csv"
    assert run("-ref", folders[0], "-pred", folders[1], "-o", json_file, "--csv", csv_file) == 0
    content = json.loads(json_file.read_text())
    assert content["protocol"] == "brats2023-gli"
    dice = np.array([content["cases"][name]["ET"]["dice"] for name in NAMES])
    summary = content["summary"]["ET"]["dice"]
    assert summary["mean"] == pytest.approx(dice.mean())
    assert summary["std"] == pytest.approx(dice.std(ddof=1))
    assert [summary[name] for name in ("q1", "median", "q3")] == pytest.approx(np.quantile(dice, (0.25, 0.5, 0.75)))
    assert summary["ci_low"] <= summary["mean"] <= summary["ci_high"]
    read = read_metrics(json_file)
    assert (read.protocol, read.cases) == (PROTOCOLS["brats2023-gli"], content["cases"])
    rows = list(csv.DictReader(csv_file.open()))
    assert len(rows) == (len(NAMES) + 8) * 3
    row = next(row for row in rows if (row["case"], row["region"]) == (NAMES[1], "WT"))
    assert float(row["lesion_hd95"]) == content["cases"][NAMES[1]]["WT"]["lesion_hd95"]
    assert (
        float(next(row for row in rows if row["case"] == "mean" and row["region"] == "ET")["dice"]) == summary["mean"]
    )
    printed = capsys.readouterr().out
    assert f"ET      {summary['mean']:.4f}" in printed and "95 % interval of the mean" in printed
    assert "Lesion-wise HD95" in printed and "nothing next to them says what they are" in printed


def test_one_pair_of_files_of_other_names(folders, tmp_path, capsys):
    other = tmp_path / "mine.nii.gz"
    other.write_bytes((folders[1] / f"{NAMES[1]}.nii.gz").read_bytes())
    assert run("-ref", folders[0] / f"{NAMES[1]}.nii.gz", "-pred", other) == 0
    assert "BraTS 2023 GLI, mine" in capsys.readouterr().out


def run_json(labels, cases=NAMES):
    """What our commands leave next to label maps."""
    return {"labels": labels, "cases": {case: {} for case in cases}}


def test_nnunets_values_are_told_by_dataset_json_run_json_or_the_user(folders, tmp_path):
    reference, prediction = folders
    expected = evaluate(reference, prediction).cases
    for name in NAMES:
        number = NAMES.index(name)
        values = TO_NNUNET[np.roll(blobs(number), number, 0)]
        write(tmp_path / "nnunet" / f"{name}.nii.gz", values, spacing=SPACING)
    (tmp_path / "nnunet").rename(tmp_path / "labels")
    labels = tmp_path / "labels"
    assert evaluate(reference, labels).cases != expected
    assert evaluate(reference, labels, prediction_labels="nnunet").cases == expected
    for file, content in (("dataset.json", REGIONS_JSON), ("run.json", run_json("nnunet"))):
        (labels / file).write_text(json.dumps(content))
        assert evaluate(reference, labels).cases == expected
        assert evaluate(reference, labels, prediction_labels="protocol").cases != expected
        (labels / file).unlink()
    validation = tmp_path / "model" / "fold_0" / "validation"
    for folder, above in ((tmp_path / "labelsTr", tmp_path), (validation, tmp_path / "model")):
        folder.parent.mkdir(parents=True, exist_ok=True)
        labels.rename(folder)
        (above / "dataset.json").write_text(json.dumps(REGIONS_JSON))
        labels = folder
        assert evaluate(reference, labels).cases == expected
    labels.rename(tmp_path / "sub")  # beside a dataset.json, and none of nnU-Net's folders
    assert find_label_maps(tmp_path / "sub").labels == "protocol"


def test_it_warns_where_nothing_declares_either_side(folders, capsys):
    assert run("-ref", folders[0], "-pred", folders[1]) == 0
    said = capsys.readouterr().out
    for folder, flag in zip(folders, ("--ref-labels", "--pred-labels"), strict=True):
        assert re.search(f"warning: {folder}: no file says .* say it with {flag}", said)


def test_it_warns_where_one_side_alone_is_declared(folders, capsys):
    (folders[1] / "run.json").write_text(json.dumps(run_json("2023-gli")))
    assert run("-ref", folders[0], "-pred", folders[1]) == 0
    assert f"warning: {folders[0]}: no file says what its label values mean" in capsys.readouterr().out


def test_a_case_twice_below_a_raw_folder_is_refused_unless_it_is_a_copy(cohort, tmp_path, capsys):
    file = find_label_maps(cohort).files[CASES[0]]
    copy = cohort / "again" / CASES[0] / file.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(file.read_bytes())
    other = shutil.copytree(cohort, cohort.with_name("other"))
    assert run("-ref", cohort, "-pred", other) == 0
    write(copy, np.zeros((6, 7, 8), np.uint8))
    assert run("-ref", cohort, "-pred", other) == 2
    assert "is of the same case; keep the right one" in capsys.readouterr().err


def test_gross_target_volumes_are_found_by_their_name(tmp_path):
    name = "BraTS-MEN-RT-0001-1"
    write(tmp_path / "ref" / name / f"{name}_gtv.nii.gz", blobs(0).clip(0, 1), spacing=SPACING)
    write(tmp_path / "pred" / f"{name}.nii.gz", blobs(0).clip(0, 1), spacing=SPACING)
    found = evaluate(tmp_path / "ref", tmp_path / "pred", "brats2024-menrt")
    assert found.cases[name]["GTV"]["dice"] == 1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"NETC": 1, "SNFH": 2, "ET": 3}, "2023-gli"),
        ({"edema": 1, "necrosis": 2, "enhancing tumor": 3}, "nnunet"),
        ({"edema": 1, "non-enhancing tumour": 2, "Enhancing Tumour": 3, "ignore": 4}, "nnunet"),
        ({"NCR": 1, "ED": 2, "ET": 4}, "2017"),  # as 2021 has it
        ({"edema": 1, "core": 2, "enhancing tumor": 3}, "protocol"),
        ({"edema": 1, "enhancing tumor": 2}, "protocol"),
        ({"edema": 3, "necrosis": 1, "enhancing tumor": 2}, "protocol"),
    ],
)
def test_plain_labels_in_dataset_json_are_read_by_their_names(folders, labels, expected):
    _, prediction = folders
    (prediction / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **labels}}))
    assert find_label_maps(prediction).labels == expected


CONTRADICTION = "regions_class_order contradicts the regions"


@pytest.mark.parametrize("side", ["reference", "prediction"])
def test_label_maps_of_a_dataset_json_that_contradicts_itself_are_refused(folders, capsys, side, bad_input):
    """Not read by the protocol's values: what they mean is not known, so a perfect prediction would score 0."""
    folder = folders[0] if side == "reference" else folders[1]
    (folder / "dataset.json").write_text(json.dumps({**REGIONS_JSON, "regions_class_order": [2, 1, 3]}))
    assert run("-ref", folders[0], "-pred", folders[1]) == 2
    error = capsys.readouterr().err
    assert str(folder / "dataset.json") in error and "make it [1, 2, 3]" in error
    assert len(error.splitlines()) == 1
    if side == "prediction":
        bad_input("evaluate", CONTRADICTION, error)


def test_raw_cases_of_an_edition_are_read_by_its_values(cohort, tmp_path):
    perfect = tmp_path / "labels"
    maps = find_label_maps(cohort)
    assert set(maps.files) == set(CASES) and maps.labels == "2021"
    for case, file in maps.files.items():
        (perfect / case).parent.mkdir(exist_ok=True)
        (perfect / f"{case}.nii.gz").write_bytes(file.read_bytes())
    found = evaluate(cohort, perfect, "brats2023-gli", prediction_labels="2021")
    assert all(metrics["dice"] == 1 for case in found.cases.values() for metrics in case.values())
    by_file = find_label_maps(maps.files[CASES[0]])
    assert by_file.labels == "2021" and list(by_file.files) == [CASES[0]]


def test_corrected_labels_win_over_those_that_they_correct(tmp_path):
    """As convert takes them: the release of MET 2025 has both."""
    for name in NAMES[:2]:
        case = name.replace("GLI", "MET")
        write(tmp_path / "Training" / case / f"{case}-seg.nii.gz", blobs(0))
    corrected = tmp_path / "BraTS2025-MET-corrected-labels" / f"{NAMES[0].replace('GLI', 'MET')}-seg.nii.gz"
    write(corrected, blobs(1))
    files = find_label_maps(tmp_path).files
    assert files[NAMES[0].replace("GLI", "MET")] == corrected and len(files) == 2


@pytest.mark.parametrize(
    ("case", "suffixes"),
    [
        ("UPENN-GBM-00001_11", ["_automated_approx_segm", "_segm"]),
        ("TCGA-02-0006_1996.08.23", ["_GlistrBoost", "_GlistrBoost_ManuallyCorrected"]),
        ("UCSF-PDGM-0004", ["_tumor_segmentation"]),
    ],
)
def test_releases_beside_brats_are_found_by_their_names(case, suffixes, tmp_path):
    """Of two label maps, the one that an expert made or corrected is the reference."""
    for suffix in suffixes:
        write(tmp_path / case / f"{case}{suffix}.nii.gz", np.where(blobs(len(suffix)) == 3, 4, blobs(len(suffix))))
        maps = find_label_maps(tmp_path)
        assert maps.files == {case: tmp_path / case / f"{case}{suffix}.nii.gz"}
        assert maps.convention.tissues == CONVENTIONS["2021"].tissues
        assert find_label_maps(maps.files[case]).files == maps.files


def test_an_edition_that_its_names_leave_open_is_asked_for(folders, tmp_path, capsys):
    for folder in ("ped", "other"):
        write(tmp_path / folder / "BraTS-PED-00001-000-seg.nii.gz", blobs(0), spacing=SPACING)
    compared = ("-ref", tmp_path / "ped", "-pred", tmp_path / "other", "--protocol", "brats2024-ped")
    assert run(*compared) == 2
    assert "--ref-labels" in capsys.readouterr().err
    assert run(*compared, "--ref-labels", "2024-ped", "--pred-labels", "2024-ped") == 0


@pytest.mark.parametrize("name", PROTOCOLS)
def test_nnunets_values_become_those_of_every_protocol(name, tmp_path):
    protocol = PROTOCOLS[name]
    values = np.array(sorted(map(int, protocol.labels.values())))
    convention = CONVENTIONS["menrt"] if name.endswith("menrt") else NNUNET_CONVENTION  # 0 and 1 both ways
    translated = to_protocol(values, convention, protocol, tmp_path)
    assert [protocol.labels[value] for value in translated.tolist()] == values.tolist()


def test_real_cases_are_perfect_predictions_of_themselves(real_cases, tmp_path):
    for file in real_cases.rglob("*_seg.nii.gz"):
        shutil.copy(file, tmp_path)
    found = evaluate(real_cases, tmp_path, "brats2023-gli")
    assert len(found.cases) == 5
    for case in found.cases.values():
        for metrics in case.values():
            assert (metrics["dice"], metrics["hd95"], metrics["lesion_dice"], metrics["n_fp"]) == (1, 0, 1, 0)


def damage(path):
    path.write_bytes(path.read_bytes()[:60])


BAD = {
    "unreadable": (damage, "damaged"),
    "shape": (lambda path: write(path, blobs(0, (14, 12, 11)), spacing=SPACING), "size"),
    "affine": (lambda path: write(path, blobs(0), origin=(3, 0, 0), spacing=SPACING), "origin"),
    "spacing": (lambda path: write(path, blobs(0)), "spacing"),
    "labels": (lambda path: write(path, blobs(0) * 2, spacing=SPACING), "label values 4, 6"),
    "image": (
        lambda path: write(path, np.arange(14 * 12 * 10, dtype=np.int16).reshape(14, 12, 10), spacing=SPACING),
        "4, 5, 6, 7, 8, 9, 10, 11 …",
    ),
    "floats": (lambda path: write(path, blobs(0) / np.float32(2), spacing=SPACING), "not whole numbers"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_and_the_others_are_evaluated_where_asked(kind, folders, tmp_path, capsys, bad_input):
    make, message = BAD[kind]
    path = folders[1] / f"{NAMES[1]}.nii.gz"
    make(path)
    output = tmp_path / "metrics.json"
    assert run("-ref", folders[0], "-pred", folders[1], "-o", output) == 2
    errors = capsys.readouterr().err
    assert str(path) in errors and message in errors and "--skip-invalid" in errors and "Traceback" not in errors
    bad_input("evaluate", kind, next(line for line in errors.splitlines() if "error:" in line))
    assert not output.exists()
    assert run("-ref", folders[0], "-pred", folders[1], "-o", output, "--skip-invalid") == 0
    content = json.loads(output.read_text())
    assert list(content["cases"]) == [NAMES[0], NAMES[2]]
    assert message in content["not_evaluated"][0]


@pytest.mark.parametrize("off", [0, -2e-7, 9e-4])
def test_whole_numbers_in_floats_are_labels(folders, off):
    expected = evaluate(*folders).cases
    write(folders[1] / f"{NAMES[0]}.nii.gz", (blobs(0) + off).astype(np.float32), spacing=SPACING)
    assert evaluate(*folders).cases == expected


def test_unpaired_files_are_listed_and_left_out_where_allowed(folders, capsys):
    (folders[1] / f"{NAMES[0]}.nii.gz").unlink()
    (folders[0] / f"{NAMES[1]}.nii.gz").unlink()
    assert run("-ref", folders[0], "-pred", folders[1]) == 2
    errors = capsys.readouterr().err
    assert (
        f"1 of 2 cases: {NAMES[0]}" in errors and f"1 of 2 cases: {NAMES[1]}" in errors and "--allow-missing" in errors
    )
    assert run("-ref", folders[0], "-pred", folders[1], "--allow-missing") == 0
    printed = capsys.readouterr().out
    assert NAMES[2] in printed and f"warning: {folders[0]}: no prediction" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ref, pred: [path.unlink() for path in pred.iterdir()], "no label maps here"),
        (lambda ref, pred: [path.rename(pred / f"x{path.name}") for path in list(pred.iterdir())], "must be the same"),
        (lambda ref, pred: pred.rename(pred.with_name("gone")), "no such file or folder"),
        (lambda ref, pred: [damage(path) for path in pred.iterdir()], "damaged"),
        (lambda ref, pred: (pred / f"{NAMES[0]}.nii").write_bytes(b""), "of the same case"),
    ],
)
def test_what_leaves_nothing_to_evaluate_says_so(change, message, folders, capsys):
    change(*folders)
    assert run("-ref", folders[0], "-pred", folders[1], "--skip-invalid") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--protocol", "brats2022"), "choose from brats2021"),
        (("--pred-labels", "2077"), "choose from protocol, nnunet, 2017"),
        (("--pred-labels", "2024-gli"), "have no counterpart"),
        (("--compare", "missing"), "missing: no such"),
        (("-o", "metrics.txt"), "ends in .json"),
        (("-o", "."), "ends in .json"),
        (("--csv", "metrics.json"), "ends in .csv"),
        (("--csv", "a.csv", "--lesions", "./a.csv"), "two outputs have this name"),
        (("-np", "0"), "at least 1"),
    ],
)
def test_wrong_options_are_explained(arguments, message, folders, capsys):
    write(folders[1] / f"{NAMES[0]}.nii.gz", np.full((14, 12, 10), 4, np.uint8), spacing=SPACING)
    assert run("-ref", folders[0], "-pred", folders[1], *arguments) == 2
    assert message in capsys.readouterr().err


def test_comparison_with_another_system(folders, tmp_path, capsys):
    reference, prediction = folders
    output = tmp_path / "metrics.json"
    assert run("-ref", reference, "-pred", prediction, "--compare", prediction) == 2
    assert "compared with itself" in capsys.readouterr().err
    perfect = shutil.copytree(reference, tmp_path / "perfect")
    assert run("-ref", reference, "-pred", prediction, "--compare", perfect, "-o", output) == 0
    comparison = json.loads(output.read_text())["comparison"]
    of_et = comparison["differences"][str(perfect)]["ET"]["lesion_dice"]
    ours = [case["ET"]["lesion_dice"] for case in read_metrics(output).cases.values()]
    assert of_et["mean"] == pytest.approx(np.mean(ours) - 1)
    assert comparison["mean_ranks"][str(perfect)] < comparison["mean_ranks"][str(prediction)]
    printed = capsys.readouterr().out
    assert f"minus {perfect}" in printed and printed.count("label maps with the values of") == 3


def metrics(*values):
    return {f"case{number}": {"WT": {"dice": value, "hd95": 10 - value}} for number, value in enumerate(values)}


def test_differences_are_paired_and_tested_by_wilcoxon():
    first, second = metrics(0.9, 0.8, 0.7, 0.95), metrics(0.8, 0.85, 0.5, 0.9)
    found = differences(first, second, list(first), ["dice"])["WT"]["dice"]
    assert found.mean == pytest.approx(0.075)
    assert found.p_value == pytest.approx(stats.wilcoxon([0.1, -0.05, 0.2, 0.05]).pvalue)
    same = differences(first, first, list(first), ["dice"])["WT"]["dice"]
    assert (same.mean, same.p_value) == (0, 1)


def test_what_is_not_a_number_is_left_out_of_statistics():
    found = statistics(np.array([0.5, math.nan, 1.0]))
    assert (found.n, found.mean, found.median) == (2, 0.75, 0.75)
    assert statistics(np.array([math.nan])).n == 0


def test_the_bootstrap_interval_is_that_of_scipy():
    values = np.random.default_rng(1).normal(0.8, 0.1, 60)
    low, high = bootstrap_interval(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert bootstrap_interval(values) == (low, high)


def test_the_dataset_json_of_the_msd_names_its_values(folders):
    labels = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    (folders[1] / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert find_label_maps(folders[1]).labels == "nnunet"
