"""Tuning: the search, the honesty of its gain, and the command on tiny cases."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import values_of, write
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS
from nnunet_resunet_ds.inference import pipeline
from nnunet_resunet_ds.tuning import held_out, outcome
from nnunet_resunet_ds.tuning import scores as scores_module
from nnunet_resunet_ds.tuning.case_scorer import CaseScorer
from nnunet_resunet_ds.tuning.grid import GRID, THRESHOLDS
from nnunet_resunet_ds.tuning.held_out import Part, Tuning, parts_of, tune
from nnunet_resunet_ds.tuning.metrics import DICE, LESION_DICE, METRICS, Metric, chosen_metric
from nnunet_resunet_ds.tuning.outcome import gain_lines, write_picture, write_settings_table
from nnunet_resunet_ds.tuning.scores import Scores, mean_of
from nnunet_resunet_ds.tuning.stored_case import StoredCase, cropped_case, read_stored_case, write_stored_case
from postprocessing import PostprocessingConfig, postprocess

PAPER = PostprocessingConfig.paper()
GLIOMA = {"labels": {"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": 3}, "regions_class_order": [1, 2, 3]}


# ---- stored cases and scores ----

cases = st.tuples(
    hnp.arrays(np.float32, (3, 6, 7, 8), elements=st.sampled_from(np.float32([0, 0, 0.1, 0.19, 0.5, 0.9]))),
    hnp.arrays(np.uint8, (6, 7, 8), elements=st.sampled_from([0, 0, 0, 0, 1, 2, 3])),
)


@settings(max_examples=40)
@given(cases, st.sampled_from([DICE, LESION_DICE]), st.sampled_from(THRESHOLDS))
def test_cropping_does_not_change_scores(case, metric, threshold):
    arrays = [np.pad(values, [(0, 0)] * (values.ndim - 3) + [(5, 9)] * 3) for values in case]
    probabilities, reference = arrays
    spacing = (3.0, 5.0, 2.0)
    whole, cropped = StoredCase(probabilities, reference, spacing, reference.shape), cropped_case(*arrays, spacing)
    assert cropped.reference.size < reference.size / 2 and cropped.image_shape == reference.shape
    config = replace(PAPER, wt=threshold)
    assert CaseScorer(cropped, metric)(config) == pytest.approx(CaseScorer(whole, metric)(config))


def test_stored_cases_come_back(tmp_path):
    case = cropped_case(
        np.random.default_rng(0).random((3, 4, 5, 6), np.float32), np.ones((4, 5, 6), np.uint8), (1.5, 0.5, 2)
    )
    write_stored_case(case, tmp_path / "a.npz")
    again = read_stored_case(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.probabilities, case.probabilities)
    np.testing.assert_array_equal(again.reference, case.reference)
    assert again.spacing == (1.5, 0.5, 2) and again.image_shape == (4, 5, 6) and again.voxel_volume == 1.5


def stored(folder, number, best_threshold, noise=0.0):
    """A case whose Dice of WT is best at a threshold: voxels of the reference have at least this probability."""
    random = np.random.default_rng(number)
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[2:6, 2:6, 2:6] = 3
    values = np.where(reference, best_threshold + 0.02, best_threshold - 0.03) + noise * random.standard_normal(
        (8, 8, 8)
    )
    probabilities = np.broadcast_to(np.clip(values, 0, 1), (3, 8, 8, 8)).astype(np.float32)
    path = folder / f"{number}.npz"
    write_stored_case(StoredCase(probabilities, reference, (1.0,) * 3, reference.shape), path)
    return path


def count_calls(monkeypatch, name):
    calls = []
    original = getattr(scores_module, name)
    monkeypatch.setattr(scores_module, name, lambda *arguments: calls.append(arguments) or original(*arguments))
    return calls


@pytest.mark.parametrize(("memory", "times_read"), [(2**32, 1), (0, 2)])
def test_every_setting_is_scored_once_a_case_and_cases_stay_in_memory(tmp_path, monkeypatch, memory, times_read):
    files = [stored(tmp_path, number, 0.5) for number in range(3)]
    scored = []
    monkeypatch.setattr(
        scores_module, "CaseScorer", lambda case, metric, regions: lambda config: scored.append(config) or config.wt
    )
    monkeypatch.setattr(scores_module, "MEMORY", memory)
    read = count_calls(monkeypatch, "read_stored_case")
    scores = Scores(files)
    other = replace(PAPER, wt=0.5)
    np.testing.assert_array_equal(scores([PAPER, other, PAPER]), [[0.45] * 3, [0.5] * 3, [0.45] * 3])
    scores([other])
    assert len(scored) == 2 * 3 and len(read) == 3
    scores([replace(PAPER, wt=0.6)])
    assert len(scored) == 3 * 3 and len(read) == times_read * 3


def test_means_leave_out_cases_without_a_score():
    np.testing.assert_array_equal(mean_of(np.array([[1, np.nan, 3], [np.nan] * 3])), [2, np.nan])


# ---- honesty ----


def test_a_gain_that_every_fold_confirms_is_taken(tmp_path):
    files = [stored(tmp_path, number, 0.6) for number in range(6)]
    tuning = tune(Scores(files), ["0", "0", "1", "1", "2", "2"], "probabilities")
    assert tuning.is_worth_it and tuning.gain > 0.1
    assert tuning.chosen == replace(tuning.best, averaging="probabilities")
    assert [(part.name, part.n_cases, part.tuned) for part in tuning.parts] == [("0", 2, 1), ("1", 2, 1), ("2", 2, 1)]


def test_a_fold_s_own_cases_do_not_choose_its_settings(tmp_path):
    """Two folds that want opposite thresholds: what is tuned on one spoils the other, and the paper's stay."""
    files = [stored(tmp_path, number, 0.25 if number < 3 else 0.7) for number in range(6)]
    tuning = tune(Scores(files), ["0"] * 3 + ["1"] * 3, "probabilities")
    assert all(part.tuned < 0.5 for part in tuning.parts)
    assert not tuning.is_worth_it
    assert tuning.chosen == replace(PAPER, averaging="probabilities")


