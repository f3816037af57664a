"""The trainer behind ``-tr ResUNetDSTrainer``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_resunet_ds.background import check_background
from nnunet_resunet_ds.dataset_json import check_region_weights, check_regions
from nnunet_resunet_ds.files import read_json
from nnunet_resunet_ds.loss import RegionDiceFocalLoss
from nnunet_resunet_ds.plans import obeyed_or_adapted, resolved_configuration
from nnunet_resunet_ds.recipe import Recipe


class ResUNetDSTrainer(nnUNetTrainer):
    """Trains the paper's network with its recipe, on nnU-Net's data, augmentation and validation.

    Stock plans are adapted (the network, patch 128³, batch 2, batch Dice) before nnU-Net reads them, so that the
    ``plans.json`` saved with the model is the truth and prediction rebuilds the same network. Plans written by
    ``resunet-ds plan`` are obeyed as they are.

    Raises:
        InputError: the configuration is 2-D, the labels have no regions, or the background is not kept at zero.
    """

    # nnU-Net reads these parameter names off the signature: keep them.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's own default)
    ) -> None:
        check_regions(dataset_json)
        plans, notes = obeyed_or_adapted(plans, configuration)
        settings = resolved_configuration(plans, configuration)
        fingerprint_file = Path(nnUNet_preprocessed, plans["dataset_name"], "dataset_fingerprint.json")
        check_background(settings, plans, read_json(fingerprint_file))
        self.recipe = Recipe.from_plans(plans)
        check_region_weights(self.recipe.region_weights, dataset_json)
        super().__init__(plans, configuration, fold, dataset_json, device)

        self.initial_lr = self.recipe.initial_lr
        self.weight_decay = self.recipe.weight_decay
        self.num_epochs = self.recipe.epochs
        self.num_iterations_per_epoch = self.recipe.iterations_per_epoch
        self.num_val_iterations_per_epoch = self.recipe.val_iterations_per_epoch
        for note in (*notes, f"Recipe: {self.recipe}"):
            self.print_to_log_file(note)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """Return Adam (decision D7) under nnU-Net's polynomial decay."""
        optimizer = torch.optim.Adam(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        """Return the label scale of each head, finest first: nnU-Net assumes a head at every level, we have three."""
        if not self.enable_deep_supervision:
            return None
        arch_kwargs = self.configuration_manager.network_arch_init_kwargs
        scales: list[list[float]] = (1 / np.cumprod(np.vstack(arch_kwargs["strides"]), axis=0)).tolist()
        return scales[: arch_kwargs["n_heads"]]

    def _build_loss(self) -> nn.Module:
        """Return the region loss over the heads, weighted 1, ½, ¼ and scaled to sum 1 (decision D3)."""
        loss: nn.Module = RegionDiceFocalLoss(
            self.recipe.dice_weight,
            self.recipe.gamma,
            self.configuration_manager.batch_dice,
            region_weights=self.recipe.region_weights,
            use_ignore_label=self.label_manager.has_ignore_label,
        )
        scales = self._get_deep_supervision_scales()
        if scales is None:
            return loss
        supervised: nn.Module = DeepSupervisionWrapper(loss, head_weights(len(scales)))
        return supervised


def head_weights(n_heads: int) -> list[float]:
    """Return the loss weight of each head, finest first: each half of the one before, summing to 1 (decision D3)."""
    weights = [0.5**head for head in range(n_heads)]
    return [weight / sum(weights) for weight in weights]
