"""Train so that nothing is lost: a training that was stopped and continued with ``--c`` ends as if never stopped."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunet_resunet_ds.base.dataset_json import have_other_cases
from nnunet_resunet_ds.base.errors import InputError, TrainingError
from nnunet_resunet_ds.base.files import remove_half_written
from nnunet_resunet_ds.base.locks import only_writer
from nnunet_resunet_ds.base.splits_file import FoldCases
from nnunet_resunet_ds.base.termination import Aborted, Termination, terminable
from nnunet_resunet_ds.training.checkpoint import (
    checkpoint_content,
    checkpoint_names,
    checkpoints,
    kept_weights,
    training_state,
)
from nnunet_resunet_ds.training.checks.fold_checks import (
    check_cases,
    check_other_folds,
    check_plans,
    check_trainer,
)
from nnunet_resunet_ds.training.ending import close_loaders, end_at_once, leave, save_and_exit
from nnunet_resunet_ds.training.epoch_steps import (
    Batch,
    Outputs,
    Terminated,
    epoch_batches,
    interrupted_where,
    run_steps,
)
from nnunet_resunet_ds.training.fold.fold_record import VALIDATED, WEIGHTS, add_to_record, write_record
from nnunet_resunet_ds.training.one_line_errors import one_line_errors
from nnunet_resunet_ds.training.planning.recipe import SECTION, recipe_notes
from nnunet_resunet_ds.training.ranks import on_any_rank, wait_for_all_ranks
from nnunet_resunet_ds.training.schedule import PlateauSchedule, PolySchedule
from postprocessing.model_config import carry_to_plans

SAVE_LATEST_EVERY = 5
"""Epochs; nnU-Net's own 50 are too many to lose."""


