"""Trainers that differ from `ResUNetDSTrainer` in one factor each, for ablations, and two that measure its speed.

Their names follow nnU-Net's own.
"""

import itertools
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.plans import NNUNET_FEATURES, WIDE_FEATURES
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.epoch_steps import Batch
from nnunet_resunet_ds.training.planning.recipe import POLY, Recipe
from nnunet_resunet_ds.training.ranks import number_of_ranks
from nnunet_resunet_ds.training.schedule import PlateauSchedule, PolySchedule, schedule_of

SGD_MOMENTUM = 0.99
SGD_DEFAULTS: Mapping[str, Any] = {"initial_lr": 1e-2, "weight_decay": 3e-5, "epochs": 1000, "schedule": POLY}
"""nnU-Net's own recipe."""
MODALITY_DROPOUT = 0.5
"""Our choice: half of the samples are whole, as most cases are in prediction."""

BENCHMARK_EPOCHS = 5
BENCHMARK_RESULTS = "benchmark_result.json"
"""nnU-Net's name and format: what was measured, by machine and versions."""


class ResUNetDSTrainerNoDeepSupervision(ResUNetDSTrainer):
    """One head, at full resolution; the others are not even built."""

    architecture_changes = {"n_heads": 1}  # noqa: RUF012 (a ClassVar in the base class)


class ResUNetDSTrainerNoSalientChannel(ResUNetDSTrainer):
    """The network does not get the brain mask."""

    architecture_changes = {"salient_channel": False}  # noqa: RUF012


class ResUNetDSTrainerNoResidual(ResUNetDSTrainer):
    """The same convolutions without shortcuts."""

    architecture_changes = {"residual": False}  # noqa: RUF012


class ResUNetDSTrainerDepth6(ResUNetDSTrainer):
    """Six stages of 32 to 320 channels, nnU-Net's."""

    architecture_changes = {"features_per_stage": NNUNET_FEATURES}  # noqa: RUF012


class ResUNetDSTrainerDepth6Wide(ResUNetDSTrainer):
    """Six stages of 64 to 512 channels: the paper's width without its depth."""

    architecture_changes = {"features_per_stage": WIDE_FEATURES}  # noqa: RUF012


class ResUNetDSTrainerBCE(ResUNetDSTrainer):
    """Binary cross-entropy in place of focal loss, which it is at γ = 0."""

    @classmethod
    def recipe_from(cls, plans: Mapping[str, Any]) -> Recipe:
        """Return the recipe of the plans with γ = 0."""
        return replace(super().recipe_from(plans), gamma=0.0)


class ResUNetDSTrainerModalityDropout(ResUNetDSTrainer):
    """Sequences are left out of half of the training samples, so that cases may lack some in prediction."""

    @classmethod
    def recipe_from(cls, plans: Mapping[str, Any]) -> Recipe:
        """Return the recipe of the plans, with `MODALITY_DROPOUT` where they do not set it."""
        return Recipe.from_plans(plans, modality_dropout=MODALITY_DROPOUT)


class ResUNetDSTrainerSGD(ResUNetDSTrainer):
    """nnU-Net's own optimiser and schedule: SGD with momentum, polynomial decay to the last epoch, no early stop.

    Learning rate, weight decay, schedule and number of epochs are nnU-Net's where the plans do not set them.
    """

    @classmethod
    def recipe_from(cls, plans: Mapping[str, Any]) -> Recipe:
        """Return the recipe of the plans, with nnU-Net's defaults."""
        return Recipe.from_plans(plans, **SGD_DEFAULTS)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PlateauSchedule | PolySchedule]:
        """Return SGD and the recipe's schedule."""
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=SGD_MOMENTUM,
            nesterov=True,
            fused=self.device.type in ("cpu", "cuda"),
        )
        return optimizer, schedule_of(self.recipe, optimizer)


class ResUNetDSTrainerBenchmark_5epochs(ResUNetDSTrainer):  # noqa: N801 (nnU-Net's naming)
    """Five epochs without checkpoints or validation of whole cases; writes the fastest epoch's seconds."""

    @classmethod
    def recipe_from(cls, plans: Mapping[str, Any]) -> Recipe:
        """Return the recipe of the plans with five epochs."""
        recipe = super().recipe_from(plans)
        return replace(
            recipe, epochs=BENCHMARK_EPOCHS, stopping_patience=max(recipe.stopping_patience, BENCHMARK_EPOCHS)
        )

    def run_training(self) -> None:
        """Train without checkpoints."""
        self.disable_checkpointing = True
        super().run_training()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Do nothing."""

    def on_train_end(self) -> None:
        """Add the result to the file."""
        super().on_train_end()
        if self.local_rank != 0:
            return
        starts, ends = (self.logger.get_value(f"epoch_{edge}_timestamps", step=None) for edge in ("start", "end"))
        result = {
            **_machine(self.device),
            "fastest_epoch": min(end - start for start, end in zip(starts, ends, strict=True)),
        }
        write_result(Path(self.output_folder, BENCHMARK_RESULTS), result)
        self.print_to_log_file(f"Fastest epoch: {result['fastest_epoch']:.2f} s")


class ResUNetDSTrainerBenchmark_5epochs_noDataLoading(ResUNetDSTrainerBenchmark_5epochs):  # noqa: N801
    """The same on one made-up batch that is already on the device."""

    def get_dataloaders(self) -> tuple[Iterator[Batch], Iterator[Batch]]:
        """Return the same batch again and again, for training and validation."""
        shape = self.configuration_manager.patch_size
        data = torch.rand((self.batch_size, self.num_input_channels, *shape), device=self.device)
        scales = self._get_deep_supervision_scales() or [[1.0] * len(shape)]
        targets = [self._made_up_target(shape, scale) for scale in scales]
        batch = {"data": data, "target": targets if self.enable_deep_supervision else targets[0], "keys": ["made up"]}
        return itertools.repeat(batch), itertools.repeat(batch)

    def _made_up_target(self, shape: list[int], scale: list[float]) -> Tensor:
        n_channels = self.label_manager.num_segmentation_heads + self.label_manager.has_ignore_label
        size = [round(axis * factor) for axis, factor in zip(shape, scale, strict=True)]
        return torch.rand((self.batch_size, n_channels, *size), device=self.device) > 0.5


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Add a result to the file, under a key of its machine and versions; a file that cannot be read is replaced."""
    try:
        results = read_json(path)
    except InputError:
        results = {}
    key = "__".join(
        str(result[name]).replace(" ", "") for name in ("hostname", "cudnn_version", "torch_version", "gpu_name")
    )
    write_json({**results, f"{key}__num_gpus_{result['num_gpus']}": result}, path)


def _machine(device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    return {
        "torch_version": torch.__version__,
        "cudnn_version": torch.backends.cudnn.version() if on_gpu else None,
        "gpu_name": torch.cuda.get_device_name(device) if on_gpu else str(device),
        "num_gpus": number_of_ranks(),
        "hostname": platform.node(),
    }
