"""The nestings of all regions of a configuration: of WT, TC and ET, and of further regions, which lie over them."""

from functools import partial

from nnunet_resunet_ds.base.regions import Region, Tissue
from postprocessing.config import PostprocessingConfig
from postprocessing.further_region import FurtherRegion
from postprocessing.nesting import NESTINGS, Nesting
from postprocessing.thresholds import labels_without


def nestings_of(config: PostprocessingConfig, n_outputs: int) -> dict[str, Nesting]:
    """Return the nesting of each region, by its name.

    Args:
        config: its regions.
        n_outputs: how many the model has; regions of the configuration that come after these are not there.
    """
    n = config.n_tumour_regions
    further = {
        region.name: _nesting(region, channel, config)
        for channel, region in enumerate(config.further[: n_outputs - n], start=n)
    }
    return {**further, **(NESTINGS if config.tumour_regions else {})}


def _nesting(region: FurtherRegion, channel: int, config: PostprocessingConfig) -> Nesting:
    """Return the nesting of a further region: it grows into background alone, and uncovers what it was painted over."""
    return Nesting(
        Region(region.name, region.name, (region.label,)),
        channel,
        entered=region.label,
        around=Tissue.BACKGROUND,
        below=partial(labels_without, region, config=config),
    )
