"""Where the trainer augments: by the recipe, the device, and what the transforms are; and that it trains there."""

import argparse
from copy import deepcopy
from pathlib import Path
from unittest import mock

import pytest
import torch
from augmented import nnunet_transforms
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.intensity.inversion import InvertImageTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import nnUNetTrainerNoDA
from preprocessed import write_training_data
from trainers import in_this_process, small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training import variants
from nnunet_resunet_ds.training.augmentation import choice
from nnunet_resunet_ds.training.augmentation.nnunet_settings import NotOnDeviceError
from nnunet_resunet_ds.training.augmentation.translation import pipeline_like
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds
from nnunet_resunet_ds.training.planning.recipe import Recipe
from nnunet_resunet_ds.training.planning.recipe_flags import add_recipe_arguments, chosen_recipe

pytestmark = pytest.mark.filterwarnings("ignore:.*empty chunks or blocks")
PATCH = (16, 16, 16)


@pytest.fixture
def data(dataset, monkeypatch):
    """The dataset with cases to train on, loaded in this process."""
    in_this_process(monkeypatch)
    write_training_data(dataset[2])
    return dataset


def made(data, kind=ResUNetDSTrainer, **recipe):
    recipe = {"epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1} | recipe
    return trainer(data, small(data[0], recipe=recipe), kind=kind)


def with_loaders(data, kind=ResUNetDSTrainer, **recipe):
    one = made(data, kind, **recipe)
    one.initialize()
    one.dataloader_train, one.dataloader_val = one.get_dataloaders()
    return one


def log_of(one):
    return Path(one.log_file).read_text()


# ---- the recipe ----


def test_the_flag_is_the_recipe_s():
    parser = argparse.ArgumentParser()
    add_recipe_arguments(parser)
    assert chosen_recipe(parser.parse_args(["--augmentation", "workers"])) == {"augmentation": "workers"}
    assert Recipe().augmentation == "auto"
    with pytest.raises(InputError, match="augmentation"):
        Recipe(augmentation="gpu")


def test_plans_written_before_there_was_a_choice_are_read():
    assert Recipe.from_section({"epochs": 3}).augmentation == "auto"


# ---- the choice ----


class Asked:
    """Stands for a trainer on a device that is not here."""

    def __init__(self, device, transforms=None):
        self.device, self.local_rank = torch.device(device), 0
        self.num_input_channels = 4
        self.label_manager = argparse.Namespace(all_labels=[0, 1, 2, 3], ignore_label=None)
        self.transforms = transforms or nnunet_transforms()


@pytest.mark.parametrize(
    ("wish", "device", "on_device"),
    [("auto", "cuda", True), ("auto", "cpu", False), ("auto", "mps", False), ("workers", "cuda", False),
     ("device", "cpu", True), ("device", "cuda", True), ("device", "mps", False)],
)  # fmt: skip
def test_recipe_and_device_decide(monkeypatch, wish, device, on_device):
    monkeypatch.setattr(choice, "training_transforms", lambda asked: asked.transforms)
    monkeypatch.setattr(choice, "DeviceAugmentation", lambda *arguments: arguments)  # whose generator needs the device
    monkeypatch.setattr(choice, "_fault", lambda *_: None)
    augmentation, note = choice.choose_augmentation(Asked(device), wish, seed=None)
    assert (augmentation is not None) == on_device
    assert note.startswith(f"Augmentation on {device}." if on_device else "Augmentation in the processes that load")
    assert ("not able" in note) == (wish == "device" and device == "mps")


@pytest.mark.parametrize(
    ("error", "line"),
    [(None, None), (RuntimeError("no kernel\nmore"), "no kernel"), (torch.OutOfMemoryError("no room"), None)],
)
def test_a_device_that_fails_at_made_up_crops_is_left_alone(monkeypatch, error, line):
    pipeline = choice.pipeline_like(nnunet_transforms(), [0, 1, 2, 3])
    if error is not None:
        monkeypatch.setattr(type(pipeline.spatial), "__call__", mock.Mock(side_effect=error))
    assert choice._fault(pipeline, torch.device("cpu"), 4) == line


def test_each_rank_has_random_numbers_of_its_own(data):
    chosen = {}
    for seed, rank in ((3, 0), (3, 1), (None, 0), (None, 1)):
        one = made(data)
        one.local_rank = rank
        chosen[seed, rank] = choice.choose_augmentation(one, "device", seed).augmentation._entropy
    assert len(set(chosen.values())) == 4 and chosen[3, 1] == (3, 1)


# ---- transforms that are not nnU-Net's usual ones ----


def changed(change):
    transforms = nnunet_transforms()
    change(transforms)
    return transforms


class OtherNoise(GaussianNoiseTransform):
    """A subclass may do anything."""


@pytest.mark.parametrize(
    ("transforms", "why"),
    [
        (nnunet_transforms(dummy_2d=True), "Convert3DTo2DTransform comes first"),
        (nnunet_transforms(is_cascaded=True, foreground_labels=[1, 2, 3]), "MoveSegAsOneHotToDataTransform is not"),
        (changed(lambda t: t.transforms.insert(1, InvertImageTransform(1, 1, 1))), "InvertImageTransform is not"),
        (changed(lambda t: setattr(t.transforms[1], "transform", OtherNoise())), "OtherNoise is not"),
        (changed(lambda t: setattr(t.transforms[0], "p_elastic_deform", 0.2)), "p_elastic_deform is 0.2"),
        (changed(lambda t: setattr(t.transforms[0], "random_crop", True)), "random_crop is True"),
        (changed(lambda t: setattr(t.transforms[0], "mode_seg", "nearest")), "mode_seg is 'nearest'"),
        (changed(lambda t: delattr(t.transforms[0], "seg_tiebreak")), "has no attribute 'seg_tiebreak'"),
        (changed(lambda t: setattr(t.transforms[0], "scaling", lambda **_: 1.0)), "draws from <function"),
        (changed(lambda t: setattr(t.transforms[5].transform, "ignore_axes", (0,))), r"ignore_axes is \(0,\)"),
        (changed(lambda t: setattr(t.transforms[2].transform, "synchronize_axes", True)), "synchronize_axes is True"),
        (changed(lambda t: t.transforms.reverse()), "DownsampleSegForDSTransform comes first"),
        (ComposeTransforms([]), "ComposeTransforms instead"),
        (None, "NoneType instead"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_with_its_name(transforms, why):
    with pytest.raises(NotOnDeviceError, match=why):
        pipeline_like(transforms, [0, 1, 2, 3])


class Inverting(ResUNetDSTrainer):
    """Has a transform of its own, written as nnU-Net's variants are."""

    @staticmethod
    def get_training_transforms(*args, **kwargs):
        transforms = nnUNetTrainer.get_training_transforms(*args, **kwargs)
        transforms.transforms.insert(1, InvertImageTransform(1, 1, 1))
        return transforms


def test_a_variant_with_a_transform_of_its_own_keeps_it_in_the_workers(data):
    one = with_loaders(data, Inverting, augmentation="device")
    assert one.augmentation is None
    assert "Augmentation in the processes that load data" in log_of(one)
    assert "InvertImageTransform is not among them" in log_of(one)
    batch = one.prepared(next(one.dataloader_train))
    assert batch["data"].shape == (2, 4, *PATCH)


def in_place_of(variant, *names):
    """Return our trainer with methods of one of nnU-Net's variants."""
    return type(f"Our{variant.__name__}", (ResUNetDSTrainer,), {name: vars(variant)[name] for name in names})


@pytest.mark.parametrize("variant", [nnUNetTrainerDA5, nnUNetTrainerNoDA])
def test_nnunet_s_variants_of_other_augmentation_keep_it_in_the_workers(data, variant):
    one = with_loaders(data, in_place_of(variant, "get_training_transforms"), augmentation="device")
    assert one.augmentation is None and "in the processes that load data, for" in log_of(one)


class WithoutMirroring(ResUNetDSTrainer):
    """As nnUNetTrainerNoMirroring, which calls its own base class."""

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):  # noqa: N802 (nnU-Net's)
        rotation, dummy_2d, box, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, box, None


def test_a_variant_of_the_same_transforms_is_augmented_on_the_device(data):
    one = with_loaders(data, WithoutMirroring, augmentation="device")
    assert one.prepared(next(one.dataloader_train))["data"].shape == (2, 4, *PATCH)
    assert "Mirror(" in str(with_loaders(data, augmentation="device").augmentation.pipeline)
    assert "Mirror(" not in str(one.augmentation.pipeline)


def test_a_flat_patch_is_augmented_in_the_workers(data):
    """nnU-Net turns such a patch slice by slice."""
    plans = with_res_unet_ds(
        data[0], "3d_fullres", patch_size=(8, 32, 32), features_per_stage=(4, 8), recipe={"augmentation": "device"}
    ).plans
    one = trainer(data, plans)
    one.initialize()
    one.dataloader_train, _ = one.get_dataloaders()
    assert one.augmentation is None and "Convert3DTo2DTransform comes first" in log_of(one)
    assert one.prepared(next(one.dataloader_train))["data"].shape == (2, 4, 8, 32, 32)


# ---- batches and trainings ----


def test_loaders_give_crops_and_steps_get_what_the_workers_would_have_made(data):
    ours, theirs = with_loaders(data, augmentation="device"), with_loaders(data, augmentation="workers")
    assert ours.augmentation is not None and theirs.augmentation is None
    crops = next(ours.dataloader_train)
    assert isinstance(crops["data"], list) and crops["target"][0].dtype == torch.int16
    found, expected = ours.prepared(crops), theirs.prepared(next(theirs.dataloader_train))
    assert found["data"].shape == expected["data"].shape and found["data"].dtype == expected["data"].dtype
    for mine, target in zip(found["target"], expected["target"], strict=True):
        assert (mine.shape, mine.dtype) == (target.shape, target.dtype)
    assert list(found["keys"]) == list(crops["keys"])
    validation = next(ours.dataloader_val)
    assert ours.prepared(validation) is validation and validation["data"].shape == (2, 4, *PATCH)
    assert torch.isfinite(ours.train_step(found)["loss"])


def test_a_training_is_the_same_for_the_same_seed(data):
    losses = []
    for _ in range(2):
        one = made(data, augmentation="device", seed=11, epochs=1)
        one.run_training()
        losses.append(one.logger.get_value("train_losses", step=None))
        assert "Augmentation on cpu." in log_of(one)
    assert losses[0] == losses[1] and len(losses[0]) == 1


def test_each_epoch_begins_with_random_numbers_of_its_own(data, monkeypatch):
    started = []
    monkeypatch.setattr(choice.DeviceAugmentation, "start_epoch", lambda _, epoch: started.append(epoch))
    one = with_loaders(data, augmentation="device")
    for one.current_epoch in (0, 1, 5):
        one.on_train_epoch_start()
    assert started == [0, 0, 1, 5]  # the first when it was made


def test_variants_of_the_paper_train_on_augmented_batches(data):
    for kind in (variants.ResUNetDSTrainerNoDeepSupervision, variants.ResUNetDSTrainerSGD):
        one = with_loaders(data, kind, augmentation="device")
        assert one.augmentation is not None
        assert torch.isfinite(one.train_step(one.prepared(next(one.dataloader_train)))["loss"])


def test_an_ignore_label_is_the_last_target(data):
    ignoring = deepcopy(data[1])
    ignoring["labels"]["ignore"] = 4
    one = trainer(data, small(data[0], recipe={"augmentation": "device"}), dataset_json=ignoring)
    pipeline = choice.choose_augmentation(one, "device", None).augmentation.pipeline
    assert pipeline.spatial.labels == (-1, 0, 1, 2, 3, 4)
    assert pipeline.transforms[-1].labels == ((1, 2, 3), (2, 3), (3,), (4,))
