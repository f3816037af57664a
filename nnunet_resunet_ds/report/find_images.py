"""Find the images of the cases that are shown."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import CaseSet, find_prediction_cases
from dataset_conversion.sequences import optional_channels, sequence_named
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON


def find_images(
    images: Sequence[Path],
    prediction: Path,
    edition: str,
    edition_file: Path | None,
    absent: Mapping[str, Sequence[str]],
) -> CaseSet:
    """Find the images of cases; leave out sequences that no case has.

    Args:
        images: folders of raw BraTS cases, or of nnU-Net's images.
        prediction: folder of label maps.
        edition: of the images, see `detect_edition`.
        edition_file: the description of a custom edition.
        absent: case id → sequences without which it was predicted; it may lack these, and no others.

    Raises:
        InputError: no case, or no edition.
    """
    names = _channel_names([*(folder.resolve().parent for folder in images), prediction])
    allowed = {name for of_case in absent.values() for name in of_case if name in names or sequence_named(name)}
    found = find_prediction_cases(images, names, edition, edition_file, allowed)
    there = {name for case in found.cases for name in case.images}
    left = tuple(name for name, channel in zip(names, found.channels, strict=True) if channel in there)
    if left != names:
        found = find_prediction_cases(images, left, edition, edition_file, allowed)
    cases = [_may_lack(case, allowed & set(absent.get(case.case_id, ())), allowed, found) for case in found.cases]
    return replace(found, cases=cases)


def _may_lack(case: RawCase, absent: Collection[str], allowed: Collection[str], found: CaseSet) -> RawCase:
    """Return a case that may lack what it lacked when it was converted or predicted, and not what others lacked.

    Args:
        case: of ``found``, which let it lack all that is allowed.
        absent: what it lacked when it was predicted.
        allowed: what any case lacked then.
        found: with the names of the channels.
    """
    of_others = optional_channels(allowed, found.channels)
    own = optional_channels(absent, found.channels)
    return replace(case, optional=(*own, *(name for name in case.optional if name not in of_others)))


def _channel_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the channel names in the first dataset.json of these folders; BraTS' names where there is none."""
    for folder in folders:
        try:
            names = read_json(folder / DATASET_JSON)["channel_names"]
            return tuple(str(names[key]) for key in sorted(names, key=int))
        except (InputError, LookupError, TypeError, ValueError):
            continue  # no dataset.json, or no names in it
    return CHANNEL_NAMES
