"""Tuning: the search, the honesty of its gain, and the command on tiny cases."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from brats_files import values_of, write
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import pipeline
from nnunet_resunet_ds.tuning.scores import METRICS, Scores, scorer
from nnunet_resunet_ds.tuning.search import GRID, neighbours, parts_of, search, tune
from nnunet_resunet_ds.tuning.stored_case import StoredCase, cropped_case, read_stored_case, write_stored_case
from postprocessing import PostprocessingConfig

PAPER = PostprocessingConfig.paper()


# ---- the search ----


def distance_to(target):
    """A score with one optimum, each number for itself."""
    return lambda configs: np.array(
        [-sum(abs(config.value(name) - value) for name, value in target.items()) for config in configs]
    )


def test_the_search_finds_the_optimum_of_independent_numbers():
    target = {"wt": 0.6, "tc": 0.25, "et_component_voxels": 128, "et_total_probability": 0.7, "wt_component_voxels": 64}
    best = search(distance_to(target), PAPER)
    assert {name: best.value(name) for name in target} == pytest.approx(target)
    assert isinstance(best.value("wt_component_voxels"), int)


def test_ties_keep_what_there_is():
    assert search(lambda configs: np.zeros(len(configs)), PAPER) == PAPER


def test_a_probability_without_a_size_is_not_searched():
    assert neighbours(PAPER, "wt_component_probability") == []
    assert len(neighbours(PAPER, "et_component_probability")) == len(GRID["et_component_probability"])


# ---- stored cases and scores ----

cases = st.tuples(
    hnp.arrays(np.float32, (3, 6, 7, 8), elements=st.sampled_from(np.float32([0, 0, 0.1, 0.19, 0.5, 0.9]))),
    hnp.arrays(np.uint8, (6, 7, 8), elements=st.sampled_from([0, 0, 0, 0, 1, 2, 3])),
)


@settings(max_examples=40)
@given(cases, st.sampled_from(METRICS), st.sampled_from(GRID["wt"]))
def test_cropping_does_not_change_scores(case, metric, threshold):
    probabilities, reference = (np.pad(values, [(0, 0)] * (values.ndim - 3) + [(5, 9)] * 3) for values in case)
    whole, cropped = StoredCase(probabilities, reference, 30.0), cropped_case(probabilities, reference, 30.0)
    assert cropped.reference.size < reference.size / 2
    config = replace(PAPER, wt=threshold)
    assert scorer(cropped, metric)(config) == pytest.approx(scorer(whole, metric)(config))


def test_stored_cases_come_back(tmp_path):
    case = cropped_case(np.random.default_rng(0).random((3, 4, 5, 6), np.float32), np.ones((4, 5, 6), np.uint8), 1.5)
    write_stored_case(case, tmp_path / "a.npz")
    again = read_stored_case(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.probabilities, case.probabilities)
    np.testing.assert_array_equal(again.reference, case.reference)
    assert again.voxel_volume == 1.5


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
    write_stored_case(StoredCase(probabilities, reference, 1.0), path)
    return path


def test_every_setting_is_scored_once_a_case(tmp_path, monkeypatch):
    files = [stored(tmp_path, number, 0.5) for number in range(3)]
    scored = []
    monkeypatch.setattr(
        "nnunet_resunet_ds.tuning.scores.scorer",
        lambda case, metric, regions: lambda config: scored.append(config) or config.wt,
    )
    scores = Scores(files, "dice")
    other = replace(PAPER, wt=0.5)
    np.testing.assert_array_equal(scores([PAPER, other, PAPER]), [[0.45] * 3, [0.5] * 3, [0.45] * 3])
    scores([other])
    assert len(scored) == 2 * 3


# ---- honesty ----


def test_a_gain_that_every_fold_confirms_is_taken(tmp_path):
    files = [stored(tmp_path, number, 0.6) for number in range(6)]
    tuning = tune(Scores(files, "dice"), ["0", "0", "1", "1", "2", "2"], "probabilities")
    assert tuning.is_worth_it and tuning.gain > 0.1
    assert tuning.chosen == replace(tuning.best, averaging="probabilities")
    assert [(part.name, part.n_cases, part.tuned) for part in tuning.parts] == [("0", 2, 1), ("1", 2, 1), ("2", 2, 1)]


def test_a_fold_s_own_cases_do_not_choose_its_settings(tmp_path):
    """Two folds that want opposite thresholds: what is tuned on one spoils the other, and the paper's stay."""
    files = [stored(tmp_path, number, 0.25 if number < 3 else 0.7) for number in range(6)]
    tuning = tune(Scores(files, "dice"), ["0"] * 3 + ["1"] * 3, "probabilities")
    assert all(part.tuned < 0.5 for part in tuning.parts)
    assert not tuning.is_worth_it
    assert tuning.chosen == replace(PAPER, averaging="probabilities")


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