class ResumableTrainer(nnUNetTrainer):
    """nnU-Net's training loop with a schedule that stops it, and checkpoints that hold all of its state.

    Every checkpoint is a snapshot after a complete epoch, or under SIGTERM the weights in the middle of one, which is
    then run again. Subclasses provide `configure_optimizers` with a `PlateauSchedule` or `PolySchedule`.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    lr_scheduler: PlateauSchedule | PolySchedule
    grad_scaler: torch.amp.GradScaler | None
    cases: FoldCases | None = None
    """The training and validation cases; None before the data is looked for."""
    finished = False
    """Whether the final weights are chosen; such a training is only validated."""
    starts_new = True
    """Whether no checkpoint is loaded."""
    restored = False
    """Whether this goes on from a checkpoint of its own folder."""
    is_changing = False
    """Whether weights, optimiser or schedule are being changed at this moment, so that they do not fit each other."""
    n_kept_weights = 0
    """How many of the last epochs keep their weights."""
    _loss_improved = False

    @property
    def plain_network(self) -> nn.Module:
        """The network without what DistributedDataParallel and torch.compile wrap around it."""
        network = self.network.module if isinstance(self.network, DistributedDataParallel) else self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def run_training(self) -> None:
        """Train until the schedule stops or the epochs are done; under SIGTERM save and exit with code 143.

        What goes on for ten seconds after SIGTERM is aborted, whether it loads, compiles or computes; where that
        cannot be done, the process is ended from another thread (`base.termination`).

        Raises:
            InputError: the other folds of the model are of another network, or another process trains this fold.
            TrainingError: the loss is not a number, or a process that loads data has died.
            OSError: a checkpoint or record cannot be written.
            SystemExit: SIGTERM came.
        """
        if self.finished:
            self.print_to_log_file(f"This training is finished (after {self.current_epoch} epochs): only validation.")
            if self.local_rank == 0:  # it may have been killed before it could do this
                Path(self.output_folder, checkpoint_names.LATEST).unlink(missing_ok=True)
            return
        fold = Path(self.output_folder)
        for note in check_other_folds(fold, self.plans_manager.plans, self.configuration_name):
            self.print_to_log_file(note)
        self.save_every = self.num_epochs + 1  # never: nnU-Net saves before it notes its best epoch, we after it
        with only_writer(fold) if self.local_rank == 0 else nullcontext():
            _set_earlier_checkpoints_aside(self)
            if self.local_rank == 0:
                kept_weights.forget_from(fold, self.current_epoch)
            try:
                with terminable(partial(end_at_once, self), also_interrupts=self.is_ddp) as termination:
                    _train(self, termination)
            except (InputError, TrainingError, OSError):
                close_loaders(self)
                raise

    def on_train_start(self) -> None:
        """Prepare as nnU-Net does, remove half-written checkpoints of a killed run, and note what trains."""
        super().on_train_start()
        wait_for_all_ranks()  # each has written plans.json
        if self.local_rank == 0:
            carry_to_plans(Path(self.output_folder_base))  # nnU-Net has just written new ones
            remove_half_written(Path(self.output_folder), "*")
            _write_record(self)

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return the training and validation cases as nnU-Net does, and note them for checkpoints and record."""
        train, val = super().do_split()
        # nnU-Net's own split is of NumPy's strings, which checkpoints must not hold: they would not be read again
        self.cases = FoldCases(*(tuple(sorted(map(str, side))) for side in (train, val)))
        return train, val

    def on_validation_epoch_end(self, val_outputs: list[Outputs]) -> None:
        """Log as nnU-Net does, and let the schedule see the loss: the mean over ranks, so that all decide alike."""
        self.is_changing = True  # until the epoch is logged whole
        super().on_validation_epoch_end(val_outputs)
        loss = float(self.logger.get_value("val_losses", step=-1))
        self._loss_improved = self.lr_scheduler.observe(self.current_epoch, loss)

    def on_epoch_end(self) -> None:
        """Log and save as nnU-Net does, then save the latest epoch, and the best by validation loss."""
        _keep_weights(self)  # before any checkpoint: --c then never goes on after an epoch that was not kept
        super().on_epoch_end()
        self.is_changing = False
        if self._loss_improved:
            self.print_to_log_file("Lowest validation loss so far.")
            _save(self, checkpoint_names.BEST_LOSS)
        if self.current_epoch % SAVE_LATEST_EVERY == 0 and self.current_epoch < self.num_epochs:
            _save(self, checkpoint_names.LATEST)
        if self.local_rank == 0:
            _write_record(self)

    def on_train_end(self) -> None:
        """Let the best epoch's weights be the final ones, save them and close the loaders."""
        if self.lr_scheduler.should_stop:
            waited = self.lr_scheduler.epochs_without_improvement
            self.print_to_log_file(f"Early stop: the validation loss has not improved for {waited} epochs.")
        self.is_changing = True
        _load_best_weights(self)
        self.finished = True
        super().on_train_end()
        _note_weights(self, WEIGHTS)
        wait_for_all_ranks()  # no rank looks for the final checkpoint before it is there

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict and score the validation cases as nnU-Net does, and note with which weights."""
        super().perform_actual_validation(save_probabilities)
        _note_weights(self, VALIDATED)

    def prepared(self, batch: Batch) -> Batch:
        """Return a batch of a loader as steps take it."""
        return batch

    def save_checkpoint(self, filename: str) -> None:
        """Write the state of this training to a checkpoint, whole or not at all."""
        if self.local_rank != 0:
            return
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        checkpoints.write_checkpoint(training_state.training_state(self), Path(filename), then="continue with --c")

    @one_line_errors()
    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Go on from a checkpoint of this trainer, or take the weights of one that another trainer made.

        Where an unfinished training is continued, this is the furthest checkpoint of its folder that can be read.

        Raises:
            InputError: it cannot be read, is of a different network, or of a variant of this trainer.
        """
        self.starts_new = False
        if not self.was_initialized:
            self.initialize()
        path, checkpoint, notes = training_state.checkpoint_to_load(
            Path(filename_or_checkpoint), Path(self.output_folder)
        )
        for note in notes:
            self.print_to_log_file(f"Passed over {note}")
        weights = checkpoint_content.plain_weights(checkpoint)
        _check_checkpoint(self, path, checkpoint, weights)
        self.plain_network.load_state_dict(weights)
        if SECTION not in checkpoint:
            made_by = checkpoint.get("trainer_name", "another trainer")
            self.print_to_log_file(f"{path} was made by {made_by}: only its weights are taken.")
            return
        training_state.restore_training_state(self, checkpoint)
        self.restored = True
        if Path(self.output_folder, checkpoint_names.FINAL).exists():
            self.print_to_log_file(f"{path.name} is loaded, of {self.current_epoch} epochs.")
            return
        if path.name == checkpoint_names.BEST and self.lr_scheduler.best_epoch == self.current_epoch - 1:
            _save(self, checkpoint_names.BEST_LOSS)  # it was killed after the one was written and before the other
        self.print_to_log_file(f"Continuing from {path.name}, {self.current_epoch} epochs are done.")


# ---- the loop over epochs, and SIGTERM in it ----


def _train(trainer: ResumableTrainer, termination: Termination) -> None:
    """Start, run the epochs that are left, and end the training.

    Raises:
        SystemExit: SIGTERM came; all there is to save is saved.
    """
    try:
        _start(trainer, termination)
        while trainer.current_epoch < trainer.num_epochs and not trainer.lr_scheduler.should_stop:
            _run_epoch(trainer, termination)
    except Terminated:
        termination.saving()
        save_and_exit(trainer, aborted=False)
    except Aborted:
        termination.saving()
        save_and_exit(trainer, aborted=True)
    trainer.on_train_end()
    if on_any_rank(termination.has_come()):
        trainer.print_to_log_file("SIGTERM: the training is finished; validate with --val.")
        leave(trainer)


