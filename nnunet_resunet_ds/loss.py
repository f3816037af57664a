"""Compute the region-based batch Dice plus focal loss (paper section 4, decision D6)."""

from collections.abc import Sequence

import torch
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.setting_checks import check_number, check_positive
from nnunet_resunet_ds.training.ranks import is_distributed
from nnunet_resunet_ds.training.recipe import Recipe

SMOOTHING = 1e-5
"""Added to numerator and denominator of Dice."""


class RegionDiceFocalLoss(nn.Module):
    """``dice_weight``·(1 − Dice) + (1 − ``dice_weight``)·focal on sigmoid outputs; never negative.

    Dice is taken over all voxels of the batch (or of each sample) and averaged over regions; focal is averaged over
    voxels and regions. Where a process group is initialised, every rank gets the loss of the joint batch, and gradients
    averaged over ranks, as DistributedDataParallel does, are those of the joint batch: all ranks must call it together.

    Args:
        dice_weight: share of Dice, 0 to 1 (the paper's α = 0.7).
        gamma: focusing exponent, 2 by default; 0 is binary cross-entropy.
        batch_dice: one Dice for the whole batch, or one a sample, averaged.
        region_weights: one a region, scaled to sum 1; None is equal weights.
        use_ignore_label: the target's last channel marks voxels that do not count.
    """

    region_weights: Tensor | None

    def __init__(
        self,
        dice_weight: float = Recipe.dice_weight,
        gamma: float = Recipe.gamma,
        batch_dice: bool = True,
        *,
        region_weights: Sequence[float] | None = None,
        use_ignore_label: bool = False,
    ) -> None:
        super().__init__()
        check_number("dice_weight", dice_weight, at_most=1)
        check_number("gamma", gamma)
        for weight in region_weights or ():
            check_positive("each of region_weights", weight)
        self.dice_weight = dice_weight
        self.gamma = gamma
        self.batch_dice = batch_dice
        self.use_ignore_label = use_ignore_label
        weights = None if region_weights is None else torch.tensor(region_weights) / sum(region_weights)
        self.register_buffer("region_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss in float32, whatever the dtype of the logits.

        Args:
            logits: (B, R, Z, Y, X).
            target: bool or float of the same shape, with one more channel at the end under ``use_ignore_label``.

        Raises:
            ValueError: another number of target channels or region weights than regions.
        """
        self._check_channels(logits, target)
        target, counts = self._split_ignored(target)
        logits, target = logits.float(), target.float()
        dice = self._dice(torch.sigmoid(logits), target, counts)
        focal = self._focal(logits, target, counts)
        return self.dice_weight * (1 - dice) + (1 - self.dice_weight) * focal

    def _check_channels(self, logits: Tensor, target: Tensor) -> None:
        n_regions = logits.shape[1]
        expected = n_regions + self.use_ignore_label
        if target.shape[1] != expected:
            msg = f"expected {expected} target channels for {n_regions} regions; got {target.shape[1]}"
            raise ValueError(msg)
        if self.region_weights is not None and len(self.region_weights) != n_regions:
            msg = f"expected {n_regions} region_weights, one a region; got {len(self.region_weights)}"
            raise ValueError(msg)

    def _split_ignored(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the region targets, and where voxels count (B, 1, Z, Y, X), None for everywhere."""
        if not self.use_ignore_label:
            return target, None
        return target[:, :-1], (target[:, -1:] == 0).float()

    def _dice(self, probabilities: Tensor, target: Tensor, counts: Tensor | None) -> Tensor:
        if counts is not None:
            probabilities, target = probabilities * counts, target * counts
        voxels = (2, 3, 4)
        sums = torch.stack(  # (3, B, R)
            [(probabilities * target).sum(voxels), probabilities.sum(voxels), target.sum(voxels)]
        )
        if self.batch_dice:
            sums = _sum_over_ranks(sums.sum(1, keepdim=True))
        intersection, predicted, true = sums
        dice = (2 * intersection + SMOOTHING) / (predicted + true + SMOOTHING)
        if self.batch_dice:
            return self._mean_over_regions(dice[0])
        n_samples = _sum_over_ranks(dice.new_tensor([dice.shape[0]]))
        return self._mean_over_regions(_sum_over_ranks(dice.sum(0)) / n_samples)

    def _focal(self, logits: Tensor, target: Tensor, counts: Tensor | None) -> Tensor:
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        # (1 − p of the true class)^γ, by way of its logarithm: exact where p rounds to 1, and smooth for every γ ≥ 0
        focus = torch.exp(self.gamma * F.logsigmoid(-logits * (2 * target - 1)))
        focal = focus * cross_entropy
        if counts is None:
            counts = torch.ones_like(focal[:, :1])
        totals = torch.cat([(focal * counts).sum((0, 2, 3, 4)), counts.sum().reshape(1)])
        *sums, n_voxels = _sum_over_ranks(totals)
        return self._mean_over_regions(torch.stack(sums) / n_voxels.clamp_min(1))

    def _mean_over_regions(self, values: Tensor) -> Tensor:
        """Average (R,) values with the region weights."""
        if self.region_weights is None:
            return values.mean()
        return (values * self.region_weights.to(values.device)).sum()


def _sum_over_ranks(sums: Tensor) -> Tensor:
    """Add up over the ranks of the process group, with gradients to each; the same tensor where there is none."""
    if not is_distributed():
        return sums
    joint: Tensor = AllGatherGrad.apply(sums.contiguous()).sum(0)
    return joint
