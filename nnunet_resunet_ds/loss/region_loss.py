"""Compute the region-based batch Dice plus focal loss (paper section 4, decision D6)."""

from collections.abc import Sequence

import torch
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.setting_checks import check_number, check_positive
from nnunet_resunet_ds.network.forms import runs_fused
from nnunet_resunet_ds.training.planning.recipe import Recipe
from nnunet_resunet_ds.training.ranks import is_distributed

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
        fused = runs_fused(logits) and not target.requires_grad
        sums = (_fused_region_sums if fused else region_sums)(logits, target, counts, self.gamma)
        both, predicted, true, focal, counted = sums
        dice = self._dice(torch.stack((both, predicted, true)))
        return self.dice_weight * (1 - dice) + (1 - self.dice_weight) * self._focal(focal, counted)

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

    def _dice(self, sums: Tensor) -> Tensor:
        """Return the mean Dice from what is true and predicted, what is predicted and what is true: (3, B, R)."""
        if self.batch_dice:
            sums = _sum_over_ranks(sums.sum(1, keepdim=True))
        both, predicted, true = sums
        dice = (2 * both + SMOOTHING) / (predicted + true + SMOOTHING)
        if self.batch_dice:
            return self._mean_over_regions(dice[0])
        n_samples = _sum_over_ranks(dice.new_full((1,), dice.shape[0]))
        return self._mean_over_regions(_sum_over_ranks(dice.sum(0)) / n_samples)

    def _focal(self, focal: Tensor, counted: Tensor) -> Tensor:
        """Return the mean focal loss from the sums over voxels, and how many count: each (B, R)."""
        totals = _sum_over_ranks(torch.stack((focal.sum(0), counted.sum(0))))
        return self._mean_over_regions(totals[0] / totals[1].clamp_min(1))

    def _mean_over_regions(self, values: Tensor) -> Tensor:
        """Average (R,) values with the region weights."""
        if self.region_weights is None:
            return values.mean()
        return (values * self.region_weights.to(values.device)).sum()


def region_sums(logits: Tensor, target: Tensor, counts: Tensor | None, gamma: float) -> Tensor:
    """Return (5, B, R) in fp32: sums over voxels of p·t, of p, of t, of the focal loss, and of the voxels that count.

    Args:
        logits: (B, R, Z, Y, X), of which p is the sigmoid.
        target: t, of the same shape.
        counts: (B, 1, Z, Y, X), 0 where a voxel does not count; None where all do.
        gamma: focusing exponent.
    """
    logits, target = logits.float(), target.float()
    probabilities = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # (1 − p of the true class)^γ, by way of its logarithm: exact where p rounds to 1, and smooth for every γ ≥ 0
    focal = torch.exp(gamma * F.logsigmoid(-logits * (2 * target - 1))) * cross_entropy
    voxels = (2, 3, 4)
    if counts is None:
        counted = logits.new_full(logits.shape[:2], logits[0, 0].numel())
    else:
        counted = counts.sum(voxels).expand(logits.shape[:2])
    summed = (probabilities * target, probabilities, target, focal)
    sums = [(values if counts is None else values * counts).sum(voxels) for values in summed]
    return torch.stack([*sums, counted])


def _fused_region_sums(logits: Tensor, target: Tensor, counts: Tensor | None, gamma: float) -> Tensor:
    from nnunet_resunet_ds.loss.fused_region_sums import fused_region_sums  # noqa: PLC0415 (needs Triton)

    return fused_region_sums(logits, target, counts, gamma)


def _sum_over_ranks(sums: Tensor) -> Tensor:
    """Add up over the ranks of the process group, with gradients to each; the same tensor where there is none."""
    if not is_distributed():
        return sums
    joint: Tensor = AllGatherGrad.apply(sums.contiguous()).sum(0)
    return joint
