"""The images that a report shows: those that are there, by the names that the dataset has for them."""

from collections.abc import Sequence
from pathlib import Path

from dataset_conversion.edition import CHANNEL_NAMES
from dataset_conversion.image_cases import CaseSet, find_prediction_cases
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON


def find_images(images: Sequence[Path], prediction: Path, edition: str, edition_file: Path | None) -> CaseSet:
    """Find the images of cases; a sequence that no case has is left out.

    Args:
        images: folders of raw BraTS cases, or of nnU-Net's images.
        prediction: folder of label maps.
        edition: of the images, see `detect_edition`.
        edition_file: the description of a custom edition.

    Raises:
        InputError: no case, or no edition.
    """
    names = channel_names([*(folder.resolve().parent for folder in images), prediction])
    found = find_prediction_cases(images, names, edition, edition_file)
    there = {name for case in found.cases for name in case.images}
    left = tuple(name for name, channel in zip(names, found.channels, strict=True) if channel in there)
    return found if left == names else find_prediction_cases(images, left, edition, edition_file)


def channel_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return what the first dataset.json in one of these folders calls the channels, in order; else BraTS' names."""
    for folder in folders:
        try:
            names = read_json(folder / DATASET_JSON)["channel_names"]
            return tuple(str(names[key]) for key in sorted(names, key=int))
        except (InputError, LookupError, TypeError, ValueError):
            continue  # none, or nothing in it that helps
    return CHANNEL_NAMES
