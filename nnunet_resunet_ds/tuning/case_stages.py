"""Post-process one case with many settings: what settings have in common is done once.

Settings that agree in the thresholds and the first steps share the label map up to there. A step that changes nothing
hands on the label map itself. Components are found once for all sizes and probabilities.
"""

from collections.abc import Hashable, Sequence
from dataclasses import fields
from hashlib import blake2b
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.regions import Tissue, mask_of
from nnunet_resunet_ds.tuning.label_stage import Counts, LabelStage, RegionKnown, count_pairs
from nnunet_resunet_ds.tuning.recently_used import RecentlyUsed
from nnunet_resunet_ds.tuning.stored_case import LOWEST_THRESHOLD, StoredCase
from nnunet_resunet_ds.tuning.tissues import Tissues, tissues_of
from postprocessing.component_table import Components
from postprocessing.components import ComponentStep
from postprocessing.config import PostprocessingConfig
from postprocessing.region_nestings import nestings_of
from postprocessing.step import Step
from postprocessing.thresholds import apply_thresholds
from postprocessing.volume import Labels, Moves, Volume

KEPT_BYTES = 48 * 2**20
"""About how much the label maps of a case may take."""
_BYTES_A_VOXEL = 5
"""Of a label map, and of the places and components of its regions."""
_LEAST_KEPT = 6
"""Label maps, so that a few steps find the one before."""


class CaseStages:
    """The label maps of a case.

    Args:
        case: what is post-processed.
        tissues: the regions that will be asked for in each label map.
    """

    def __init__(self, case: StoredCase, tissues: Sequence[Tissues]) -> None:
        self._case = case
        self._tissues = tuple(dict.fromkeys(tissues))
        n_voxels = case.reference.size
        can_be_tumour = (case.probabilities.max(axis=0) >= LOWEST_THRESHOLD) | (case.reference > 0)
        self._places = np.flatnonzero(can_be_tumour)
        self._probabilities = case.probabilities.reshape(-1, 1, 1, n_voxels)[..., self._places]
        self._expected = case.reference.ravel()[self._places]
        self._kept: RecentlyUsed[LabelStage] = RecentlyUsed(max(_LEAST_KEPT, KEPT_BYTES // (_BYTES_A_VOXEL * n_voxels)))
        self._same_voxels: WeakValueDictionary[tuple[int, Tissues, bytes], RegionKnown] = WeakValueDictionary()

    def after(self, config: PostprocessingConfig) -> LabelStage:
        """Return the label map that `postprocess` gives with these settings."""
        stage = self._kept.get(_all_but_steps(config), lambda: self._thresholded(config))
        for step in config.steps:
            if step.is_on and step.region in stage.volume.nestings:
                stage = self._after_step(stage, step)
        return stage

    # ---- thresholds ----

    def _thresholded(self, config: PostprocessingConfig) -> LabelStage:
        labels = np.zeros(self._case.reference.shape, np.uint8)
        if _lowest_threshold(config) < LOWEST_THRESHOLD:
            places, expected = np.arange(labels.size), self._case.reference.ravel()
            found = apply_thresholds(self._case.probabilities, config).ravel()
        else:
            places, expected = self._places, self._expected
            found = apply_thresholds(self._probabilities, config).ravel()
        labels.reshape(-1)[places] = found
        probabilities = self._case.probabilities
        nestings = nestings_of(config, len(probabilities))
        volume = Volume(labels, probabilities, config.connectivity, self._case.voxel_volume, nestings)
        of_steps = [tissues_of(nesting.region) for nesting in nestings.values()]
        known = {tissues: self._known(tissues, found, config.connectivity) for tissues in (*of_steps, *self._tissues)}
        return LabelStage(volume, self._counts(expected, found, config), known)

    def _counts(self, expected: Labels, found: Labels, config: PostprocessingConfig) -> Counts:
        """Count the values at the voxels that can be tumour; all others are background in both."""
        of_regions = [value for tissues in self._tissues for value in tissues]
        values = [int(Tissue.ET), *of_regions, *(region.label for region in config.further)]
        shape = max([int(self._case.reference.max()), *of_regions]) + 1, max(values) + 1
        counts = count_pairs(expected, found, shape)
        counts[0, 0] += self._case.reference.size - len(found)
        return counts

    def _known(self, tissues: Tissues, found: Labels, connectivity: int) -> RegionKnown:
        """Return what is known of a region, where other thresholds gave the same voxels."""
        key = connectivity, tissues, _digest(np.packbits(mask_of(found, tissues)))
        known = self._same_voxels.get(key)
        if known is None:
            known = self._same_voxels[key] = RegionKnown()
        return known

    # ---- steps ----

    def _after_step(self, stage: LabelStage, step: Step) -> LabelStage:
        key: tuple[Hashable, ...] = (stage, step)
        if isinstance(step, ComponentStep):
            removed = step.removed(self._components(stage, step.region), self._case.voxel_volume)
            if not removed.any():
                return stage
            key = stage, step.region, removed.tobytes()  # settings that take the same components share the result
        return self._kept.get(key, lambda: stage.after(step.moves(stage.volume), self._case.reference))

    def _components(self, stage: LabelStage, region: str) -> Components:
        """Find the components of a region once for all label maps with the same voxels of it."""
        volume = stage.volume
        known = stage.known_of(tissues_of(volume.nestings[region].region))
        if known.components is None:
            known.components = volume.components(region)
        else:
            volume.take(Moves(region, after=known.components))
        return known.components


def _digest(values: NDArray[np.generic]) -> bytes:
    return blake2b(values.tobytes(), digest_size=16).digest()


def _all_but_steps(config: PostprocessingConfig) -> tuple[Hashable, ...]:
    return tuple(getattr(config, field.name) for field in fields(config) if field.name != "steps")


def _lowest_threshold(config: PostprocessingConfig) -> float:
    of_tumour = (config.wt, config.tc, config.et) if config.tumour_regions else ()
    return min(*of_tumour, *(region.threshold for region in config.further), 1.0)