def test_a_part_without_a_score_says_nothing_of_the_gain():
    """As one in which no case has a lesion, by a metric of lesions alone."""
    parts = [Part("0", 2, 0.5, 0.6, PAPER), Part("1", 1, np.nan, np.nan, PAPER), Part("2", 2, 0.5, 0.61, PAPER)]
    tuning = Tuning(PAPER, GRID, parts, replace(PAPER, wt=0.4), "probabilities")
    assert tuning.gain == pytest.approx(0.105) and tuning.is_worth_it
    assert "without 1 of 3 rows, in which no case has a score by this metric" in list(gain_lines(tuning, DICE))
    alone = replace(tuning, parts=parts[:2])
    assert alone.gain == pytest.approx(0.1) and not alone.is_worth_it
    assert "too few cases have a score to tell a gain from chance, so the paper's settings stay" in gain_lines(
        alone, DICE
    )


def test_settings_of_a_fold_that_are_better_on_all_cases_are_found(monkeypatch):
    """A search that changes one number at a time may stop short of what that of a fold has come to."""
    far, begun = replace(PAPER, wt=0.3, tc=0.3), []

    class FarIsBest:
        metric = DICE

        def __call__(self, configs):
            return np.array([[float(config == far)] * 6 for config in configs])

    def stops_short(score_all, start, *_):
        begun.append(start)
        return far if len(begun) == 1 else start  # that of the first part alone comes so far

    monkeypatch.setattr(held_out, "search", stops_short)
    tuning = tune(FarIsBest(), ["0"] * 3 + ["1"] * 3, "probabilities")
    assert tuning.best == far and begun == [PAPER, PAPER, PAPER, far]  # and it is searched on from there


