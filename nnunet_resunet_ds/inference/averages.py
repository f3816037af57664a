"""Average what a network says: over the tiles of a volume, and over folds, with the variance where it is wanted."""

from collections.abc import Sequence

import torch
from torch import Tensor

Tile = tuple[slice, ...]
"""Of (Z, Y, X)."""


class FoldStatistics:
    """The mean over folds of what each says, and with variance the variance over them.

    Args:
        n_varying: of how many of the values (N, Z, Y, X), the first ones, the variance is wanted; 0 is none.
    """

    def __init__(self, n_varying: int = 0) -> None:
        self._n_varying = n_varying
        self._n = 0
        self._total: Tensor | None = None
        self._deviations: Tensor | None = None
        """Sum of squared deviations from the mean."""

    def add(self, values: Tensor) -> None:
        """Take in what a fold says, (N, Z, Y, X); it may be overwritten."""
        if self._total is None or self._deviations is None:
            self._total = values
            self._deviations = torch.zeros_like(values[: self._n_varying])
        else:
            total, deviations = self._total.to(values.device), self._deviations.to(values.device)
            from_mean = values[: self._n_varying] - total[: self._n_varying] / self._n  # Welford's update
            self._deviations = deviations.addcmul_(from_mean, from_mean, value=self._n / (self._n + 1))
            self._total = total.add_(values)
        self._n += 1

    def result(self) -> Tensor:
        """Return the mean (N, Z, Y, X); of several folds, then the variance of those that vary."""
        assert self._total is not None
        assert self._deviations is not None
        mean = self._total.div_(self._n)
        return torch.cat([mean, self._deviations.div_(self._n)]) if self._n_varying and self._n > 1 else mean


class WeightedMean:
    """The weighted mean of what overlapping tiles say of each voxel, fp32."""

    def __init__(self, n_regions: int, shape: Sequence[int], device: torch.device) -> None:
        self.sum = torch.zeros((n_regions, *shape), device=device)
        self.weight = torch.zeros(tuple(shape), device=device)

    @property
    def device(self) -> torch.device:
        """Where it is kept."""
        return self.sum.device

    def add(self, tile: Tile, values: Tensor, weights: Tensor) -> None:
        """Add the values (R, Z, Y, X) of one tile, which are overwritten, with a weight a voxel."""
        weighted, weights = values.mul_(weights).to(self.device), weights.to(self.device)
        self.sum[(slice(None), *tile)] += weighted
        self.weight[tile] += weights

    def to_cpu(self) -> None:
        """Make room on the device."""
        self.sum, self.weight = self.sum.cpu(), self.weight.cpu()

    def mean(self) -> Tensor:
        """Return the mean (R, Z, Y, X); every voxel is in some tile."""
        return self.sum.div_(self.weight)
