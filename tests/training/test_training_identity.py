"""Weights know the cases, plans and settings that they were trained with, and what was made of them says so."""

import json
import os
import shutil
import threading
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from brats_files import painted, write
from models import predict, small_plans, write_model
from preprocessed import write_preprocessed, write_split
from trainers import small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json_in_turn
from nnunet_resunet_ds.base.nnunet_folders import nnunet_folder
from nnunet_resunet_ds.base.splits_file import FoldCases
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.training.checkpoint import checkpoint_names
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.checkpoint.training_state import set_aside
from nnunet_resunet_ds.training.checks.fold_checks import check_other_folds
from nnunet_resunet_ds.training.fold.fold_record import add_to_record
from nnunet_resunet_ds.training.planning.plan_writing import plan, write_plans
from postprocessing import PostprocessingConfig
from postprocessing.model_config import carry_to_plans, config_of_model, config_of_predictions, keep_with_model
from postprocessing.saved_probabilities import check_painted

FINAL = "checkpoint_final.pth"
PATCH_OF_OTHERS = (16, 16, 32)


def change_checkpoint(file, **entries):
    content = torch.load(file, weights_only=False)
    torch.save({**content, **entries}, file)


def note_cases(model, fold, train, val):
    """Let a checkpoint say what it was trained on, as ours do."""
    change_checkpoint(model / f"fold_{fold}" / FINAL, resunet_ds={"cases": {"train": list(train), "val": list(val)}})


def note_plans(model, fold, plans):
    arguments = {"configuration": "3d_fullres", "plans": plans}
    change_checkpoint(model / f"fold_{fold}" / FINAL, init_args=arguments)


def preprocessed_of(model):
    return nnunet_folder("nnUNet_preprocessed") / model.parent.name


# ---- weights ----


def test_weights_are_told_by_their_values_alone(tmp_path):
    weights = {"a": torch.randn(3, 4), "b": torch.arange(5)}
    torch.save({"network_weights": weights, "epoch": 1}, tmp_path / "one.pth")
    torch.save({"network_weights": dict(reversed(weights.items())), "epoch": 2}, tmp_path / "two.pth")
    identities = {
        weights_identity(read_checkpoint(tmp_path / name, mapped=mapped)["network_weights"])
        for name in ("one.pth", "two.pth")
        for mapped in (False, True)
    }
    assert identities == {weights_identity(weights)}
    renamed = {"c": weights["a"], "b": weights["b"]}
    others = ({**weights, "b": torch.arange(5) + 1}, {**weights, "b": torch.arange(5.0)}, renamed)
    assert len({weights_identity(other) for other in (weights, *others)}) == 4
    assert weights_identity({"a": torch.ones(2, dtype=torch.bfloat16)}) != weights_identity({"a": torch.ones(2)})


# ---- the split of a fold ----


@pytest.fixture
def resplit(trained):
    """A model of two folds that note their cases, on a split that was replaced afterwards."""
    model, ids = trained
    note_cases(model, 0, ids[3:], ids[:3])
    note_cases(model, 1, ids[:3], ids[3:])
    write_split(preprocessed_of(model), ids[::2], ids[1::2], cases=ids)
    return model, ids


def test_tuning_uses_the_cases_that_the_weights_have_not_seen(resplit, capsys):
    model, ids = resplit
    assert main(["tune", "-d", "137", "--no-tta"]) == 0
    for fold, own in ((0, ids[:3]), (1, ids[3:])):
        assert sorted(path.stem for path in (model / "tuning" / f"fold_{fold}").glob("*.npz")) == own
    assert "the split has changed since fold 0 was trained" in capsys.readouterr().err


