"""Train the paper's network with its recipe: the class behind ``-tr ResUNetDSTrainer``."""

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.utilities.collate_outputs import collate_outputs
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.dataset_json import check_region_weights, check_regions
from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.compute.format_choice import InputSize, training_dtype
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.compute.precision import autocast, autocast_dtype, compile_is_wished
from nnunet_resunet_ds.loss import RegionDiceFocalLoss
from nnunet_resunet_ds.training.augmentation.choice import choose_augmentation
from nnunet_resunet_ds.training.augmentation.crop_loader import CENTRES
from nnunet_resunet_ds.training.augmentation.device_augmentation import DeviceAugmentation
from nnunet_resunet_ds.training.augmentation.loaders import Batches, crop_loaders
from nnunet_resunet_ds.training.augmentation.random_numbers import entropy_of_rank
from nnunet_resunet_ds.training.checkpoint.pretrained import pretrained_of, take_weights
from nnunet_resunet_ds.training.checks.fold_checks import check_dataset, check_dataset_of_command, check_fold
from nnunet_resunet_ds.training.checks.preprocessed_data import FINGERPRINT, checked_data, resampling_notes
from nnunet_resunet_ds.training.epoch_steps import Batch, Outputs
from nnunet_resunet_ds.training.fold.head_metrics import HEAD_DICE, HEAD_LOSSES, head_dice, head_statistics
from nnunet_resunet_ds.training.fold.heads_panel import add_heads_panel
from nnunet_resunet_ds.training.fold.heads_table import TABLE, write_heads_table
from nnunet_resunet_ds.training.modality_dropout import ModalityDropout, check_dropout_fits
from nnunet_resunet_ds.training.one_line_errors import one_line_errors
from nnunet_resunet_ds.training.planning.adapted_plans import AdaptedPlans, obeyed_or_adapted, with_architecture_changes
from nnunet_resunet_ds.training.planning.recipe import SECTION, Recipe
from nnunet_resunet_ds.training.ranks import number_of_ranks, of_all_ranks
from nnunet_resunet_ds.training.resumable import ResumableTrainer
from nnunet_resunet_ds.training.schedule import PlateauSchedule, PolySchedule, schedule_of

MAX_GRADIENT_NORM = 12
"""nnU-Net's."""


