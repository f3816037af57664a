"""A label map of a case after thresholds and some steps, with what is known of it."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.tuning.tissues import Tissues
from postprocessing.component_table import Components
from postprocessing.volume import Labels, Moves, Volume

Counts = NDArray[np.int64]
"""(values of the reference, values of the label map): the voxels that have both."""


class RegionKnown:
    """What is known of the voxels of a region. All label maps in which these are the same voxels share it."""

    def __init__(self) -> None:
        self.scores: dict[Hashable, list[float]] = {}
        """Who scores these voxels → the scores."""
        self.components: Components | None = None
        """Where a step has asked for them."""


class LabelStage:
    """A label map of a case, and how many voxels it has of which reference.

    Args:
        volume: the label map; it stays as it is.
        counts: its voxels, see `Counts`.
        known: of regions in it.
    """

    def __init__(self, volume: Volume, counts: Counts, known: dict[Tissues, RegionKnown]) -> None:
        self.volume = volume
        self.counts = counts
        self.scores: dict[Hashable, list[float]] = {}
        """Who scores the whole label map → the scores."""
        self._known = known

    @property
    def labels(self) -> Labels:
        """(Z, Y, X), in nnU-Net's values."""
        return self.volume.labels

    def known_of(self, tissues: Tissues) -> RegionKnown:
        """Return what is known of a region."""
        return self._known.setdefault(tissues, RegionKnown())

    def size_of(self, tissues: Tissues) -> int:
        """Return the number of voxels of a region."""
        return int(self.counts[:, tissues].sum())

    def after(self, moves: Moves, reference: Labels) -> "LabelStage":
        """Return the label map after a step; regions that the step leaves as they are stay known.

        Args:
            moves: what the step does.
            reference: (Z, Y, X), in nnU-Net's values.
        """
        voxels = np.concatenate([moves.left, moves.entered])
        if not len(voxels):
            return self
        volume = self.volume.copy()
        before = volume.labels.reshape(-1)[voxels]
        volume.take(moves)
        after = volume.labels.reshape(-1)[voxels]
        expected, n = reference.reshape(-1)[voxels], self.counts.shape
        counts = self.counts + count_pairs(expected, after, n) - count_pairs(expected, before, n)
        changes = np.argwhere(count_pairs(before, after, (n[1], n[1]))).tolist()
        known = {tissues: of for tissues, of in self._known.items() if not _is_changed(tissues, changes)}
        return LabelStage(volume, counts, known)


def _is_changed(tissues: Tissues, changes: Sequence[Sequence[int]]) -> bool:
    """Tell whether a region has other voxels after some went from one value to another, ``changes`` [before, after]."""
    return any((before in tissues) != (after in tissues) for before, after in changes)


def count_pairs(first: NDArray[np.uint8], second: NDArray[np.uint8], shape: tuple[int, int]) -> Counts:
    """Count how often two arrays have each pair of values at one place; ``shape``: one more than the largest values."""
    codes = first.astype(np.intp) * shape[1] + second
    return np.bincount(codes.ravel(), minlength=shape[0] * shape[1]).astype(np.int64, copy=False).reshape(shape)