@pytest.mark.parametrize("metric", METRICS)
def test_tune_predicts_once_and_leaves_settings_table_and_picture(trained, monkeypatch, capsys, metric):
    model, ids = trained
    evaluated = count_predicted(monkeypatch)
    assert main(["tune", "-d", "137", "--no-tta", "--metric", metric]) == 0
    said = capsys.readouterr().out
    assert sorted(evaluated) == ids
    assert f"mean {metric} of held-out cases" in said and "mean gain" in said and "spread" in said
    config = PostprocessingConfig.from_json(model / "postprocessing.json")
    assert config.averaging == "probabilities"
    plans = json.loads((model / "plans.json").read_text())
    assert PostprocessingConfig.from_mapping(plans["resunet_ds_postprocessing"]) == config
    with (model / "tuning.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) > 50 and float(rows[0]["mean_score"]) >= float(rows[-1]["mean_score"])
    assert (model / "tuning.png").read_bytes().startswith(b"\x89PNG")
    assert main(["tune", "-m", str(model), "--no-tta"]) == 0
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


def test_tune_takes_what_nnunet_s_validation_left(trained, monkeypatch, capsys):
    model, ids = trained
    evaluated = count_predicted(monkeypatch)
    assert main(["tune", "-d", "137", "--npz"]) == 2
    assert "nnUNetv2_train" in capsys.readouterr().err
    for number, case in enumerate(ids):
        folder = model / f"fold_{number // 3}" / "validation"
        folder.mkdir(exist_ok=True)
        values = np.random.default_rng(number).random((3, 6, 7, 8), np.float32)
        np.savez_compressed(folder / f"{case}.npz", probabilities=values)
    assert main(["tune", "-d", "137", "--npz"]) == 0
    assert not evaluated
    assert PostprocessingConfig.from_json(model / "postprocessing.json").averaging == "logits"


def test_npz_of_a_reader_that_turns_axes_are_tuned_on_the_axes_of_the_references(trained):
    """The references are stored LPS, and the model's reader gives RAS: X and Y run the other way."""
    model, ids = trained
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": "NibabelIOWithReorient"}))
    values = np.random.default_rng(0).random((3, 6, 7, 8), np.float32) * 0.8 + 0.2  # so that nothing is cropped
    for number, case in enumerate(ids):
        folder = model / f"fold_{number // 3}" / "validation"
        folder.mkdir(exist_ok=True)
        np.savez_compressed(folder / f"{case}.npz", probabilities=values)
    assert main(["tune", "-d", "137", "--npz"]) == 0
    stored = read_stored_case(model / "tuning" / "fold_0_npz" / f"{ids[0]}.npz")
    np.testing.assert_array_equal(stored.probabilities, values[:, :, ::-1, ::-1])


def test_settings_of_what_cannot_be_a_trained_model_are_not_stored(trained, capsys):
    """Probabilities that lie elsewhere than the tumour: a whole-tumour Dice near 0."""
    model, ids = trained
    for number, case in enumerate(ids):
        folder = model / f"fold_{number // 3}" / "validation"
        folder.mkdir(exist_ok=True)
        np.savez_compressed(folder / f"{case}.npz", probabilities=np.full((3, 6, 7, 8), 0.1, np.float32))
    before = (model / "plans.json").read_bytes()
    assert main(["tune", "-d", "137", "--npz"]) == 2
    assert "reach a Dice of 0.0000 of WT" in capsys.readouterr().err
    assert (model / "plans.json").read_bytes() == before and not (model / "postprocessing.json").exists()


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