class ResUNetDSTrainer(ResumableTrainer):
    """Trains the paper's network with its recipe, on nnU-Net's data, augmentation and validation.

    Stock plans are adapted (the network, patch 128³, batch 2, batch Dice) before nnU-Net reads them, so that the
    ``plans.json`` saved with the model is the truth and prediction rebuilds the same network. Plans written by
    ``resunet-ds plan`` are obeyed as they are. The learning rate falls and training stops by the validation loss, and
    the weights of the best epoch become ``checkpoint_final.pth`` (decision D7).

    Raises:
        InputError: plans, dataset, fold and recipe do not fit each other or the network.
    """

    architecture_changes: ClassVar[Mapping[str, Any]] = {}
    """Arguments of `res_unet_ds_architecture` that a variant sets, even where the plans say otherwise."""
    augmentation: DeviceAugmentation | None = None
    """What training batches go through here; None where they come augmented."""
    modality_dropout: ModalityDropout | None = None
    """What leaves sequences out of training batches; None where all stay."""

    # nnU-Net reads these parameter names off the signature: keep them.
    @one_line_errors()
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's own default)
    ) -> None:
        check_regions(dataset_json)
        plans, notes = self.adapted_plans(plans, configuration)
        notes = [*notes, *_data_notes(plans, configuration, fold, dataset_json)]
        self.recipe = self.recipe_from(plans)
        check_region_weights(self.recipe.region_weights, dataset_json)
        schemes = resolved_configuration(plans, configuration)["normalization_schemes"]
        check_dropout_fits(self.recipe.modality_dropout, schemes)
        plans[SECTION] = self.recipe.to_mapping()
        self.dtype = autocast_dtype(self.recipe.precision, device)
        super().__init__(plans, configuration, fold, dataset_json, device)
        _follow_recipe(self, self.recipe)
        self.modality_dropout = _modality_dropout(self.recipe, len(schemes), self.local_rank)
        if self.recipe.modality_dropout and self.modality_dropout is None:
            notes.append("There is one sequence alone, so modality dropout leaves none out.")
        self.enable_deep_supervision = self.configuration_manager.network_arch_init_kwargs.get("n_heads", 1) > 1
        self.logger.local_logger.my_fantastic_logging |= {HEAD_LOSSES: [], HEAD_DICE: []}
        for note in (*notes, f"Recipe: {self.recipe}"):
            self.print_to_log_file(note)

    @classmethod
    def adapted_plans(cls, plans: Mapping[str, Any], configuration: str) -> AdaptedPlans:
        """Return plans that train this trainer's network, from stock ones or from ours.

        Raises:
            InputError: the plans do not fit the network.
        """
        return with_architecture_changes(
            obeyed_or_adapted(plans, configuration), configuration, cls.architecture_changes
        )

    @classmethod
    def recipe_from(cls, plans: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a plans file, as this trainer reads it."""
        return Recipe.from_plans(plans)

    @one_line_errors()
    def initialize(self) -> None:
        """Make network and optimiser as nnU-Net does, from the recipe's seed or the weights that the plans name.

        Then choose the number format.
        """
        if self.recipe.seed is not None:
            _seed_generators(self.recipe.seed + self.local_rank)
        super().initialize()
        pretrained = pretrained_of(self.plans_manager.plans)
        if pretrained is not None and self.starts_new:
            folder = Path(nnUNet_preprocessed, self.plans_manager.dataset_name)
            self.print_to_log_file(take_weights(self.plain_network, pretrained, folder))
        self.dtype, note = training_dtype(
            self.recipe.precision, self.plain_network, self.device, self.input_size, self.print_to_log_file
        )
        self.print_to_log_file(note)

    @property
    def input_size(self) -> InputSize:
        """Size of a batch of images, and the strides of the network's stages."""
        manager = self.configuration_manager
        shape = (self.batch_size, self.num_input_channels, *manager.patch_size)
        return InputSize(shape, manager.network_arch_init_kwargs.get("strides"))

    # ---- what nnU-Net asks for ----

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PlateauSchedule | PolySchedule]:
        """Return Adam and the recipe's schedule."""
        optimizer = torch.optim.Adam(
            self.network.parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        return optimizer, schedule_of(self.recipe, optimizer)

    def _do_i_compile(self) -> bool:
        """Tell whether to use torch.compile: where ``nnUNet_compile`` is set, and nnU-Net can on this device or a CPU.

        nnU-Net compiles on a GPU unless told not to. Our network is fast without, and its first step waits for no
        compiler.
        """
        return compile_is_wished() and (self.device.type == "cpu" or bool(super()._do_i_compile()))

    def _set_batch_size_and_oversample(self) -> None:
        """Share a batch among ranks as nnU-Net does.

        Raises:
            InputError: there are more ranks than samples.
        """
        n_samples = self.configuration_manager.batch_size
        if (n_ranks := number_of_ranks()) > n_samples:
            msg = (
                f"a batch of {n_samples} is too small for {n_ranks} GPUs, which need a sample each: train with "
                f"-num_gpus {n_samples}, or plan a larger batch with resunet-ds plan --batch-size {n_ranks}"
            )
            raise InputError(msg)
        super()._set_batch_size_and_oversample()

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        """Return the label scale of each head, finest first: nnU-Net assumes a head at every level, we have three."""
        if not self.enable_deep_supervision:
            return None
        arch_kwargs = self.configuration_manager.network_arch_init_kwargs
        scales: list[list[float]] = (1 / np.cumprod(np.vstack(arch_kwargs["strides"]), axis=0)).tolist()
        return scales[: arch_kwargs["n_heads"]]

    def _build_loss(self) -> nn.Module:
        """Return the region loss over the heads, weighted 1, ½, ¼ and scaled to sum 1."""
        self.region_loss = RegionDiceFocalLoss(
            self.recipe.dice_weight,
            self.recipe.gamma,
            self.configuration_manager.batch_dice,
            region_weights=self.recipe.region_weights,
            use_ignore_label=self.label_manager.has_ignore_label,
        ).to(self.device)
        scales = self._get_deep_supervision_scales()
        if scales is None:
            return self.region_loss
        supervised: nn.Module = DeepSupervisionWrapper(self.region_loss, head_weights(len(scales)))
        return supervised

    # ---- data ----

    def get_dataloaders(self) -> tuple[Batches, Batches]:
        """Return running loaders of training and validation batches; where the device augments, training has crops."""
        self.augmentation, note = choose_augmentation(self, self.recipe.augmentation, self.recipe.seed)
        self.print_to_log_file(note)
        if self.augmentation is not None:
            return crop_loaders(self)
        loaders: tuple[Batches, Batches] = super().get_dataloaders()
        return loaders

    def on_train_epoch_start(self) -> None:
        """Begin an epoch as nnU-Net does, with the random numbers of this epoch."""
        super().on_train_epoch_start()
        for source in (self.augmentation, self.modality_dropout):
            if source is not None:
                source.start_epoch(self.current_epoch)

    def prepared(self, batch: Batch) -> Batch:
        """Return a batch as steps take it: augmented here, if it has crops."""
        if self.augmentation is None or CENTRES not in batch:
            return batch
        images, targets = self.augmentation(batch["data"], batch["target"], batch[CENTRES])
        return {"data": images, "target": targets, "keys": batch["keys"]}

    # ---- where most of the time goes ----

    @one_line_errors()
    def run_training(self) -> None:
        """Train; on a CPU, without giving memory back between steps."""
        with freed_memory_kept(self.device):
            super().run_training()

    @one_line_errors()
    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict and score the validation cases as nnU-Net does; on a CPU, without giving memory back."""
        with freed_memory_kept(self.device):
            super().perform_actual_validation(save_probabilities)

    # ---- steps ----

    def train_step(self, batch: Batch) -> Outputs:
        """Train on one batch as nnU-Net does, in the number format chosen; the loss is not waited for."""
        target = _on_device(batch["target"], self.device)
        images = batch["data"].to(self.device, non_blocking=True)
        if self.modality_dropout is not None:
            images = self.modality_dropout(images)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.dtype, self.device):
            loss = self.loss(self._forward(images), target)
        scaled = loss if self.grad_scaler is None else self.grad_scaler.scale(loss)
        scaled.backward()
        if self.grad_scaler is not None:
            self.grad_scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        if self.grad_scaler is None:
            self.optimizer.step()
        else:
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        return {"loss": loss.detach()}

    def validation_step(self, batch: Batch) -> Outputs:
        """Return what nnU-Net wants to know of the finest head, and loss and counts of every head."""
        targets = _as_list(_on_device(batch["target"], self.device))
        with autocast(self.dtype, self.device):
            outputs = _as_list(self._forward(batch["data"]))
        heads = head_statistics(
            outputs, targets, self.region_loss, has_ignore_label=self.label_manager.has_ignore_label
        )
        finest = {f"{name}_hard": heads[name][0] for name in ("tp", "fp", "fn")}
        return {"loss": np.dot(heads[HEAD_LOSSES], head_weights(len(outputs))), **finest, **heads}

    def _forward(self, data: Tensor) -> Tensor | list[Tensor]:
        """Run the network; where torch.compile fails, go on without it for good, in nnU-Net's validation, too."""
        data = data.to(self.device, non_blocking=True)
        try:
            return self.network(data)  # type: ignore[no-any-return]
        except TorchDynamoException as error:
            self.print_to_log_file(f"torch.compile failed and is left out from here on: {first_line(error)}")
        torch.compiler.set_stance("force_eager")
        return self.network(data)  # type: ignore[no-any-return]

    # ---- the heads in validation (paper Table 4) ----

    def on_validation_epoch_end(self, val_outputs: list[Outputs]) -> None:
        """Log what nnU-Net logs, and loss and pseudo Dice of each head."""
        super().on_validation_epoch_end(val_outputs)
        collated = collate_outputs(
            [{name: step[name] for name in (HEAD_LOSSES, "tp", "fp", "fn")} for step in val_outputs]
        )
        losses = np.mean(of_all_ranks(collated[HEAD_LOSSES]), axis=0)
        dice = head_dice({name: of_all_ranks(collated[name]).sum(0) for name in ("tp", "fp", "fn")})
        self.logger.log(HEAD_LOSSES, losses.tolist(), self.current_epoch)
        self.logger.log(HEAD_DICE, dice, self.current_epoch)
        self.print_to_log_file("Heads, the finest first: val_loss", _rounded(losses), "pseudo dice", _rounded(dice))

    def on_epoch_end(self) -> None:
        """Write the heads' table, and add their panel to nnU-Net's ``progress.png``."""
        super().on_epoch_end()
        if self.local_rank == 0:
            keys = (HEAD_LOSSES, HEAD_DICE, "val_losses")
            losses, dice, total = (self.logger.get_value(key, step=None) for key in keys)
            write_heads_table(Path(self.output_folder, TABLE), losses, dice, total)
            add_heads_panel(Path(self.output_folder, "progress.png"), losses, dice)


def _follow_recipe(trainer: ResUNetDSTrainer, recipe: Recipe) -> None:
    """Set the attributes of nnU-Net's trainer that the recipe decides."""
    trainer.initial_lr = recipe.initial_lr
    trainer.weight_decay = recipe.weight_decay
    trainer.num_epochs = recipe.epochs
    trainer.n_kept_weights = recipe.keep_weights
    trainer.num_iterations_per_epoch = recipe.iterations_per_epoch
    trainer.num_val_iterations_per_epoch = recipe.val_iterations_per_epoch
    if trainer.dtype is not torch.float16:
        trainer.grad_scaler = None  # only fp16 underflows


def _modality_dropout(recipe: Recipe, n_channels: int, rank: int) -> ModalityDropout | None:
    """Return what leaves sequences out by the recipe; None where all stay, as where there is one alone."""
    if not recipe.modality_dropout or n_channels < 2:
        return None
    return ModalityDropout(recipe.modality_dropout, n_channels, entropy_of_rank(recipe.seed, rank))


def _seed_generators(seed: int) -> None:
    """Seed every generator that training draws from in this process."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _data_notes(
    plans: Mapping[str, Any], configuration: str, fold: int | str, dataset_json: Mapping[str, Any]
) -> list[str]:
    """Refuse data that plans, fold or network do not fit, before nnU-Net makes a folder; return lines for the log."""
    settings = resolved_configuration(plans, configuration)
    for name in ("dataset_name", "plans_name"):  # parts of the paths that nnU-Net writes to
        check_path_part(f"{name} in the plans", plans[name])
    preprocessed = Path(nnUNet_preprocessed, plans["dataset_name"])
    check_dataset(plans["plans_name"], dataset_json, preprocessed)
    check_dataset_of_command(plans, sys.argv)
    check_fold(fold, preprocessed, dataset_json["numTraining"])
    resampled = resampling_notes(settings, plans["transpose_forward"], read_json(preprocessed / FINGERPRINT))
    return [*resampled, *checked_data(preprocessed, settings, configuration)]


def head_weights(n_heads: int) -> list[float]:
    """Return the loss weight of each head, finest first: each half of the one before, summing to 1 (decision D3)."""
    weights = [0.5**head for head in range(n_heads)]
    return [weight / sum(weights) for weight in weights]


def _on_device(target: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    if isinstance(target, list):
        return [head.to(device, non_blocking=True) for head in target]
    return target.to(device, non_blocking=True)


def _as_list(values: Tensor | list[Tensor]) -> list[Tensor]:
    return values if isinstance(values, list) else [values]


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 4) for value in values]
