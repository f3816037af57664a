"""Regions as label values."""

from nnunet_resunet_ds.base.regions import Region

Tissues = tuple[int, ...]
"""The label values of a region, ascending."""


def tissues_of(region: Region) -> Tissues:
    """Return the label values of a region as plain numbers."""
    return tuple(sorted(map(int, region.tissues)))
