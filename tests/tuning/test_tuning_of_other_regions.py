"""Tuning follows the regions of the dataset: numbers that are searched, and the score. WT, TC and ET are as before."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from brats_files import write
from region_datasets import APART, CYSTIC, KINDS, RADIOTHERAPY, labels_of, write_trained
from scipy.ndimage import gaussian_filter

from nnunet_resunet_ds.base.dataset_json import regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.tuning.case_scorer import CaseScorer
from nnunet_resunet_ds.tuning.grid import GRID, THRESHOLDS, grid_of, names_of, sweep
from nnunet_resunet_ds.tuning.held_out import tune
from nnunet_resunet_ds.tuning.metrics import DICE, LESION_DICE, chosen_metric
from nnunet_resunet_ds.tuning.scores import Scores, check_above_floor
from nnunet_resunet_ds.tuning.stored_case import StoredCase, write_stored_case
from postprocessing import PostprocessingConfig, postprocess
from postprocessing.model_config import default_config
from postprocessing.step import in_settings

GLIOMA = {"labels": {"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": 3}, "regions_class_order": [1, 2, 3]}
CAVITY = {"labels": {**GLIOMA["labels"], "resection cavity": 4}, "regions_class_order": [1, 2, 3, 4]}


# ---- what is searched ----


def names_of_further(name, in_settings=None):
    steps = (
        "component_voxels", "component_probability", "mean", "peak", "total_voxels", "total_probability",
    )  # fmt: skip
    return [f"threshold of {name}", *(f"{in_settings or name}_{step}" for step in steps)]


def test_the_grid_has_what_a_dataset_has():
    assert grid_of(GLIOMA) == GRID
    assert grid_of(CAVITY)[: len(GRID)] == GRID
    assert names_of(grid_of(CAVITY)[len(GRID) :]) == names_of_further("RC", "rc")
    assert grid_of(RADIOTHERAPY.dataset_json)[0] == sweep("threshold of GTV", *THRESHOLDS)
    assert names_of(grid_of(APART.dataset_json)) == [*names_of_further("cyst"), *names_of_further("vessel")]
    of_cystic = names_of(grid_of(CYSTIC.dataset_json))
    left_out = set(names_of(GRID)) - set(of_cystic)
    assert {"wt_component_voxels", "tc_mean", "wt_hysteresis_low", "tc_opening"} < left_out
    assert {name[:2] for name in left_out} == {"wt", "tc"} and {"wt", "tc", "et_hysteresis_high"} < set(of_cystic)


def uncertain_case(folder, number):
    """Three nested balls, and probabilities of them with noise: those of WT too large, those of TC too small."""
    random = np.random.default_rng(number)
    z, y, x = np.indices((12, 14, 16))
    distance = np.sqrt((z - 6) ** 2 + (y - 7) ** 2 + (x - 8) ** 2)
    reference = np.zeros(distance.shape, np.uint8)
    for label, radius in ((1, 5), (2, 3.5), (3, 2)):
        reference[distance <= radius] = label
    noise = [gaussian_filter(random.standard_normal(distance.shape), 1) for _ in range(3)]
    probabilities = [
        1 / (1 + np.exp(distance - radius - shift + 3 * of_region))
        for radius, shift, of_region in zip((5, 3.5, 2), (0.8, -0.5, 0.6), noise, strict=True)
    ]
    write_stored_case(
        StoredCase(np.float32(probabilities), reference, (1.0,) * 3, reference.shape), folder / f"{number}.npz"
    )
    return folder / f"{number}.npz"


EARLIER = (
    "wt", "tc", "et", "et_component_voxels", "et_component_probability", "et_total_voxels", "et_total_probability",
    "tc_component_voxels", "tc_component_probability", "wt_component_voxels", "wt_component_probability",
)  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "best", "scores"),
    [
        (DICE, {"wt": 0.7, "tc": 0.35, "et": 0.65, "et_total_voxels": 0},
         [(0.6293018544377081, 0.7067934303332163), (0.6949667979049131, 0.7325227386492651)]),
        (LESION_DICE, {"wt": 0.7, "tc": 0.35},
         [(0.8493360424718962, 0.9187206117519232), (0.8591104695579714, 0.9177612318174759)]),
    ],
)  # fmt: skip
def test_wt_tc_and_et_are_searched_as_they_were(tmp_path, metric, best, scores):
    """The numbers are those of the search before it knew other regions, and other steps."""
    files = [uncertain_case(tmp_path, number) for number in range(6)]
    earlier = tuple(coordinate for coordinate in GRID if coordinate.names[0] in EARLIER)
    tuning = tune(Scores(files, metric), ["0"] * 3 + ["1"] * 3, "probabilities", grid=earlier)
    assert tuning.best == PostprocessingConfig.paper().with_values(**best)
    assert [(part.before, part.tuned) for part in tuning.parts] == [pytest.approx(pair, abs=1e-12) for pair in scores]


# ---- what is scored ----


def dice_by_hand(reference, prediction):
    return 2 * (reference & prediction).sum() / (reference.sum() + prediction.sum())


@pytest.mark.parametrize("kind", [RADIOTHERAPY, APART, CYSTIC], ids=["one", "two", "with CC"])
def test_the_score_is_the_mean_dice_over_the_regions_of_the_dataset(kind):
    dataset_json = kind.dataset_json
    reference, random = labels_of(kind), np.random.default_rng(1)
    case = StoredCase(
        random.random((len(kind.order), *reference.shape), np.float32), reference, (1.0,) * 3, reference.shape
    )
    config, regions = default_config(dataset_json), regions_of(dataset_json)
    found = postprocess(case.probabilities, config)
    values = [np.atleast_1d(value) for name, value in kind.labels.items() if name != "background"]
    expected = np.mean([dice_by_hand(np.isin(reference, own), np.isin(found, own)) for own in values])
    assert CaseScorer(case, DICE, regions)(config) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [DICE, LESION_DICE])
def test_an_empty_region_scores_1_for_nothing_and_0_for_anything(metric):
    nothing = np.zeros((4, 4, 4), np.uint8)
    regions, config = regions_of(RADIOTHERAPY.dataset_json), default_config(RADIOTHERAPY.dataset_json)
    for value, expected in ((0.4, 1.0), (0.6, 0.0)):
        case = StoredCase(np.full((1, 4, 4, 4), value, np.float32), nothing, (1.0,) * 3, nothing.shape)
        assert CaseScorer(case, metric, regions)(config) == expected


def test_the_floor_is_of_the_first_region(tmp_path):
    regions, config = regions_of(APART.dataset_json), default_config(APART.dataset_json)
    reference = np.zeros((4, 4, 4), np.uint8)
    reference[0], reference[1] = 1, 3
    right = np.stack([reference == 1, reference == 3]).astype(np.float32)
    for name, values in (("right", right), ("no cyst", right * np.float32([0, 1])[:, None, None, None])):
        write_stored_case(StoredCase(values, reference, (1.0,) * 3, reference.shape), tmp_path / f"{name}.npz")
    check_above_floor([tmp_path / "right.npz"], config, regions[0])
    with pytest.raises(InputError, match=r"a Dice of 0\.0000 of cyst"):
        check_above_floor([tmp_path / "no cyst.npz"], config, regions[0])
    check_above_floor([tmp_path / "no cyst.npz"], config, regions[1])


# ---- the rules of a challenge ----


def test_a_protocol_must_have_the_labels_of_the_dataset():
    source = Path("dataset.json")
    metric = chosen_metric("hd95", "brats2024-menrt", RADIOTHERAPY.dataset_json, source)
    assert metric.values == (0, 1)
    assert chosen_metric("f1", "brats2024-gli", CAVITY, source).values == (0, 2, 1, 3, 4)
    for dataset_json, says in (
        (
            RADIOTHERAPY.dataset_json,
            "gross tumor volume: BraTS 2023 GLI does not have these labels; .* brats2024-menrt",
        ),
        (CAVITY, "WT, TC, ET, resection cavity: BraTS 2023 GLI does not have these labels; .* brats2024-gli"),
        (APART.dataset_json, "cyst, vessel: .*; no challenge has both; use --metric dice"),
    ):
        with pytest.raises(InputError, match=says):
            chosen_metric("hd95", None, dataset_json, source)
    assert chosen_metric("lesion-dice", None, APART.dataset_json, source) == LESION_DICE


# ---- the command ----


def save_probabilities(model, ids, kind, best_threshold):
    """Probabilities a little above a threshold where a region is, and a little below elsewhere."""
    regions = regions_of(kind.dataset_json)
    for number, case in enumerate(ids):
        folder = model / f"fold_{number // 3}" / "validation"
        folder.mkdir(exist_ok=True)
        reference = labels_of(kind, number)
        values = [np.where(region.mask(reference), best_threshold + 0.02, best_threshold - 0.02) for region in regions]
        np.savez_compressed(folder / f"{case}.npz", probabilities=np.float32(values))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_command_finds_the_thresholds_of_any_regions(dataset, nnunet_folders, capsys, kind):
    model, ids = write_trained(nnunet_folders, dataset[0], kind)
    save_probabilities(model, ids, kind, 0.3)
    assert main(["tune", "-d", "137", "--npz"]) == 0
    said = capsys.readouterr().out
    names = [region.name for region in default_config(kind.dataset_json).further]
    for name in names:
        assert f"threshold of {name} 0.5 → 0.3" in said
    assert "nnU-Net" in said and "paper" not in said
    config = PostprocessingConfig.from_json(model / "postprocessing.json")
    assert [region.threshold for region in config.further] == [0.3] * len(names)
    assert json.loads((model / "plans.json").read_text())["resunet_ds_postprocessing"]["tumour_regions"] is False
    with (model / "tuning.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    expected = [column for name in names for column in names_of_further(name, in_settings(name))]
    assert list(rows[0]) == [*expected, "mean_score"]
    assert float(rows[0]["mean_score"]) == 1


def test_tune_predicts_with_one_channel_and_says_where_nnunet_s_thresholds_stay(dataset, nnunet_folders, capsys):
    """An untrained network: whatever it finds, the command ends in words and not in a fault."""
    model, _ = write_trained(nnunet_folders, dataset[0], RADIOTHERAPY)
    code = main(["tune", "-d", "137", "--no-tta"])
    printed = capsys.readouterr()
    assert code == 0 or "of gross tumor volume on the validation cases" in printed.err
    assert len(list((model / "tuning").glob("fold_*/*.npz"))) == 6
    assert code == 2 or "mean gain" in printed.out


def test_the_cystic_component_counts_as_tumour(dataset, nnunet_folders, capsys):
    model, ids = write_trained(nnunet_folders, dataset[0], CYSTIC)
    save_probabilities(model, ids, CYSTIC, 0.3)
    assert main(["tune", "-d", "137", "--npz"]) == 0
    config = PostprocessingConfig.from_json(model / "postprocessing.json")
    assert config.further[0].name == "CC"
    assert [config.wt, config.tc, config.further[0].threshold] == [0.3] * 3
    columns = (model / "tuning.csv").read_text().splitlines()[0].split(",")
    assert {"et_component_voxels", "cc_component_voxels"} < set(columns)
    assert not {"wt_component_voxels", "tc_component_voxels"} & set(columns)


def test_false_components_of_a_further_region_are_found(tmp_path):
    """Each case has the cavity, and a small false one that no threshold tells from it."""
    files = []
    for number in range(4):
        reference = np.zeros((10, 12, 14), np.uint8)
        reference[2:7, 2:7, 2 + number : 8] = 4
        probabilities = np.zeros((4, *reference.shape), np.float32)
        probabilities[3][reference == 4] = 0.8
        probabilities[3, 8, 9:11, 10:12] = 0.8
        files.append(tmp_path / f"{number}.npz")
        write_stored_case(StoredCase(probabilities, reference, (1.0,) * 3, reference.shape), files[-1])
    scores = Scores(files, DICE, regions_of(CAVITY))
    tuning = tune(scores, ["0", "0", "1", "1"], "probabilities", start=default_config(CAVITY), grid=grid_of(CAVITY))
    assert tuning.is_worth_it and tuning.best.value("rc_component_voxels") == 16
    assert all(part.tuned == 1 for part in tuning.parts)


def test_references_of_other_regions_are_refused(dataset, nnunet_folders, capsys):
    write_trained(nnunet_folders, dataset[0], RADIOTHERAPY)
    preprocessed = nnunet_folders / "nnUNet_preprocessed" / dataset[0]["dataset_name"]
    (preprocessed / "dataset.json").write_text(json.dumps(APART.dataset_json))
    assert main(["tune", "-d", "137", "--no-tta"]) == 2
    assert "does not say that these are gross tumor volume in nnU-Net's values" in capsys.readouterr().err


# ---- absent sequences ----


def test_a_case_whose_conversion_wrote_zeros_is_predicted_with_them(trained, capsys):
    model, ids = trained
    raw = model.parents[2] / "nnUNet_raw" / model.parent.name
    write(raw / "imagesTr" / f"{ids[0]}_0002.nii.gz", np.zeros((6, 7, 8), np.int16))
    assert main(["tune", "-d", "137", "--no-tta"]) == 2
    assert "T2 is zero everywhere" in capsys.readouterr().err
    manifest = json.loads((raw / "conversion.json").read_text())
    manifest["cases"][ids[0]]["absent"] = ["T2"]
    (raw / "conversion.json").write_text(json.dumps(manifest))
    assert main(["tune", "-d", "137", "--no-tta"]) == 0
    assert (model / "tuning" / "fold_0" / f"{ids[0]}.npz").is_file()