def _start(trainer: ResumableTrainer, termination: Termination) -> None:
    """Start loading, and let the optimiser say when it changes weights."""
    with interrupted_where(termination), termination.abortable():
        trainer.on_train_start()
    trainer.optimizer.register_step_pre_hook(lambda *_: setattr(trainer, "is_changing", True))
    trainer.optimizer.register_step_post_hook(lambda *_: setattr(trainer, "is_changing", False))


def _run_epoch(trainer: ResumableTrainer, termination: Termination) -> None:
    """Run one epoch of training and validation steps, in the order of nnU-Net's own loop."""
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    train = epoch_batches(trainer, trainer.dataloader_train, trainer.num_iterations_per_epoch, "train", termination)
    trainer.on_train_epoch_end(run_steps(trainer.train_step, train, termination))
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        val = epoch_batches(
            trainer, trainer.dataloader_val, trainer.num_val_iterations_per_epoch, "validate", termination
        )
        trainer.on_validation_epoch_end(run_steps(trainer.validation_step, val, termination))
    trainer.on_epoch_end()


# ---- checkpoints and the record in the folder of the fold ----


def _set_earlier_checkpoints_aside(trainer: ResumableTrainer) -> None:
    """Keep the checkpoints of an earlier training from being taken for this one's by a later --c."""
    if trainer.local_rank != 0 or trainer.restored or trainer.disable_checkpointing:
        return
    for path in training_state.set_aside(Path(trainer.output_folder)):
        what = "validation" if path.is_dir() else "checkpoint"
        trainer.print_to_log_file(f"A training was here before: its {what} is now {path.name}.")


def _save(trainer: ResumableTrainer, name: str) -> None:
    trainer.save_checkpoint(str(Path(trainer.output_folder, name)))


def _keep_weights(trainer: ResumableTrainer) -> None:
    """Keep the weights of the epoch that is now complete, where the recipe asks for it."""
    if trainer.n_kept_weights and trainer.local_rank == 0 and not trainer.disable_checkpointing:
        state = training_state.weights_state(trainer, trainer.current_epoch + 1)
        kept_weights.keep(state, Path(trainer.output_folder), trainer.n_kept_weights)


def _load_best_weights(trainer: ResumableTrainer) -> None:
    """Take the weights of the epoch with the lowest validation loss, where there is a checkpoint of it."""
    if trainer.lr_scheduler.best_epoch is None or trainer.disable_checkpointing:
        trainer.print_to_log_file("The last epoch's weights are final.")
        return
    wait_for_all_ranks()  # the first rank has written it
    try:
        best = checkpoints.read_checkpoint(Path(trainer.output_folder, checkpoint_names.BEST_LOSS))
    except InputError as error:
        trainer.print_to_log_file(f"{error}. The last epoch's weights are final.")
        return
    trainer.plain_network.load_state_dict(best["network_weights"])
    trainer.print_to_log_file(
        f"Epoch {best['current_epoch'] - 1} had the lowest validation loss, {trainer.lr_scheduler.best_loss:.4f}: "
        f"its weights are {checkpoint_names.FINAL}."
    )


def _check_checkpoint(
    trainer: ResumableTrainer, path: Path, checkpoint: checkpoints.Checkpoint, weights: checkpoints.Weights
) -> None:
    """Refuse a checkpoint of another trainer or network; in this fold's folder, of other cases or plans, too.

    Raises:
        InputError: with what differs, and what to do.
    """
    check_trainer(path, checkpoint, type(trainer).__name__)
    checkpoint_content.check_weights_fit(path, weights, trainer.plain_network.state_dict())
    if path.parent != Path(trainer.output_folder):
        return
    preprocessed = Path(trainer.preprocessed_dataset_folder_base)
    section = checkpoint.get(SECTION) or {}
    check_cases(path, section, preprocessed, trainer.fold, "train this fold again without --c")
    plans = trainer.plans_manager.plans
    check_plans(path, checkpoint, plans, trainer.configuration_name)
    for note in recipe_notes(str(path), checkpoint_content.plans_of(checkpoint) or {}, plans):
        trainer.print_to_log_file(note)
    if have_other_cases(checkpoint_content.dataset_json_of(checkpoint), trainer.dataset_json):
        trainer.print_to_log_file(f"The dataset has changed since {path.name} was written.")


def _write_record(trainer: ResumableTrainer) -> None:
    """Write ``run.json`` of the fold."""
    log = trainer.logger.get_checkpoint()
    times = zip(log["epoch_start_timestamps"], log["epoch_end_timestamps"], strict=False)
    cases = trainer.cases.to_mapping() if trainer.cases else None
    write_record(Path(trainer.output_folder), trainer.device, [end - start for start, end in times], cases)


def _note_weights(trainer: ResumableTrainer, name: str) -> None:
    """Note in the record which weights are final, or validated."""
    if trainer.local_rank == 0:
        identity = checkpoint_content.weights_identity(trainer.plain_network.state_dict())
        add_to_record(Path(trainer.output_folder), **{name: identity})
