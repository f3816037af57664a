"""``predict --uncertainty``: variances against every flip, fold and model alone; the maps, run.json and going on."""

import json
from itertools import combinations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from brats_files import CASES
from hypothesis import given
from hypothesis import strategies as st
from models import predict, stock_plans, write_model

from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.averages import FoldStatistics
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.uncertainty.entropy import entropy
from nnunet_resunet_ds.uncertainty.expected_dice import SIGNS, ExpectedDice, ExpectedDiceModel
from nnunet_resunet_ds.uncertainty.region_certainty import certainty_of_regions, fold_disagreement
from postprocessing import PostprocessingConfig
from postprocessing.model_config import keep_with_model

PATCH = (16, 16, 16)
UNCERTAIN_LOGITS, DAMAGED_EXPECTED_DICE = "uncertainty of averaged logits", "damaged expected_dice.json"


@pytest.fixture
def other_model(dataset, tmp_path):
    plans, dataset_json, _ = dataset
    return write_model(tmp_path / "other", stock_plans(plans), dataset_json, folds=(2,), trainer="nnUNetTrainer")


def one_tile(seed=0):
    return np.random.default_rng(seed).integers(1, 900, (4, *PATCH)).astype(np.int16)


def each_alone(folder, fold, images, n_axes=3):
    """Probabilities (flips, R, Z, Y, X) of one fold, by a network run by hand on the one tile of the images."""
    model = load_model(folder, [fold])
    network = model.build_network()
    network.load_state_dict(model.weights[str(fold)])
    case = Predictor([model]).preprocess(images, (1, 1, 1))[0]
    axes = [flip for n in range(n_axes + 1) for flip in combinations((2, 3, 4), n)]
    with torch.no_grad():
        flipped = [torch.sigmoid(network(case.data[None].flip(flip))).flip(flip)[0] for flip in axes]
    return torch.stack(flipped).numpy()


def spread_of(models, images, **settings):
    predictor = Predictor(models, PredictionSettings.of(models, precision="fp32", uncertainty=True, **settings))
    cases = predictor.preprocess(images, (1, 1, 1))
    return predictor.restore_with_spread(predictor.run_networks(cases), cases)