def test_tuning_on_a_dataset_that_was_made_anew_is_refused(trained, capsys):
    """The references are of the earlier cases, and the images of the new ones."""
    model, ids = trained
    preprocessed = preprocessed_of(model)
    raw = nnunet_folder("nnUNet_raw") / model.parent.name
    shutil.rmtree(preprocessed / "gt_segmentations")
    shutil.copytree(raw / "labelsTr", preprocessed / "gt_segmentations")
    assert main(["tune", "-d", "137", "--no-tta"]) == 0
    (raw / "labelsTr" / f"{ids[0]}.nii.gz").unlink()  # or it would be written through the link
    shutil.copy(raw / "labelsTr" / f"{ids[1]}.nii.gz", raw / "labelsTr" / f"{ids[0]}.nii.gz")
    assert main(["tune", "-d", "137", "--no-tta"]) == 2
    error = capsys.readouterr().err
    assert f"{ids[0]}.nii.gz: is not the label map that was preprocessed" in error and "--clean" in error


def test_folds_of_different_splits_are_not_tuned_together(resplit, capsys):
    model, ids = resplit
    note_cases(model, 1, ids[1::2], ids[::2])
    assert main(["tune", "-d", "137", "--no-tta"]) == 2
    assert "2 cases, such as BraTS2021_00000, were held out of several folds" in capsys.readouterr().err
    assert main(["tune", "-d", "137", "--no-tta", "-f", "1"]) == 0
    assert sorted(path.stem for path in (model / "tuning" / "fold_1").glob("*.npz")) == ids[::2]


def test_of_weights_that_note_nothing_the_validation_tells_the_cases(trained, capsys):
    """As nnU-Net's own trainers leave a fold."""
    model, ids = trained
    validation = model / "fold_0" / "validation"
    validation.mkdir()
    rows = [{"prediction_file": f"/elsewhere/{case}.nii.gz"} for case in ids[:3]]
    (validation / "summary.json").write_text(json.dumps({"metric_per_case": rows}))
    assert main(["tune", "-d", "137", "--no-tta", "-f", "0"]) == 0
    write_split(preprocessed_of(model), ids[::2], ids[1::2], cases=ids)
    assert main(["tune", "-d", "137", "--no-tta", "-f", "0"]) == 2
    assert "was validated on other cases than fold 0" in capsys.readouterr().err
    os.utime(validation / "summary.json", (0, 0))  # of earlier weights: it tells nothing of these
    assert main(["tune", "-d", "137", "--no-tta", "-f", "0"]) == 0


def test_a_training_anew_sets_the_earlier_validation_aside(tmp_path):
    for _ in range(2):
        (tmp_path / "validation").mkdir()
        (tmp_path / "validation" / "case.npz").touch()
        assert set_aside(tmp_path) == [tmp_path / "earlier_validation"]
    assert not (tmp_path / "validation").exists()


@pytest.fixture
def begun(dataset):
    """A checkpoint of fold 0 in its own folder: (file, cases of the dataset, plans)."""
    _, _, preprocessed = dataset
    ids = [f"case{number}" for number in range(6)]
    write_preprocessed(preprocessed, ids)
    (preprocessed / "nnUNetPlans_3d_fullres" / "case0.b2nd").touch()  # tells nnU-Net the format
    write_split(preprocessed, ids[:3], ids[3:], cases=ids)
    plans = small(dataset[0])
    made = trainer(dataset, plans)
    made.initialize()
    made.cases = FoldCases(tuple(ids[3:]), tuple(ids[:3]))
    for series in made.logger.local_logger.my_fantastic_logging.values():
        series.append(0.5)
    file = Path(made.output_folder, checkpoint_names.LATEST)
    made.save_checkpoint(str(file))
    return file, ids, plans


def test_a_training_goes_on_with_its_own_cases(begun, dataset):
    file, _, plans = begun
    trainer(dataset, plans).load_checkpoint(str(file))
    assert read_checkpoint(file)["resunet_ds"]["cases"]["val"] == ["case0", "case1", "case2"]


