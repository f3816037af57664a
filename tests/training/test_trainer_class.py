"""The search for a trainer: ours at once, others by nnU-Net's own search, which other threads may disturb."""

import sys
import types

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities import find_class_by_name

from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training import trainer_class as searching
from nnunet_resunet_ds.training.trainer_class import MAX_TRIES, trainer_class, undisturbed


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(searching, "_SECONDS_BETWEEN_TRIES", 0.0)


def test_ours_is_not_searched_for(monkeypatch):
    monkeypatch.setattr(searching, "recursive_find_trainer_class_by_name", None)
    assert trainer_class("ResUNetDSTrainer") is ResUNetDSTrainer


def test_stock_trainers_are_found():
    assert trainer_class("nnUNetTrainer") is nnUNetTrainer


def test_nnunet_s_search_goes_on_where_another_thread_imports(monkeypatch, tmp_path):
    """A module that appears while nnU-Net walks over all modules, as a thread's import makes it."""
    (tmp_path / "trainers_of_another.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class TrainerOfAnother(nnUNetTrainer):\n    pass\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    tries = []
    originates = find_class_by_name._module_originates_from_path

    def disturbed(module, path):
        if len(tries) < 2:
            name = f"imported_by_a_thread_{len(tries)}"
            tries.append(name)
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        return originates(module, path)

    monkeypatch.setattr(find_class_by_name, "_module_originates_from_path", disturbed)
    assert trainer_class("TrainerOfAnother").__name__ == "TrainerOfAnother"
    assert len(tries) == 2


def test_it_does_not_try_for_ever():
    tries = []

    def search():
        tries.append(1)
        msg = "dictionary changed size during iteration"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="changed size"):
        undisturbed(search)
    assert len(tries) == MAX_TRIES


def test_other_errors_are_passed_on_at_once():
    tries = []

    def search():
        tries.append(1)
        msg = "Could not find requested nnunet trainer"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="Could not find"):
        undisturbed(search)
    assert len(tries) == 1