def test_variance_is_that_of_all_flips_and_folds(model):
    images = one_tile()
    alone = np.stack([each_alone(model, fold, images) for fold in (0, 1)])
    mean, spread = spread_of([load_model(model)], images)
    np.testing.assert_allclose(mean, alone.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(spread.variance, alone.var((0, 1)), atol=1e-6)
    np.testing.assert_allclose(spread.over_folds, alone.mean(1).var(0), atol=1e-6)
    assert spread.n_folds == 2 and spread.variance.max() > 1e-3


def test_one_fold_varies_over_flips_alone_and_without_them_not_at_all(model):
    images = one_tile()
    _, spread = spread_of([load_model(model, [1])], images)
    np.testing.assert_allclose(spread.variance, each_alone(model, 1, images).var(0), atol=1e-6)
    assert spread.over_folds is None and spread.n_folds == 1
    _, spread = spread_of([load_model(model, [1])], images, use_mirroring=False)
    assert spread.variance.max() < 1e-6


def test_models_count_alike_whatever_their_number_of_folds(model, other_model):
    images = one_tile()
    ours = np.stack([each_alone(model, fold, images) for fold in (0, 1)])
    other = np.stack([each_alone(other_model, 2, images)])
    mean, spread = spread_of([load_model(model), load_model(other_model)], images)
    both = [ours.mean((0, 1)), other.mean((0, 1))]
    np.testing.assert_allclose(mean, np.mean(both, axis=0), atol=1e-5)
    second_moment = np.mean([(ours**2).mean((0, 1)), (other**2).mean((0, 1))], axis=0)
    np.testing.assert_allclose(spread.variance, second_moment - np.mean(both, axis=0) ** 2, atol=1e-6)
    of_folds = np.mean([(ours.mean(1) ** 2).mean(0), (other.mean(1) ** 2).mean(0)], axis=0) - np.mean(both, axis=0) ** 2
    np.testing.assert_allclose(spread.over_folds, of_folds, atol=1e-6)
    assert spread.n_folds is None  # a fold of one weighs as much as two of the other
    masks = np.zeros((3, *PATCH), np.float32)
    for_all = certainty_of_regions(np.ones(PATCH, np.uint8), masks + 0.5, REGIONS, 1.0, masks + 0.2)
    assert {certainty.fold_disagreement for certainty in for_all.values()} == {None}


def test_asking_for_it_changes_no_probability_and_takes_no_further_pass(model):
    images = np.random.default_rng(1).integers(1, 900, (4, 22, 26, 20)).astype(np.int16)
    plain = Predictor.from_model_folder(model, precision="fp32")
    cases = plain.preprocess(images, (1, 1, 1))
    expected = plain.restore(plain.run_networks(cases), cases)
    asked = Predictor.from_model_folder(model, precision="fp32", uncertainty=True)
    passes = []
    mean, spread = asked.restore_with_spread(asked.run_networks(cases, passes.append), cases)
    np.testing.assert_array_equal(mean, expected)
    assert sum(passes) == plain.n_forward_passes(cases)
    assert spread.variance.shape == mean.shape and (spread.variance >= 0).all() and spread.variance.max() <= 0.25


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_folds_one_by_one_give_the_variance_of_all(seed, n):
    folds = torch.from_numpy(np.random.default_rng(seed).random((n, 4, 2, 3, 2)))
    statistics = FoldStatistics(n_varying=3)
    for fold in folds:
        statistics.add(fold.clone())
    found = statistics.result()
    np.testing.assert_allclose(found[:4], folds.mean(0), atol=1e-12)
    if n > 1:
        np.testing.assert_allclose(found[4:], folds[:, :3].var(0, correction=0), atol=1e-12)
    assert len(found) == (7 if n > 1 else 4)


# ---- as its users type it ----


def maps_of(folder, case, kind):
    files = [folder / "uncertainty" / f"{case}_{name}_{kind}.nii.gz" for name in ("WT", "TC", "ET")]
    return np.stack([nibabel.load(file).get_fdata().T for file in files])


def test_maps_lie_on_the_grid_of_the_images(cohort, model, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ("--uncertainty", "--save-probabilities")
    assert main(["predict", "-i", str(cohort), "-o", str(out), "-m", str(model), *flags]) == 0
    assert f"maps of uncertainty (entropy and variance): {out / 'uncertainty'}" in capsys.readouterr().out
    for case in CASES:
        probabilities = np.load(out / f"{case}.npz")["probabilities"]
        np.testing.assert_allclose(maps_of(out, case, "entropy"), entropy(probabilities), atol=1e-3)
        assert 0 < maps_of(out, case, "variance").max() <= 0.25
        names = (f"uncertainty/{case}_ET_variance.nii.gz", f"{case}.nii.gz")
        image, labels = (sitk.ReadImage(str(out / name)) for name in names)
        for name in ("Size", "Spacing", "Origin", "Direction"):
            assert getattr(image, f"Get{name}")() == getattr(labels, f"Get{name}")()
    entry = json.loads((out / "run.json").read_text())["cases"][CASES[0]]
    assert len(entry["uncertainty_maps"]) == 6
    assert all((out / name).is_file() for name in entry["uncertainty_maps"])
    assert set(entry["certainty"]) == {"WT", "TC", "ET"} and "expected_dice" not in entry["certainty"]["WT"]
    assert 0 <= entry["certainty"]["WT"]["fold_disagreement"] <= 1
    assert main(["postprocess", "-i", str(out), "-o", str(tmp_path / "again")]) == 0  # takes no map for a label map


def test_run_json_says_how_far_folds_disagree(cohort, model, tmp_path):
    predict(cohort, tmp_path / "both", model, "--uncertainty", "--wt", "0.5")
    folds = []
    for fold in "01":
        predict(cohort, tmp_path / fold, model, "-f", fold, "--save-probabilities")
        folds.append(np.load(tmp_path / fold / f"{CASES[0]}.npz")["probabilities"][0])
    counts = np.mean(folds, axis=0) > 0
    expected = fold_disagreement(np.mean(folds, axis=0)[counts], np.var(folds, axis=0)[counts], 2)
    found = json.loads((tmp_path / "both" / "run.json").read_text())["cases"][CASES[0]]["certainty"]["WT"]
    assert found["fold_disagreement"] == pytest.approx(expected, rel=0.1)  # it looks at the box of the tumour alone


def test_one_fold_without_flips_has_nothing_to_vary(cohort, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(cohort, out, model, "--uncertainty", "-f", "0") == 0
    assert "one fold without flips: nothing varies, so there is no map of variance" in capsys.readouterr().err
    names = sorted(path.name for path in (out / "uncertainty").iterdir())
    assert names == sorted(f"{case}_{region}_entropy.nii.gz" for case in CASES for region in ("WT", "TC", "ET"))


def test_going_on_makes_the_maps_that_are_missing(cohort, model, tmp_path, capsys):
    out = tmp_path / "out"
    predict(cohort, out, model)
    assert predict(cohort, out, model, "--uncertainty", "--continue") == 0
    assert "wrote 2 label maps" in capsys.readouterr().out
    (out / "uncertainty" / f"{CASES[1]}_TC_entropy.nii.gz").unlink()
    assert predict(cohort, out, model, "--uncertainty", "--continue") == 0
    assert "1 was there" in capsys.readouterr().out
    assert predict(cohort, out, model, "--uncertainty", "--continue") == 0
    assert "2 were there" in capsys.readouterr().out


def test_maps_of_an_earlier_label_map_do_not_stay(cohort, model, tmp_path):
    out = tmp_path / "out"
    predict(cohort, out, model, "--uncertainty")
    assert predict(cohort, out, model, "--wt", "0.3") == 0
    assert list((out / "uncertainty").iterdir()) == []
    assert "uncertainty_maps" not in (out / "run.json").read_text()


def test_the_dice_to_expect_is_noted_where_tuning_has_taught_it(cohort, model, tmp_path, capsys):
    weights = load_model(model).identities
    taught = ExpectedDice(0.25, dict.fromkeys(SIGNS, 0.0), n_cases=9, error=0.1, volume_held=0.8)
    ExpectedDiceModel({"WT": taught}, tuple(weights.items())).write(model)
    keep_with_model(PostprocessingConfig(averaging="probabilities", flips=False), model)
    predict(cohort, tmp_path / "out", model)
    certainty = json.loads((tmp_path / "out" / "run.json").read_text())["cases"][CASES[0]]["certainty"]
    assert certainty["WT"]["expected_dice"] == 0.25 and "expected_dice" not in certainty["ET"]
    others = ("--wt 0.9", "--preset none", "--tiles whole", "--tile-step 1", "--average logits")
    for number, flags in enumerate(others):  # settings of which nothing was learnt
        predict(cohort, tmp_path / str(number), model, *flags.split())
        assert "expected_dice" not in (tmp_path / str(number) / "run.json").read_text(), flags
    assert Predictor.from_model_folder(model, use_mirroring=False).expected_dice
    assert Predictor.from_model_folder(model).expected_dice is None
    ExpectedDiceModel({"WT": taught}, (("0", "of another training"),)).write(model)
    predict(cohort, tmp_path / "other", model)
    assert "was learnt from other weights than those that predict" in capsys.readouterr().err
    assert "expected_dice" not in (tmp_path / "other" / "run.json").read_text()


def test_damaged_knowledge_of_dice_is_named(cohort, model, tmp_path, bad_input, capsys):
    (model / "expected_dice.json").write_text("{}")
    assert predict(cohort, tmp_path / "out", model) == 2
    bad_input("predict", DAMAGED_EXPECTED_DICE, capsys.readouterr().err.splitlines()[-1])


def test_logits_have_no_such_variance(cohort, model, tmp_path, bad_input, capsys):
    assert predict(cohort, tmp_path / "out", model, "--uncertainty", "--average", "logits") == 2
    error = capsys.readouterr().err
    assert "leave out either --uncertainty or --average logits" in error
    bad_input("predict", UNCERTAIN_LOGITS, next(line for line in error.splitlines() if "error:" in line))
