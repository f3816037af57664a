"""The weights of the last epochs: kept in a bounded number, the same ones whether a training was stopped or not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scripted_training import BEST_EPOCH, FINGERPRINT, STOPPED_AFTER, Killed, kill_at_write, starter, undisturbed
from trainers import small

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints, kept_weights
from nnunet_resunet_ds.training.checkpoint.kept_weights import kept_epochs, last_kept
from nnunet_resunet_ds.training.planning.recipe import Recipe

N_KEPT = 3


@pytest.fixture
def start(dataset, monkeypatch):
    """Make trainers that keep the weights of three epochs."""
    make = starter(dataset, monkeypatch)
    return lambda **options: make(**{"plans": keeping(dataset, 40), **options})


def keeping(dataset, epochs):
    recipe = {"epochs": epochs, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "keep_weights": N_KEPT}
    return small(dataset[0], recipe=recipe)


def kept_by(made):
    """Return the epochs that are kept, as the weights in their files tell them."""
    files = kept_epochs(made.output_folder_path)
    contents = [checkpoints.read_checkpoint(file) for file in files.values()]
    epochs = [int(content["network_weights"][FINGERPRINT][0]) for content in contents]
    assert epochs == list(files) == [content["current_epoch"] - 1 for content in contents]
    return epochs


def test_the_last_epochs_are_kept_whichever_was_the_best(start):
    made = undisturbed(start)
    assert kept_by(made) == [STOPPED_AFTER - 3, STOPPED_AFTER - 2, STOPPED_AFTER - 1]
    final = checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.FINAL)
    assert final["network_weights"][FINGERPRINT][0] == BEST_EPOCH and final["current_epoch"] == STOPPED_AFTER
    assert list(last_kept(made.output_folder_path, STOPPED_AFTER, None)) == kept_by(made)


def test_never_more_are_kept(start):
    found = []
    made = start()
    made.during_step = lambda trainer: found.append(kept_by(trainer))
    made.run_training()
    assert found[::2] == [list(range(max(0, epoch - N_KEPT), epoch)) for epoch in range(STOPPED_AFTER)]


def test_none_are_kept_unless_the_recipe_asks(dataset, monkeypatch):
    made = undisturbed(starter(dataset, monkeypatch))
    assert Recipe().keep_weights == 0 and not (made.output_folder_path / checkpoint_names.KEPT).exists()


def test_a_kept_file_is_a_checkpoint_without_the_optimiser(start):
    made = undisturbed(start)
    file = kept_epochs(made.output_folder_path)[STOPPED_AFTER - 1]
    content = checkpoints.read_checkpoint(file)
    assert content["trainer_name"] == "Scripted" and content["init_args"]["configuration"] == "3d_fullres"
    assert content["inference_allowed_mirroring_axes"] == made.inference_allowed_mirroring_axes
    assert content.keys().isdisjoint({"optimizer_state", "grad_scaler_state", "logging"})


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_around_any_writing_the_same_are_kept(start, dataset, monkeypatch, before):
    plans = keeping(dataset, 5)
    write, paths = checkpoints.write_checkpoint, []
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoints, "write_checkpoint", lambda content, path, **_: (paths.append(path), write(content, path))
        )
        made = undisturbed(lambda: start(plans=plans))
    assert sum(path.parent.name == checkpoint_names.KEPT for path in paths) == 5
    for number in range(len(paths)):
        with monkeypatch.context() as patch:
            kill_at_write(patch, number, before=before)
            with pytest.raises(Killed):
                start(plans=plans).run_training()
        start(plans=plans, continued=True).run_training()
        assert kept_by(made) == [2, 3, 4], number
        assert all(
            not path.name.startswith(".") for path in (made.output_folder_path / checkpoint_names.KEPT).iterdir()
        )


def test_a_training_that_goes_on_forgets_the_epochs_that_it_runs_again(start):
    made = start()
    made.during_step = lambda trainer: trainer.current_epoch == 6 and (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        made.run_training()
    assert kept_by(made) == [3, 4, 5]
    for name in (checkpoint_names.BEST, checkpoint_names.BEST_LOSS):  # so that it goes on from the fifth epoch
        (made.output_folder_path / name).unlink()
    found = []
    resumed = start(continued=True)
    resumed.during_step = lambda trainer: found.append(kept_by(trainer))
    resumed.run_training()
    assert found[0] == [3, 4] and kept_by(resumed) == [15, 16, 17]


def test_a_training_begun_again_moves_them_aside(start):
    made = undisturbed(start)
    (made.output_folder_path / checkpoint_names.AVERAGED).write_bytes(b"the mean")
    again = start()
    again.during_step = lambda trainer: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        again.run_training()
    assert kept_by(again) == []
    assert not (again.output_folder_path / checkpoint_names.AVERAGED).exists()
    aside = {path.name for path in again.output_folder_path.glob("earlier_*")}
    assert {"earlier_kept_weights", "earlier_checkpoint_averaged.pth"} <= aside


@given(st.sets(st.integers(0, 12)), st.integers(0, 13), st.none() | st.integers(1, 14))
def test_the_last_epochs_are_those_without_a_gap(tmp_path_factory, kept, n_epochs, last):
    fold = tmp_path_factory.mktemp("fold")
    (fold / checkpoint_names.KEPT).mkdir()
    for epoch in kept:
        torch.save({}, fold / checkpoint_names.KEPT / f"epoch_{epoch:04d}.pth")
    epochs = range(n_epochs)
    expected = list(epochs)[-last:] if last else [epoch for epoch in epochs if kept >= set(epochs[epoch:])]
    if expected and kept >= set(expected) and len(expected) >= (last or 1):
        found = last_kept(fold, n_epochs, last)
        assert list(found) == expected
        assert [file.name for file in found.values()] == [f"epoch_{epoch:04d}.pth" for epoch in expected]
    else:
        with pytest.raises(InputError, match=r"kept_weights: holds the weights of .* --keep-weights"):
            last_kept(fold, n_epochs, last)


def test_other_files_are_no_epochs(tmp_path):
    folder = tmp_path / checkpoint_names.KEPT
    folder.mkdir()
    for name in ("epoch_1.txt", ".1a2b3c4d.epoch_0001.pth", "epoch_x.pth", "my_epoch_0001.pth"):
        (folder / name).touch()
    assert kept_epochs(tmp_path) == {}
    kept_weights.forget_from(tmp_path, 0)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch_1.txt", "epoch_x.pth", "my_epoch_0001.pth"]