def test_a_training_does_not_go_on_with_another_split(begun, dataset):
    file, ids, plans = begun
    write_split(dataset[2], ids[::2], ids[1::2], cases=ids)
    with pytest.raises(InputError, match=r"was trained on other cases than fold 0 of splits_final\.json has now"):
        trainer(dataset, plans).load_checkpoint(str(file))


def test_a_training_does_not_go_on_with_another_patch(begun, dataset):
    """The weights fit, so that nothing else would notice."""
    file, _, plans = begun
    plans["configurations"]["3d_fullres"]["patch_size"] = list(PATCH_OF_OTHERS)
    with pytest.raises(InputError, match="was trained with another patch_size"):
        trainer(dataset, plans).load_checkpoint(str(file))


def without_mask(plans):
    """As they are planned again where the images are whole heads now."""
    plans = deepcopy(plans)
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False] * 4
    return plans


def test_a_training_does_not_go_on_where_the_brain_is_no_longer_marked(begun, dataset):
    file, _, plans = begun
    made = trainer(dataset, without_mask(plans))
    assert made.configuration_manager.network_arch_init_kwargs["salient_channel"] is False
    with pytest.raises(InputError, match=r"of another network \(encoder.* is \(4, 5, 3, 3, 3\) instead of \(4, 4, 3"):
        made.load_checkpoint(str(file))
    (file.parents[1] / "plans.json").write_text(json.dumps(plans))
    other = file.parents[1] / "fold_1"
    with pytest.raises(InputError, match="fold_0: was trained with another architecture, use_mask_for_norm than"):
        check_other_folds(other, made.plans_manager.plans, "3d_fullres")


# ---- plans ----


def other_patch(plans):
    return small_plans(plans, patch_size=PATCH_OF_OTHERS)


def test_plans_that_a_model_uses_are_not_replaced(dataset, nnunet_folders):
    stock, dataset_json, folder = dataset
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock))
    settings = {"patch_size": (16, 16, 16), "features_per_stage": (4, 8, 12)}
    file, made = plan(137, name="Mine", **settings)
    model = nnunet_folders / "nnUNet_results" / folder.name / "ResUNetDSTrainer__Mine__3d_fullres"
    write_model(model, made.plans, dataset_json)
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"plans Mine of another patch_size; give the new plans another name"):
        plan(137, name="Mine", **{**settings, "patch_size": PATCH_OF_OTHERS})
    assert file.read_bytes() == before
    plan(137, name="Mine", **settings, recipe={"epochs": 7})  # a longer training is of the same model
    (folder / "nnUNetPlans.json").write_text(json.dumps(without_mask(stock)))
    with pytest.raises(InputError, match="plans Mine of another architecture, use_mask_for_norm; give"):
        plan(137, name="Mine", **settings)
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock))
    plan(137, name="Other", **{**settings, "patch_size": PATCH_OF_OTHERS})
    shutil.rmtree(model)
    plan(137, name="Mine", **{**settings, "patch_size": PATCH_OF_OTHERS})


def test_folds_of_other_plans_are_not_trained_into_one_model(dataset):
    plans = small(dataset[0])
    made = trainer(dataset, plans)
    model = Path(made.output_folder_base)
    write_model(model, made.plans_manager.plans, dataset[1], folds=(1,))
    check_other_folds(Path(made.output_folder), made.plans_manager.plans, "3d_fullres")
    plans["configurations"]["3d_fullres"]["patch_size"] = list(PATCH_OF_OTHERS)
    with pytest.raises(InputError, match=r"fold_1: was trained with another patch_size"):
        trainer(dataset, plans).run_training()


def with_recipe(plans, **settings):
    return {**plans, "resunet_ds": {**plans["resunet_ds"], **settings}}


CHANGED = r"was trained by another recipe (epochs 300, now 20; initial_lr 0.0001, now 0.01). To keep recipes apart"


