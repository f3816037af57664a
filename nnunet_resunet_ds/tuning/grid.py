"""What is searched: the numbers of the post-processing, alone or in pairs, and their values from mild to strong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from nnunet_resunet_ds.base.regions import ET
from nnunet_resunet_ds.tuning.stored_case import LOWEST_THRESHOLD
from postprocessing.config import PostprocessingConfig
from postprocessing.further_region import FurtherRegion
from postprocessing.model_config import default_config, has_region_inside_wt
from postprocessing.settings import SETTINGS
from postprocessing.step import in_settings

Values = tuple[float, ...]
"""One for each name of a coordinate."""


@dataclass(frozen=True)
class Coordinate:
    """Numbers of the settings that are searched together.

    Args:
        names: of `PostprocessingConfig.settings`.
        rungs: values to try. Those of one rung are tried together. The next rung is stronger, and is tried only where
            the one before did not lose.
    """

    names: tuple[str, ...]
    rungs: tuple[tuple[Values, ...], ...]

    @property
    def is_sweep(self) -> bool:
        """Whether all values are always tried."""
        return len(self.rungs) == 1

    @property
    def values(self) -> tuple[Values, ...]:
        """All values."""
        return tuple(values for rung in self.rungs for values in rung)

    def changed(self, config: PostprocessingConfig, values: Sequence[Values]) -> list[PostprocessingConfig]:
        """Return the settings with each of these values; none where they have no effect."""
        if not any(config.has_effect(name) for name in self.names):
            return []
        types = [config.settings[name].number.type for name in self.names]
        return [
            config.with_values(**{name: of(value) for name, of, value in zip(self.names, types, row, strict=True)})
            for row in values
        ]


Grid = tuple[Coordinate, ...]


def sweep(name: str, *values: float) -> Coordinate:
    """Return a number of which all values are tried."""
    return Coordinate((name,), (tuple((value,) for value in values),))


def ladder(name: str, *values: float) -> Coordinate:
    """Return a number of which values are tried one by one, from mild to strong, until one loses."""
    return Coordinate((name,), tuple(((value,),) for value in values))


def _hysteresis(region: str) -> Coordinate:
    """Return both numbers of a hysteresis: the lower the first, the more the region grows."""
    names = (f"{region}_hysteresis_low", f"{region}_hysteresis_high")
    return Coordinate(names, tuple(tuple(product((low,), _SEEDS)) for low in _REACHES))


_REACHES, _SEEDS = (0.4, 0.3, 0.2), (0.5, 0.6, 0.7, 0.8)
THRESHOLDS = tuple(round(LOWEST_THRESHOLD + 0.05 * step, 2) for step in range(12))
"""0.2 to 0.75."""
GRID: Grid = (
    *(sweep(region, *THRESHOLDS) for region in ("wt", "tc", "et")),
    sweep("et_component_voxels", 0, 8, 16, 32, 64, 128, 256),
    sweep("et_component_probability", 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
    sweep("et_total_voxels", 0, 73, 150, 300, 600),
    sweep("et_total_probability", 0.7, 0.8, 0.9, 0.95, 1.0),
    sweep("tc_component_voxels", 0, 16, 64, 256),
    sweep("tc_component_probability", 0.7, 0.9, 1.0),
    sweep("wt_component_voxels", 0, 16, 64, 256, 1024),
    sweep("wt_component_probability", 0.7, 0.9, 1.0),
    *(ladder(f"{region}_mean", 0.5, 0.6, 0.7, 0.8) for region in ("wt", "tc", "et")),
    *(ladder(f"{region}_peak", 0.6, 0.7, 0.8, 0.9, 0.95) for region in ("wt", "tc", "et")),
    *(ladder(f"{region}_largest", 5, 3, 2, 1) for region in ("wt", "tc", "et")),
    *(ladder(f"{region}_total_voxels", 50, 200, 1000) for region in ("wt", "tc")),
    *(sweep(f"{region}_total_probability", 0.7, 0.9, 1.0) for region in ("wt", "tc")),
    *(ladder(f"{region}_hole_voxels", 10, 100, 1000) for region in ("wt", "tc")),
    *(_hysteresis(region) for region in ("wt", "tc", "et")),
    *(ladder(f"{region}_closing", 1, 2) for region in ("wt", "tc")),
    *(ladder(f"{region}_opening", 1, 2) for region in ("wt", "tc")),
)
"""What is searched for WT, TC and ET, in this order: later regions lie in earlier ones, and steps that rarely help and
take long come last. Holes of ET are necrosis, and stay."""


def grid_of(dataset_json: Mapping[str, Any]) -> Grid:
    """Return what is searched for the regions of a dataset.

    Steps of WT and TC are left out where a further region is part of WT: they would count the tumour without it.

    Args:
        dataset_json: a checked one.
    """
    start = default_config(dataset_json)
    n_further = len(dataset_json["regions_class_order"]) - start.n_tumour_regions
    usual = GRID if start.tumour_regions else ()
    if start.tumour_regions and has_region_inside_wt(dataset_json):
        usual = tuple(coordinate for coordinate in usual if not any(map(_is_around_further, coordinate.names)))
    further = start.further[:n_further]
    return (*usual, *(coordinate for region in further for coordinate in _of_further(region)))


def _of_further(region: FurtherRegion) -> Grid:
    """Return what is searched for a further region: its threshold, and steps that take false components away."""
    name = in_settings(region.name)
    return (
        sweep(region.setting, *THRESHOLDS),
        ladder(f"{name}_component_voxels", 16, 64, 256),
        sweep(f"{name}_component_probability", 0.7, 0.9, 1.0),
        ladder(f"{name}_mean", 0.6, 0.7, 0.8),
        ladder(f"{name}_peak", 0.7, 0.8, 0.9),
        ladder(f"{name}_total_voxels", 50, 200, 1000),
        sweep(f"{name}_total_probability", 0.7, 0.9, 1.0),
    )


def _is_around_further(name: str) -> bool:
    """Tell whether a number is of a step of WT or TC."""
    step = SETTINGS[name].step
    return step is not None and step.region != ET.name


def names_of(grid: Grid) -> list[str]:
    """Return the names of all numbers that are searched."""
    return [name for coordinate in grid for name in coordinate.names]
