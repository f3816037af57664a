"""Sequences left out of training samples: which, how often, by whose random numbers, and that the network learns so."""

import json
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.preprocessing.normalization import default_normalization_schemes
from preprocessed import write_training_data
from scipy.stats import chisquare
from trainers import in_this_process, small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.network import salient_voxels
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.modality_dropout import (
    ZERO_STAYS_ZERO,
    ModalityDropout,
    check_dropout_fits,
    kept_channels,
)
from nnunet_resunet_ds.training.variants import ResUNetDSTrainerModalityDropout

pytestmark = pytest.mark.filterwarnings("ignore:.*empty chunks or blocks")

# ---- which channels ----


def counts_of(kept):
    return Counter(map(tuple, kept.tolist()))


@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_each_set_of_channels_is_as_likely_but_all_of_them_and_none(n_channels):
    n, probability = 30_000, 0.6
    found = counts_of(kept_channels(np.random.default_rng(7), n, n_channels, probability))
    everything = (True,) * n_channels
    assert (False,) * n_channels not in found and len(found) == 2**n_channels - 1  # of four channels, fifteen sets
    some = [count for kept, count in found.items() if kept != everything]
    expected = [n * probability / len(some)] * len(some)
    assert chisquare([found[everything], *some], [n * (1 - probability), *expected]).pvalue > 0.01


@given(st.integers(2, 6), st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 8))
def test_no_sample_loses_all(n_channels, seed, probability, n_samples):
    kept = kept_channels(np.random.default_rng(seed), n_samples, n_channels, probability)
    assert kept.shape == (n_samples, n_channels) and kept.any(axis=1).all()


@given(st.integers(2, 6), st.integers(0, 2**32))
def test_certain_and_never(n_channels, seed):
    assert kept_channels(np.random.default_rng(seed), 50, n_channels, 0.0).all()
    assert not kept_channels(np.random.default_rng(seed), 50, n_channels, 1.0).all(axis=1).any()


# ---- what is done with a batch ----


def batch(n=6, n_channels=4):
    return torch.randn(n, n_channels, 3, 4, 5, generator=torch.Generator().manual_seed(0))


def test_a_channel_is_zero_or_what_it_was_and_the_batch_is_not_changed():
    images, before = batch(), batch()
    found = ModalityDropout(0.9, 4, [1])(images)
    assert torch.equal(images, before)
    left_out = (found == 0).flatten(2).all(2)
    assert left_out.any() and not left_out.all(1).any()
    expected = images.clone()
    expected[left_out] = 0
    assert torch.equal(found, expected) and found.dtype == images.dtype


def test_what_follows_the_sequences_stays():
    """A cascade has the labels of the stage before there."""
    images = batch(50, 6)
    found = ModalityDropout(1.0, 4, [1])(images)
    assert torch.equal(found[:, 4:], images[:, 4:]) and not torch.equal(found[:, :4], images[:, :4])


def test_nothing_is_copied_where_nothing_is_left_out():
    images = batch()
    assert ModalityDropout(0.0, 4, [1])(images) is images


def test_the_salient_channel_is_that_of_the_sequences_that_are_left():
    images = torch.zeros(1, 2, 1, 1, 2)
    images[0, 0, ..., 0] = images[0, 1, ..., 1] = 1.0
    for seed in range(20):
        found = ModalityDropout(1.0, 2, [seed])(images)
        assert torch.equal(salient_voxels(found), found.sum(1, keepdim=True)) and found.sum() == 1


def drawn(dropout, n=40):
    return (dropout(batch(n)) == 0).flatten(2).all(2).tolist()


def test_an_epoch_draws_the_same_again_and_other_epochs_ranks_and_seeds_draw_others():
    """So a training that goes on with --c leaves out what it would have left out."""
    one, other = ModalityDropout(0.5, 4, [3, 0]), ModalityDropout(0.5, 4, [3, 0])
    epochs = []
    for epoch in range(3):
        one.start_epoch(epoch)
        epochs.append(drawn(one))
    other.start_epoch(2)
    assert drawn(other) == epochs[2]
    draws = [*epochs, drawn(ModalityDropout(0.5, 4, [3, 1])), drawn(ModalityDropout(0.5, 4, [4, 0]))]
    assert len({str(draw) for draw in draws}) == len(draws)


# ---- the trainer ----


@pytest.fixture
def data(dataset, monkeypatch):
    in_this_process(monkeypatch)
    write_training_data(dataset[2])
    return dataset


RECIPE = {"epochs": 2, "iterations_per_epoch": 3, "val_iterations_per_epoch": 1, "seed": 5}


