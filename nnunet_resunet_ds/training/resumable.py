"""A training that loses nothing: stopped at any moment and continued with ``--c``, it goes on as if never stopped."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from numpy.typing import NDArray
from torch import distributed, nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from nnunet_resunet_ds.base.errors import InputError, TrainingError, first_line
from nnunet_resunet_ds.base.files import remove_half_written
from nnunet_resunet_ds.base.region_checks import have_other_cases
from nnunet_resunet_ds.base.signals import TERMINATED, sigterm_noted
from nnunet_resunet_ds.base.splits_file import FoldCases
from nnunet_resunet_ds.training import checkpoints
from nnunet_resunet_ds.training.fold_checks import check_cases, check_other_folds, check_plans
from nnunet_resunet_ds.training.fold_record import CASES, VALIDATED, WEIGHTS, add_to_record, write_record
from nnunet_resunet_ds.training.one_line_errors import one_line_errors
from nnunet_resunet_ds.training.recipe import SECTION
from nnunet_resunet_ds.training.schedule import PlateauSchedule, PolySchedule
from postprocessing.model_config import carry_to_plans

SAVE_LATEST_EVERY = 5
"""Epochs; nnU-Net's own 50 are too many to lose."""

Batch = dict[str, Any]
Outputs = dict[str, Any]
"""What nnU-Net collects of a step."""