def test_another_recipe_in_a_model_is_spoken_of(dataset, nnunet_folders, caplog):
    plans = small(dataset[0])
    made = trainer(dataset, plans)
    model = Path(made.output_folder_base)
    write_model(model, made.plans_manager.plans, dataset[1], folds=(1,))
    (dataset[2] / "nnUNetPlans.json").write_text(json.dumps(dataset[0]))
    plain = {"seed": 3, "precision": "fp32", "augmentation": "workers", "keep_weights": 2}
    fold, own = Path(made.output_folder), made.plans_manager.plans
    assert check_other_folds(fold, with_recipe(own, **plain), "3d_fullres") == []
    (note,) = check_other_folds(fold, with_recipe(own, epochs=20, initial_lr=1e-2, **plain), "3d_fullres")
    assert f"{model}: its latest fold {CHANGED}" in note
    write_plans(dataset[2], own["plans_name"], "3d_fullres", {**own, "resunet_ds": {"epochs": 20, "initial_lr": 1e-2}})
    assert CHANGED in caplog.text


def test_going_on_by_another_recipe_is_spoken_of(begun, dataset):
    file, _, plans = begun
    made = trainer(dataset, with_recipe(plans, epochs=20, initial_lr=1e-2))
    made.load_checkpoint(str(file))
    assert f"{file} {CHANGED}" in Path(made.log_file).read_text()


def test_plans_that_another_process_is_writing_are_read_when_they_are_whole(tmp_path):
    file = tmp_path / "plans.json"
    file.write_text('{"a": ')
    whole = threading.Timer(0.2, file.write_text, ['{"a": 1}'])
    whole.start()
    assert read_json_in_turn(file) == {"a": 1}
    file.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json_in_turn(file, tries=2)


def test_prediction_takes_patch_and_network_from_the_weights(dataset, tmp_path, caplog):
    plans, dataset_json, _ = dataset
    model = write_model(tmp_path / "model", small_plans(plans), dataset_json, folds=(0, 1))
    for fold in (0, 1):
        note_plans(model, fold, small_plans(plans))
    assert load_model(model).patch_size == (16, 16, 16) and not caplog.text
    (model / "plans.json").write_text(json.dumps(other_patch(plans)))
    assert load_model(model).patch_size == (16, 16, 16)
    assert "plans.json: has another patch_size than" in caplog.text


def test_folds_that_were_trained_with_different_plans_do_not_predict_together(dataset, cohort, tmp_path, capsys):
    plans, dataset_json, _ = dataset
    model = write_model(tmp_path / "model", other_patch(plans), dataset_json, folds=(0, 1))
    note_plans(model, 0, small_plans(plans))
    note_plans(model, 1, other_patch(plans))
    assert predict(cohort, tmp_path / "out", model) == 2
    assert "fold_1/checkpoint_final.pth: was trained with another patch_size than" in capsys.readouterr().err
    assert predict(cohort, tmp_path / "out", model, "-f", "0") == 0


# ---- settings that were tuned ----


@pytest.fixture
def tuned(model):
    """A model with settings that were tuned on fold 0: (folder, settings)."""
    tuned_on = (("0", load_model(model).identities["0"]),)
    config = PostprocessingConfig(wt=0.3, averaging="probabilities", tuned_on=tuned_on)
    keep_with_model(config, model)
    return model, config


def test_settings_stay_in_both_places_when_plans_are_written_anew(tuned, dataset):
    model, config = tuned
    (model / "plans.json").write_text(json.dumps(small_plans(dataset[0])))  # as training does
    assert config_of_predictions(model) != config
    carry_to_plans(model)
    assert config_of_predictions(model) == config_of_model(model) == config


def test_settings_that_differ_between_the_two_files_are_spoken_of(tuned, caplog):
    model, config = tuned
    assert config_of_model(model) == config and not caplog.text
    PostprocessingConfig(wt=0.2).to_json(model / "postprocessing.json")
    assert config_of_model(model).wt == 0.2
    assert "postprocessing.json: differs from what" in caplog.text


