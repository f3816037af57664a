"""Choose what a report scores and shows where the user names no protocol: by what the predicted labels mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dataset_conversion.label_conventions import LabelConvention
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, PROTOCOLS, Matching, Protocol, RegionRule, protocol_named


def default_protocol(convention: LabelConvention | None) -> Protocol:
    """Return `DEFAULT` for WT, TC and ET; for other regions the newest challenge that has them, else `protocol_of`.

    Args:
        convention: what the values of the predicted label maps mean; None: nothing says it.
    """
    if convention is None or convention.regions is None:
        return protocol_named(DEFAULT)
    challenges = [protocol for protocol in PROTOCOLS.values() if protocol.labels == convention.tissues]
    return challenges[-1] if challenges else protocol_of(convention.regions)


def protocol_of(regions: Mapping[str, Sequence[int]]) -> Protocol:
    """Return a protocol of regions that no challenge has: overlap and distance of each, in the values of the dataset.

    Args:
        regions: the label values of each, by its name.
    """
    return Protocol(
        name="regions",
        title=f"regions of the dataset ({', '.join(regions)})",
        labels={},
        regions={name: RegionRule(tuple(values)) for name, values in regions.items()},
        penalty=None,
        matching=Matching.NONE,
        ranked_by=("dice", "hd95"),
    )


def in_own_values(maps: LabelMaps, protocol: Protocol) -> LabelMaps:
    """Return label maps of the regions that a protocol of `protocol_of` was made from as having its own values."""
    regions = maps.convention.regions if maps.convention else None
    if regions is None or protocol_of(regions) != protocol:
        return maps
    return replace(maps, convention=None)
