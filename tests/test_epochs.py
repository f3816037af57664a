"""How many epochs the bar of ``resunet-ds train`` has: as many as the trainer itself says, once it is made."""

import io
import sys

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.training_length import nnUNetTrainer_Xepochs
from trainers import small, trainer

from nnunet_resunet_ds.ablation.rungs import RUNGS
from nnunet_resunet_ds.ablation.settings import Settings
from nnunet_resunet_ds.benchmark_trainers import ResUNetDSTrainerBenchmark_5epochs
from nnunet_resunet_ds.comparison import trainers as systems
from nnunet_resunet_ds.jobs.epochs import most_epochs
from nnunet_resunet_ds.jobs.job import Job
from nnunet_resunet_ds.jobs.progress import epoch_bar
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.variants import ResUNetDSTrainerNoResidual, ResUNetDSTrainerSGD

OURS = [ResUNetDSTrainer, ResUNetDSTrainerNoResidual, ResUNetDSTrainerSGD, ResUNetDSTrainerBenchmark_5epochs]
STOCK = [
    nnUNetTrainer,
    nnUNetTrainer_Xepochs.nnUNetTrainer_5epochs,
    nnUNetTrainer_Xepochs.nnUNetTrainer_250epochs,
]


@pytest.mark.parametrize("recipe", [{}, {"epochs": 7}], ids=["defaults", "seven"])
@pytest.mark.parametrize("kind", OURS)
def test_of_ours_as_the_trainer_reads_the_plans(dataset, kind, recipe):
    plans = small(dataset[0], recipe=recipe)
    assert most_epochs(kind.__name__, plans) == trainer(dataset, plans, kind=kind).num_epochs


@pytest.mark.parametrize("kind", STOCK)
def test_of_nnunets_as_the_class_sets_them(dataset, kind):
    assert most_epochs(kind.__name__, dataset[0]) == trainer(dataset, kind=kind).num_epochs


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Trainers of a user, one of which does not say how many."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class Unknown(nnUNetTrainer):\n"
        "    def __init__(self, *a):\n"
        "        super().__init__(*a)\n"
        "        self.num_epochs = int(input())\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "mine"))


@pytest.mark.parametrize("name", ["Unknown", "NoSuchTrainer"])
def test_what_cannot_be_told_is_not_made_up(dataset, mine, name):
    assert most_epochs(name, dataset[0]) is None


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
