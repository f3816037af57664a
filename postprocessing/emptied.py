"""Say where a step has taken all of a region away, and how to keep it: a user would take it for never found."""

from collections.abc import Iterator, Sequence

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.regions import ET, TC, WT
from postprocessing.case import Change
from postprocessing.config import PostprocessingConfig
from postprocessing.settings import SETTINGS
from postprocessing.step import Step

_NAMES = {WT.name: "tumour", TC.name: "tumour core", ET.name: "enhancing tumour"}


def emptied_warnings(changes: Sequence[Change], config: PostprocessingConfig) -> Iterator[str]:
    """Yield ``KIND: detail`` for each step that took the last voxels of a region of one case.

    Args:
        changes: of the case.
        config: that it was post-processed with.
    """
    for change in changes:
        if change.emptied:
            kind = f"{change.step} removed all {_NAMES.get(change.emptied, change.emptied)}"
            amount = f"{counted(change.voxels, 'voxel')}, mean probability {change.mean_probability:.2f}"
            yield f"{kind}{_remedy(change, config)}: {amount}"


def _remedy(change: Change, config: PostprocessingConfig) -> str:
    """Return which flags keep what a step took: those that switch it off, and the later ones of the same regions."""
    steps = [one for one in config.steps if one.is_on]
    first = [one.name for one in steps].index(change.step)
    later = [one for one in steps[first:] if one.region in (steps[first].region, change.emptied)]
    flags = [flag for one in later for flag in _flags_to_switch_off(one)]
    return f" ({' '.join(flags)} keeps it)"


def _flags_to_switch_off(step: Step) -> Iterator[str]:
    for field in step.switches:
        setting = step.setting(field)
        if getattr(step, field):
            yield f"--{setting.replace('_', '-')} 0" if setting in SETTINGS else f"--set {setting}=0"
