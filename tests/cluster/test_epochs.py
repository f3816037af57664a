"""How many epochs the bar of ``resunet-ds train`` has: as many as the trainer itself says, once it is made."""

import io
import json
import sys

import pytest
from trainers import small, trainer

from nnunet_resunet_ds.cluster.fold_trainings import Trainings
from nnunet_resunet_ds.cluster.jobs import Job, epoch_bar
from nnunet_resunet_ds.experiments.ablation.rungs import RUNGS
from nnunet_resunet_ds.experiments.ablation.settings import Settings
from nnunet_resunet_ds.experiments.comparison import trainers as systems
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.variants import (
    ResUNetDSTrainerBenchmark_5epochs,
    ResUNetDSTrainerNoResidual,
    ResUNetDSTrainerSGD,
)

OURS = [ResUNetDSTrainer, ResUNetDSTrainerNoResidual, ResUNetDSTrainerSGD, ResUNetDSTrainerBenchmark_5epochs]


def most_epochs(dataset, name, plans):
    (dataset[2] / "nnUNetPlans.json").write_text(json.dumps(plans))
    return Trainings(dataset_id=137, trainer=name).epochs()


@pytest.mark.parametrize("recipe", [{}, {"epochs": 7}], ids=["defaults", "seven"])
@pytest.mark.parametrize("kind", OURS)
def test_of_ours_as_the_trainer_reads_the_plans(dataset, kind, recipe):
    plans = small(dataset[0], recipe=recipe)
    assert most_epochs(dataset, kind.__name__, plans) == trainer(dataset, plans, kind=kind).num_epochs


@pytest.mark.parametrize("name", ["nnUNetTrainer", "NoSuchTrainer"])
def test_what_cannot_be_told_is_not_made_up(dataset, name):
    assert most_epochs(dataset, name, dataset[0]) is None


@pytest.mark.parametrize(("epochs", "shown"), [((5, 5), "/10 "), ((5, None), "0epoch")])
def test_a_bar_has_an_end_where_all_trainings_have_one(tmp_path, monkeypatch, epochs, shown):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with epoch_bar([Job("one", (), tmp_path, n, lambda: 0) for n in epochs]):
        pass
    assert shown in stream.getvalue()


def test_all_rungs_of_the_ablation_have_the_epochs_that_its_bar_has():
    kinds = {getattr(systems, rung.trainer) for rung in RUNGS.values()}
    assert {kind.recipe_from({}).epochs for kind in kinds} == {Settings(dataset_id=1).epochs}