def test_settings_that_were_tuned_on_other_weights_are_spoken_of(tuned, cohort, tmp_path, capsys):
    """In predict and in postprocess alike, with both names."""
    model, config = tuned
    loaded = load_model(model)
    said = f"tuned on the weights {loaded.identities['0']} (fold 0), and these are {loaded.identities['1']} (fold 1)"
    assert predict(cohort, tmp_path / "zero", model, "-f", "0", "--save-probabilities") == 0
    assert main(["postprocess", "-i", str(tmp_path / "zero"), "-o", str(tmp_path / "zero_labels")]) == 0
    assert "tuned on" not in capsys.readouterr().err
    assert predict(cohort, tmp_path / "both", model, "--save-probabilities") == 0
    assert said in capsys.readouterr().err
    assert main(["postprocess", "-i", str(tmp_path / "both"), "-o", str(tmp_path / "both_labels")]) == 0
    assert said in capsys.readouterr().err
    assert Predictor([loaded]).postprocessing == config


@pytest.mark.parametrize(("flips", "said"), [(True, "with flips, and these are without"), (False, ""), (None, "")])
def test_settings_that_were_tuned_with_flips_are_spoken_of_without(model, cohort, tmp_path, capsys, flips, said):
    keep_with_model(PostprocessingConfig(wt=0.3, averaging="probabilities", flips=flips), model)
    assert predict(cohort, tmp_path / "out", model, "-f", "0") == 0  # which has no flips
    assert ("tuned on predictions" in (error := capsys.readouterr().err)) is bool(said) and said in error


def test_tune_notes_the_weights_and_that_there_were_no_flips(trained, capsys):
    model, ids = trained
    section = {"file": "w.pth", "weights": "a", "model": "the starter model", "output_layers": True, "cases": ids[:2]}
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps(plans | {"resunet_ds_pretrained": section}))
    add_to_record(model / "fold_0", cases={"train": ids[3:], "val": ids[:3]})
    assert main(["tune", "-d", "137", "--no-tta"]) == 0
    printed = capsys.readouterr().out
    assert "warning: 2 of the 6 cases were seen by the starter model, where the training started from" in printed
    assert "warning: 6 cases are few" in printed
    config = PostprocessingConfig.from_json(model / "postprocessing.json")
    assert config.flips is False
    assert dict(config.tuned_on) == load_model(model).identities
    assert config_of_predictions(model) == config


# ---- probabilities of a validation ----


def test_npz_of_an_earlier_validation_are_refused(trained, capsys):
    """Trained again and validated without --npz: the label maps are new, and the probabilities are not."""
    model, ids = trained
    for number, case in enumerate(ids):
        folder = model / f"fold_{number // 3}" / "validation"
        folder.mkdir(exist_ok=True)
        values = np.random.default_rng(number).random((3, 6, 7, 8), np.float32)
        np.savez_compressed(folder / f"{case}.npz", probabilities=values)
        write(folder / f"{case}.nii.gz", painted(values))
    assert main(["tune", "-d", "137", "--npz"]) == 0
    labels = np.zeros((6, 7, 8), np.uint8)
    write(model / "fold_0" / "validation" / f"{ids[0]}.nii.gz", labels)
    os.utime(model / "fold_0" / "validation" / f"{ids[0]}.npz")
    assert main(["tune", "-d", "137", "--npz"]) == 2
    assert f"{ids[0]}.npz: is not of the label map next to it" in capsys.readouterr().err


def test_one_voxel_is_enough_to_tell(tmp_path):
    values = np.random.default_rng(0).random((3, 6, 7, 8), np.float32)
    labels = painted(values)
    check_painted(values, tmp_path / "case.npz", labels)
    labels[0, 0, 0] = (labels[0, 0, 0] + 1) % 4
    with pytest.raises(InputError, match="differs from it in 1 voxels"):
        check_painted(values, tmp_path / "case.npz", labels)