def seen_by(data, kind, monkeypatch, **recipe):
    """Train, and return which channels of each sample the network got, in training and in validation."""
    seen = {True: [], False: []}
    forward = kind._forward

    def watched(self, images):
        seen[self.network.training] += (images != 0).flatten(2).any(2).tolist()
        return forward(self, images)

    monkeypatch.setattr(kind, "_forward", watched)
    made = trainer(data, small(data[0], recipe=RECIPE | recipe), kind=kind)
    made.run_training()
    assert np.isfinite(made.logger.get_value("val_losses", step=None)).all()
    return seen[True], seen[False], made


@pytest.mark.parametrize("augmentation", ["device", "workers"])
def test_the_variant_leaves_sequences_out_in_training_alone(data, monkeypatch, augmentation):
    training, validation, made = seen_by(
        data, ResUNetDSTrainerModalityDropout, monkeypatch, augmentation=augmentation, modality_dropout=1.0
    )
    assert len(training) == 2 * 3 * 2 and all(any(kept) and not all(kept) for kept in training)
    assert np.all(validation)
    assert made.plans_manager.plans["resunet_ds"]["modality_dropout"] == 1.0  # what plans.json of the model will say


def test_the_ordinary_trainer_leaves_none_out_unless_its_recipe_says_so(data, monkeypatch):
    training, validation, made = seen_by(data, ResUNetDSTrainer, monkeypatch)
    assert made.modality_dropout is None and np.all(training) and np.all(validation)
    training, *_ = seen_by(data, ResUNetDSTrainer, monkeypatch, modality_dropout=1.0)
    assert not np.any(np.all(training, axis=1))


def test_the_same_seed_trains_the_same(data):
    def losses(seed):
        recipe = {**RECIPE, "augmentation": "device", "seed": seed}
        made = trainer(data, small(data[0], recipe=recipe), kind=ResUNetDSTrainerModalityDropout)
        made.run_training()
        return made.logger.get_value("train_losses", step=None)

    assert losses(5) == losses(5) != losses(6)


def test_each_epoch_begins_with_random_numbers_of_its_own(data, monkeypatch):
    started = []
    monkeypatch.setattr(ModalityDropout, "start_epoch", lambda _, epoch: started.append(epoch))
    made = trainer(data, small(data[0]), kind=ResUNetDSTrainerModalityDropout)
    made.initialize()
    for made.current_epoch in (0, 1, 5):
        made.on_train_epoch_start()
    assert started == [0, 0, 1, 5]  # the first when it was made


def test_of_one_sequence_none_is_left_out(dataset):
    plans, content = deepcopy(dataset[0]), {**dataset[1], "channel_names": {"0": "T1c"}}
    plans["configurations"]["3d_fullres"] |= {
        "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [False]
    }  # fmt: skip
    made = trainer(dataset, small(plans), dataset_json=content, kind=ResUNetDSTrainerModalityDropout)
    assert made.modality_dropout is None
    assert "There is one sequence alone, so modality dropout leaves none out." in Path(made.log_file).read_text()


def test_without_a_mask_sequences_are_left_out_as_well(dataset):
    plans = deepcopy(dataset[0])
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False] * 4
    assert trainer(dataset, small(plans), kind=ResUNetDSTrainerModalityDropout).modality_dropout is not None


# ---- an absent sequence is zero for nnU-Net, too ----


SCHEMES = {
    name: kind
    for name, kind in vars(default_normalization_schemes).items()
    if name.endswith("Normalization") and name != "ImageNormalization"
}


@pytest.mark.parametrize("use_mask", [True, False])
@pytest.mark.parametrize("name", SCHEMES)
def test_an_image_of_zeros_stays_one_by_the_normalisations_that_are_allowed(name, use_mask):
    properties = {"mean": 500.0, "std": 200.0, "percentile_00_5": 50.0, "percentile_99_5": 2000.0}
    mask = np.where(np.arange(27).reshape(3, 3, 3) > 9, 0, -1)
    found = SCHEMES[name](use_mask, properties).run(np.zeros((3, 3, 3)), mask)
    assert bool((found == 0).all()) == (name in ZERO_STAYS_ZERO)


def test_another_normalisation_is_refused_before_there_is_a_folder(dataset, nnunet_folders):
    plans = deepcopy(dataset[0])
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["ZScoreNormalization"] * 3 + ["CTNormalization"]
    with pytest.raises(InputError, match=r"channel 3 is normalised by CTNormalization.* --modality-dropout 0"):
        trainer(dataset, plans, kind=ResUNetDSTrainerModalityDropout)
    assert list((nnunet_folders / "nnUNet_results").iterdir()) == []
    check_dropout_fits(0.0, ["CTNormalization"])


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_a_share_that_is_none_is_refused(dataset, capsys, value):
    (dataset[2] / "nnUNetPlans.json").write_text(json.dumps(dataset[0]))
    assert main(["plan", "-d", "137", "--modality-dropout", value]) == 2
    assert "modality_dropout must be a number from 0 to 1" in capsys.readouterr().err