def test_the_only_fold_is_split():
    assert parts_of(["0", "1", "1"]) == ["0", "1", "1"]
    assert len(set(parts_of(["0"] * 12))) == 5 and len(set(parts_of(["0"] * 3))) == 3
    assert len(set(parts_of(["0"]))) == 1


# ---- the command ----


def count_predicted(monkeypatch):
    evaluated = []
    original = pipeline._Pipeline._run_networks

    def run_networks(self, case, *rest):
        evaluated.append(case)
        return original(self, case, *rest)

    monkeypatch.setattr(pipeline._Pipeline, "_run_networks", run_networks)
    return evaluated


NAMES = {"dice": "Dice", "lesion-dice": "Lesion-wise Dice"}


@pytest.mark.parametrize("metric", NAMES)
def test_tune_predicts_once_and_leaves_settings_table_and_picture(trained, monkeypatch, capsys, metric):
    model, ids = trained
    evaluated = count_predicted(monkeypatch)
    assert main(["tune", "-d", "137", "--no-tta", "--metric", metric]) == 0
    said = capsys.readouterr().out
    assert sorted(evaluated) == ids
    assert f"mean {NAMES[metric]} of held-out cases" in said and "mean gain" in said and "spread" in said
    config = PostprocessingConfig.from_json(model / "postprocessing.json")
    assert config.averaging == "probabilities"
    plans = json.loads((model / "plans.json").read_text())
    assert PostprocessingConfig.from_mapping(plans["resunet_ds_postprocessing"]) == config
    with (model / "tuning.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) > 50 and float(rows[0]["mean_score"]) >= float(rows[-1]["mean_score"])
    assert (model / "tuning.png").read_bytes().startswith(b"\x89PNG")
    assert main(["tune", "-m", str(model), "--no-tta", "--metric", metric, "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered["chosen"] == config.to_mapping() and answered["metric"] == metric.replace("-", "_")
    assert answered["gain"] == pytest.approx(np.mean([fold["gain"] for fold in answered["folds"]]))
    assert f"mean gain {answered['gain']:+.4f}, spread {answered['spread']:.4f}" in said
    assert sorted(evaluated) == ids  # kept from before
    assert main(["tune", "-m", str(model)]) == 0
    assert len(evaluated) == 2 * len(ids)  # with flips they are others


def test_other_references_are_noticed(trained, monkeypatch, nnunet_folders):
    model, ids = trained
    evaluated = count_predicted(monkeypatch)
    main(["tune", "-d", "137", "--no-tta"])
    table = (model / "tuning.csv").read_text()
    for case in ids:
        file = nnunet_folders / "nnUNet_raw" / model.parent.name / "labelsTr" / f"{case}.nii.gz"
        write(file, np.zeros((6, 7, 8), np.uint8))
    main(["tune", "-d", "137", "--no-tta"])
    assert (model / "tuning.csv").read_text() != table and len(evaluated) == 2 * len(ids)


def test_a_damaged_stored_case_is_named(trained, capsys):
    model, ids = trained
    main(["tune", "-d", "137", "--no-tta"])
    (model / "tuning" / "fold_0" / f"{ids[0]}.npz").write_bytes(b"half")
    assert main(["tune", "-d", "137", "--no-tta"]) == 2
    assert f"{ids[0]}.npz: damaged" in capsys.readouterr().err


def test_each_fold_predicts_its_own_validation_cases(trained):
    model, ids = trained
    main(["tune", "-d", "137", "--no-tta"])
    for fold, own in ((0, ids[:3]), (1, ids[3:])):
        assert sorted(path.stem for path in (model / "tuning" / f"fold_{fold}").glob("*.npz")) == own
    case = read_stored_case(model / "tuning" / "fold_0" / f"{ids[0]}.npz")
    reference = values_of(model.parents[1].parent / "nnUNet_raw" / model.parent.name / "labelsTr" / f"{ids[0]}.nii.gz")
    assert sorted(np.unique(case.reference)) == sorted(np.unique(reference))


# ---- what is ranked by ----


def tuning_of(*pairs):
    parts = [Part(str(number), 2, *pair, PAPER) for number, pair in enumerate(pairs)]
    return Tuning(PAPER, GRID, parts, replace(PAPER, wt=0.5), "probabilities")


def test_less_hd95_is_a_gain_and_is_shown_in_mm():
    metric = chosen_metric("hd95", None, GLIOMA, Path("dataset.json"))
    assert metric == Metric("hd95", PROTOCOLS["brats2023-gli"], (0, 2, 1, 3))
    lines = list(gain_lines(tuning_of((-12.0, -10.0), (-7.5, -5.25)), metric))
    assert lines[0] == "mean HD95 (mm) by BraTS 2023 GLI of held-out cases, where less is better"
    assert [line.split() for line in lines[1:4]] == [
        ["fold", "cases", "paper", "tuned", "on", "the", "others", "fall"],
        ["0", "2", "12.00", "10.00", "+2.00"],
        ["1", "2", "7.50", "5.25", "+2.25"],
    ]
    assert lines[4] == "mean fall +2.12, spread 0.18" and "wt 0.45 → 0.5" in lines[5]


def test_more_dice_is_a_gain():
    lines = list(gain_lines(tuning_of((0.5, 0.6), (0.5, 0.55)), DICE))
    assert lines[0] == "mean Dice of held-out cases" and lines[2].split() == ["0", "2", "0.5000", "0.6000", "+0.1000"]


class FakeScores:
    """Goodness of HD95: more WT threshold, less distance."""

    metric = Metric("hd95", PROTOCOLS["brats2023-gli"])

    def __init__(self):
        self.known = {}

    def __call__(self, configs):
        self.known |= {config: np.array([config.wt - 3, config.wt - 5]) for config in configs}
        return np.array([self.known[config] for config in configs])


def test_the_table_has_mm_and_the_best_first(tmp_path):
    scores = FakeScores()
    scores([replace(PAPER, wt=threshold) for threshold in (0.5, 0.3, 0.7)])
    write_settings_table(scores, GRID, tmp_path / "tuning.csv")
    with (tmp_path / "tuning.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["wt"], row["mean_score"]) for row in rows] == [
        ("0.7", "3.300000"), ("0.5", "3.500000"), ("0.3", "3.700000"),
    ]  # fmt: skip


def test_the_picture_has_mm_and_falls(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(outcome.Figure, "savefig", lambda figure, path, **_: (drawn.append(figure), path.touch()))
    write_picture(FakeScores(), tuning_of((-12.0, -10.0), (-7.5, -5.25)), tmp_path / "tuning.png")
    left, right = drawn[0].axes
    line = next(line for line in left.lines if line.get_label() == "WT")
    np.testing.assert_allclose(line.get_ydata(), 4 - np.array(THRESHOLDS))
    assert left.get_ylabel() == "mean HD95 (mm) by BraTS 2023 GLI"
    assert [bar.get_height() for bar in right.patches] == [2.0, 2.25]
    assert right.get_ylabel().startswith("fall")


@pytest.mark.parametrize("metric", METRICS)
def test_a_gain_of_less_than_this_is_noise(metric):
    protocol = "brats2025-gli" if metric == "nsd" else None
    chosen = chosen_metric(metric, protocol, GLIOMA, Path("dataset.json"))
    assert chosen.least_gain == (0.01 if metric == "hd95" else 1e-4)


def test_f1_is_of_the_usual_protocol_and_nsd_of_the_first_tolerance():
    assert chosen_metric("f1", None, GLIOMA, Path("dataset.json")).protocol.name == "brats2023-gli"
    assert chosen_metric("nsd", "brats2025-gli", GLIOMA, Path("dataset.json")).key == "nsd_0.5"


def test_tune_ranks_by_the_distance(trained, capsys):
    model, _ = trained
    assert main(["tune", "-d", "137", "--no-tta", "--metric", "hd95", "--protocol", "brats2021"]) == 0
    said = capsys.readouterr().out
    assert "mean HD95 (mm) by BraTS 2021 of held-out cases, where less is better" in said and "mean fall" in said
    with (model / "tuning.csv").open() as stream:
        means = [float(row["mean_score"]) for row in csv.DictReader(stream)]
    assert means == sorted(means) and means[0] >= 0


@pytest.mark.parametrize("metric", ["hd95", "lesion-dice"])
def test_the_score_is_what_the_evaluate_command_says_of_the_same_label_maps(trained, tmp_path, metric):
    model, ids = trained
    references = model.parents[1].parent / "nnUNet_preprocessed" / model.parent.name / "gt_segmentations"
    labels_folder, key = tmp_path / "labels", metric.replace("-", "_")
    labels_folder.mkdir()
    files = []
    for number, case_id in enumerate(ids):
        image = sitk.ReadImage(str(references / f"{case_id}.nii.gz"))
        reference = sitk.GetArrayFromImage(image).astype(np.uint8)
        values = np.random.default_rng(number).random((3, *reference.shape), np.float32)
        files.append(tmp_path / f"{case_id}.npz")
        case = cropped_case(values, reference, image.GetSpacing()[::-1])
        write_stored_case(case, files[-1])
        whole = sitk.GetImageFromArray(postprocess(values, PAPER, case.voxel_volume))
        whole.CopyInformation(image)
        sitk.WriteImage(whole, str(labels_folder / f"{case_id}.nii.gz"))
    flags = ["--protocol", "brats2023-gli", "--pred-labels", "nnunet", "-o", str(tmp_path / "metrics.json")]
    assert main(["evaluate", "-ref", str(references), "-pred", str(labels_folder), *flags]) == 0
    evaluated = json.loads((tmp_path / "metrics.json").read_text())["cases"]
    expected = [np.mean([region[key] for region in evaluated[case_id].values()]) for case_id in ids]
    chosen = chosen_metric(metric, "brats2023-gli", GLIOMA, Path("dataset.json"))
    assert Scores(files, chosen)([PAPER])[0].tolist() == pytest.approx([chosen.sign * value for value in expected])


def break_references(model, preprocessed):
    for file in (preprocessed / "gt_segmentations").iterdir():
        file.unlink()


BAD = {
    "no splits": (lambda model, data: (data / "splits_final.json").unlink(), [], "splits_final.json: no such file"),
    "fold all": (lambda model, data: (model / "fold_0").rename(model / "fold_all"), ["-f", "all"], "held out"),
    "no such fold": (lambda model, data: None, ["-f", "4"], "fold 4"),
    "no references": (break_references, [], "gt_segmentations"),
    "no dataset": (
        lambda model, data: data.rename(data.with_name("gone")),
        [],
        "the dataset that the model was trained",
    ),
    "no such protocol": (lambda model, data: None, ["--metric", "hd95", "--protocol", "brats1999"], "brats1999"),
    "metric that the protocol lacks": (lambda model, data: None, ["--metric", "nsd"], "choose with --protocol from"),
    "protocol of other regions": (
        lambda model, data: None,
        ["--metric", "f1", "--protocol", "brats2024-menrt"],
        "BraTS 2024 MEN-RT does not have these labels",
    ),
    "two models": (lambda model, data: None, ["-m", "a", "-m", "b"], "one model"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_tuning_cannot_do_without_is_named(trained, nnunet_folders, capsys, kind, bad_input):
    model, _ = trained
    spoil, flags, named = BAD[kind]
    spoil(model, nnunet_folders / "nnUNet_preprocessed" / model.parent.name)
    which = [] if "-m" in flags else ["-m", str(model)]
    assert main(["tune", *which, "--no-tta", *flags]) == 2
    error = capsys.readouterr().err
    assert named in error and "Traceback" not in error
    bad_input("tune", kind, next(line for line in error.splitlines() if "error:" in line))
    assert not (model / "postprocessing.json").exists()