class _Terminated(Exception):  # noqa: N818 (no error)
    """SIGTERM came, and the epoch cannot be completed."""


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
    """That it is trained and validated on; None before the data is looked for."""
    finished = False
    """Whether the final weights are chosen; such a training is only validated."""
    _loss_improved = False
    _restored = False
    """Whether this goes on from a checkpoint of its own folder."""

    @property
    def plain_network(self) -> nn.Module:
        """The network without what DistributedDataParallel and torch.compile wrap around it."""
        network = self.network.module if isinstance(self.network, DistributedDataParallel) else self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    # ---- the loop ----

    def run_training(self) -> None:
        """Train until the schedule stops or the epochs are done; under SIGTERM save and exit with code 143.

        Raises:
            TrainingError: the loss is not a number, or a process that loads data has died.
            OSError: a checkpoint or record cannot be written.
        """
        if self.finished:
            self.print_to_log_file(f"This training is finished (after {self.current_epoch} epochs): only validation.")
            if self.local_rank == 0:  # it may have been killed before it could do this
                Path(self.output_folder, checkpoints.LATEST).unlink(missing_ok=True)
            return
        check_other_folds(Path(self.output_folder), self.plans_manager.plans, self.configuration_name)
        self.save_every = self.num_epochs + 1  # never: nnU-Net saves before it notes its best epoch, we after it
        self._set_earlier_checkpoints_aside()
        try:
            self._train()
        except (InputError, TrainingError, OSError):
            self.close_loaders()
            raise

    def _train(self) -> None:
        self.on_train_start()
        # the workers are running by now, and keep their own way to end
        with sigterm_noted(also_interrupts=self.is_ddp) as terminated:
            try:
                while self.current_epoch < self.num_epochs and not self.lr_scheduler.should_stop:
                    self._run_epoch(terminated)
            except _Terminated:
                self._save_and_exit()
            self.on_train_end()
            if self._on_any_rank(terminated()):
                self.print_to_log_file("SIGTERM: the training is finished; validate with --val.")
                raise SystemExit(TERMINATED)

    def _set_earlier_checkpoints_aside(self) -> None:
        """Keep the checkpoints of an earlier training from being taken for this one's by a later --c."""
        if self.local_rank != 0 or self._restored or self.disable_checkpointing:
            return
        for path in checkpoints.set_aside(Path(self.output_folder)):
            what = "validation" if path.is_dir() else "checkpoint"
            self.print_to_log_file(f"A training was here before: its {what} is now {path.name}.")

    def on_train_start(self) -> None:
        """Prepare as nnU-Net does, remove half-written checkpoints of a killed run, and note what trains."""
        super().on_train_start()
        if self.local_rank == 0:
            carry_to_plans(Path(self.output_folder_base))  # nnU-Net has just written these anew
            remove_half_written(Path(self.output_folder), "*")
            self._write_record()

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return the training and validation cases as nnU-Net does, and note them for checkpoints and record."""
        train, val = super().do_split()
        # nnU-Net's own split is of NumPy's strings, which checkpoints must not hold: they would not be read again
        self.cases = FoldCases(*(tuple(sorted(map(str, side))) for side in (train, val)))
        return train, val

    def _run_epoch(self, terminated: Callable[[], bool]) -> None:
        self.on_epoch_start()
        self.on_train_epoch_start()
        self.on_train_epoch_end(
            self._steps(self.train_step, self.dataloader_train, self.num_iterations_per_epoch, "train", terminated)
        )
        with torch.no_grad():
            self.on_validation_epoch_start()
            self.on_validation_epoch_end(
                self._steps(
                    self.validation_step, self.dataloader_val, self.num_val_iterations_per_epoch, "validate", terminated
                )
            )
        self.on_epoch_end()

    def _steps(
        self,
        step: Callable[[Batch], Outputs],
        loader: Iterator[Batch],
        n_steps: int,
        name: str,
        terminated: Callable[[], bool],
    ) -> list[Outputs]:
        """Run a number of steps of one kind.

        Raises:
            TrainingError: a loss is not a number.
            _Terminated: SIGTERM came.
        """
        outputs = []
        title = f"epoch {self.current_epoch}, {name}"
        for number in tqdm(range(n_steps), title, leave=False, disable=True if self.local_rank else None):
            batch = _next_batch(loader, terminated)
            if self._on_any_rank(batch is None) or batch is None:
                raise _Terminated
            outputs.append(step(batch))
            self._check_loss(outputs[-1]["loss"], batch, f"{title}: step {number}")
        return outputs

    def _check_loss(self, loss: NDArray[np.floating], batch: Batch, where: str) -> None:
        if np.isfinite(loss).all():
            return
        cases = ", ".join(map(str, batch.get("keys", [])))
        msg = (
            f"{where}: the loss is {float(np.mean(loss))} for cases {cases}; look at these cases, or train with a "
            "lower learning rate or in fp32 (resunet-ds plan --lr, --precision). Earlier checkpoints are intact: --c "
            "goes on from the last"
        )
        raise TrainingError(msg)

    def _on_any_rank(self, answer: bool) -> bool:
        if not self.is_ddp:
            return answer
        answers = torch.tensor(int(answer), device=self.device)
        distributed.all_reduce(answers, distributed.ReduceOp.MAX)
        return bool(answers)

    def _save_and_exit(self) -> None:
        self._save(checkpoints.LATEST)
        if self.is_ddp:
            distributed.barrier()  # the first rank that exits takes the others with it
        self.close_loaders()
        if not self.disable_checkpointing:
            self.print_to_log_file(f"SIGTERM: saved in epoch {self.current_epoch}; continue with --c.")
        raise SystemExit(TERMINATED)

    def close_loaders(self) -> None:
        """End the workers that load and augment."""
        for loader in (self.dataloader_train, self.dataloader_val):
            if hasattr(loader, "_finish"):
                loader._finish()

    # ---- what is kept ----

    def on_validation_epoch_end(self, val_outputs: list[Outputs]) -> None:
        """Log as nnU-Net does, and let the schedule see the loss: the mean over ranks, so that all decide alike."""
        super().on_validation_epoch_end(val_outputs)
        loss = float(self.logger.get_value("val_losses", step=-1))
        self._loss_improved = self.lr_scheduler.observe(self.current_epoch, loss)

    def on_epoch_end(self) -> None:
        """Log and save as nnU-Net does, then save the latest epoch, and the best by validation loss."""
        super().on_epoch_end()
        if self._loss_improved:
            self.print_to_log_file("Lowest validation loss so far.")
            self._save(checkpoints.BEST_LOSS)
        if self.current_epoch % SAVE_LATEST_EVERY == 0 and self.current_epoch < self.num_epochs:
            self._save(checkpoints.LATEST)
        if self.local_rank == 0:
            self._write_record()

    def _write_record(self) -> None:
        log = self.logger.get_checkpoint()
        times = zip(log["epoch_start_timestamps"], log["epoch_end_timestamps"], strict=False)
        cases = self.cases.to_mapping() if self.cases else None
        write_record(Path(self.output_folder), self.device, [end - start for start, end in times], cases)

    def on_train_end(self) -> None:
        """Let the best epoch's weights be the final ones, save them and close the loaders."""
        self._say_why_training_stops()
        self._load_best_weights()
        self.finished = True
        super().on_train_end()
        self._note_weights(WEIGHTS)
        if self.is_ddp:
            distributed.barrier()  # nobody looks for the final checkpoint before it is there

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict and score the validation cases as nnU-Net does, and note with which weights."""
        super().perform_actual_validation(save_probabilities)
        self._note_weights(VALIDATED)

    def _note_weights(self, name: str) -> None:
        if self.local_rank == 0:
            identity = checkpoints.weights_identity(self.plain_network.state_dict())
            add_to_record(Path(self.output_folder), **{name: identity})

    def _say_why_training_stops(self) -> None:
        if self.lr_scheduler.should_stop:
            waited = self.lr_scheduler.epochs_without_improvement
            self.print_to_log_file(f"Early stop: the validation loss has not improved for {waited} epochs.")

    def _load_best_weights(self) -> None:
        best_epoch = self.lr_scheduler.best_epoch
        path = Path(self.output_folder, checkpoints.BEST_LOSS)
        if best_epoch is None or self.disable_checkpointing:
            self.print_to_log_file("The last epoch's weights are final.")
            return
        if self.is_ddp:
            distributed.barrier()  # the first rank has written it
        try:
            best = checkpoints.read_checkpoint(path)
        except InputError as error:
            self.print_to_log_file(f"{error}. The last epoch's weights are final.")
            return
        self.plain_network.load_state_dict(best["network_weights"])
        self.print_to_log_file(
            f"Epoch {best['current_epoch'] - 1} had the lowest validation loss, {self.lr_scheduler.best_loss:.4f}: "
            f"its weights are {checkpoints.FINAL}."
        )

    def _save(self, name: str) -> None:
        self.save_checkpoint(str(Path(self.output_folder, name)))

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint whole or not at all, in nnU-Net's format with a section of ours.

        The epoch to go on with, and the log, are those of complete epochs.
        """
        if self.local_rank != 0:
            return
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        log = self.logger.get_checkpoint()
        n_epochs = min(map(len, log.values()))
        checkpoint = {
            "network_weights": self.plain_network.state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "grad_scaler_state": self.grad_scaler.state_dict() if self.grad_scaler is not None else None,
            "logging": {name: values[:n_epochs] for name, values in log.items()},
            "_best_ema": self._best_ema,
            "current_epoch": n_epochs,
            "init_args": self.my_init_kwargs,
            "trainer_name": type(self).__name__,
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
            SECTION: {
                "schedule": self.lr_scheduler.state_dict(),
                "finished": self.finished,
                CASES: self.cases.to_mapping() if self.cases else None,
            },
        }
        checkpoints.write_checkpoint(checkpoint, Path(filename))

    @one_line_errors()
    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Go on from a checkpoint of this trainer, or take the weights of one that another trainer made.

        Where an unfinished training is continued, this is the furthest checkpoint of its folder that can be read.

        Raises:
            InputError: it cannot be read, is of a different network, or of a variant of this trainer.
        """
        if not self.was_initialized:
            self.initialize()
        path, checkpoint, notes = self._checkpoint_for(Path(filename_or_checkpoint))
        for note in notes:
            self.print_to_log_file(f"Passed over {note}")
        weights = {name.removeprefix("module."): values for name, values in checkpoint["network_weights"].items()}
        self._check_trainer(path, checkpoint)
        checkpoints.check_weights_fit(path, weights, self.plain_network.state_dict())
        if path.parent == Path(self.output_folder):
            self._check_belongs(path, checkpoint)
        self.plain_network.load_state_dict(weights)
        if SECTION not in checkpoint:
            made_by = checkpoint.get("trainer_name", "another trainer")
            self.print_to_log_file(f"{path} was made by {made_by}: only its weights are taken.")
            return
        self._restore(checkpoint)
        if path.name == checkpoints.BEST and self.lr_scheduler.best_epoch == self.current_epoch - 1:
            self._save(checkpoints.BEST_LOSS)  # it was killed after the one was written and before the other
        self.print_to_log_file(f"Continuing from {path.name}, {self.current_epoch} epochs are done.")

    def _checkpoint_for(self, path: Path) -> checkpoints.Found:
        folder = Path(self.output_folder)
        if path.parent == folder and not (folder / checkpoints.FINAL).exists():
            return checkpoints.furthest_checkpoint(folder)
        return checkpoints.Found(path, checkpoints.read_checkpoint(path), [])

    def _check_trainer(self, path: Path, checkpoint: checkpoints.Checkpoint) -> None:
        made_by = checkpoint.get("trainer_name")
        if SECTION in checkpoint and made_by != type(self).__name__:
            msg = f"{path}: was made by {made_by}, not {type(self).__name__}; continue it with -tr {made_by}"
            raise InputError(msg)

    def _check_belongs(self, path: Path, checkpoint: checkpoints.Checkpoint) -> None:
        """Refuse a checkpoint of this very training that was made on other cases, or with another patch or network."""
        preprocessed = Path(self.preprocessed_dataset_folder_base)
        check_cases(path, checkpoint.get(SECTION) or {}, preprocessed, self.fold, "train this fold again without --c")
        check_plans(path, checkpoint, self.plans_manager.plans, self.configuration_name)
        if have_other_cases(checkpoints.dataset_json_of(checkpoint), self.dataset_json):
            self.print_to_log_file(f"The dataset has changed since {path.name} was written.")

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        self.current_epoch = checkpoint["current_epoch"]
        self.logger.load_checkpoint(checkpoint["logging"])
        self._best_ema = checkpoint["_best_ema"]
        self.inference_allowed_mirroring_axes = checkpoint["inference_allowed_mirroring_axes"]
        self.optimizer.load_state_dict(checkpoint["optimizer_state"])
        if self.grad_scaler is not None and checkpoint["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(checkpoint["grad_scaler_state"])
        self.lr_scheduler.load_state_dict(checkpoint[SECTION]["schedule"])
        self.finished = checkpoint[SECTION]["finished"]
        self._restored = True


def _next_batch(loader: Iterator[Batch], terminated: Callable[[], bool]) -> Batch | None:
    """Return the next batch, None under SIGTERM: batch systems send it to the loading processes, too.

    Raises:
        TrainingError: a loading process has died.
    """
    if terminated():
        return None
    try:
        return next(loader)
    except RuntimeError as error:
        if terminated():
            return None
        msg = (
            f"a process that loads data has died ({first_line(error)}); what it printed is above. Where nothing is, "
            "memory ran out: set nnUNet_n_proc_DA lower (resunet-ds doctor says how low). --c goes on from the last "
            "checkpoint"
        )
        raise TrainingError(msg) from error
