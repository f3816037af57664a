"""Bring a label map and images that are given one by one together, whatever the files are called."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import CaseSet, single_case
from nnunet_resunet_ds.base.case_notes import IMAGES
from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import is_same
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.run_file import entries_of
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, are_other_cases


def label_map_as(case: str, maps: LabelMaps) -> LabelMaps:
    """Return label maps, of which one that was given as a file is now of this case, unless it names another patient."""
    if not maps.source.is_file():
        return maps
    ((name, file),) = maps.files.items()
    return maps if are_other_cases(name, case) else replace(maps, files={case: file})


def images_as(case: str, images: CaseSet, label_map: Path) -> CaseSet:
    """Return images; if they are of one case, it gets the name of the label map, unless it is another patient.

    Args:
        case: by the name of the label map.
        images: that were found.
        label_map: as it was given, file or folder.
    """
    if not label_map.is_file() or len(images.cases) != 1 or images.problems:
        return images
    (found,) = images.cases
    if found.case_id == case or are_other_cases(found.case_id, case) or _was_made_of_others(label_map, found):
        return images
    LOG.warning("%s: shown with the images of %s, the one case there", label_map, found.case_id)
    return replace(images, cases=[replace(found, case_id=case)])


def images_given(files: Mapping[str, Path], maps: LabelMaps) -> CaseSet:
    """Return the one case of images that were given one by one.

    Args:
        files: sequence (T1, T1ce, T2, FLAIR) → image.
        maps: the predictions.

    Raises:
        InputError: there are several predictions, or run.json says that this one was made of other images.
    """
    (case, label_map), *others = maps.files.items()
    if others:
        msg = f"{maps.source}: has {len(maps.files)} cases, and the images are of one; give its label map alone"
        raise InputError(msg)
    noted = _noted_images(entries_of([label_map]).get(label_map, {}))
    for sequence, file in files.items():
        if sequence in noted and not is_same(noted[sequence], file):
            msg = f"{file}: is not the {sequence} image that {label_map} was made of, as run.json next to it says"
            raise InputError(msg)
    images = single_case(case, files, [name for name in CHANNEL_NAMES if name in files])
    warn_each(f"{note}, so pictures have these names" for note in images.cases[0].notes)
    return images


def other_images_warnings(images: CaseSet, maps: LabelMaps) -> Iterator[str]:
    """Yield a line about cases whose images are not those that their label maps were made of, as run.json says."""
    entries = entries_of(maps.files.values())
    found = {case.case_id: case for case in images.cases}
    others = [
        case for case, file in maps.files.items() if case in found and _are_others(entries.get(file, {}), found[case])
    ]
    if others:
        yield (
            f"{maps.source}: {counted(len(others), 'case')} shown with images that the label map was not made of, such "
            f"as {others[0]} ({found[others[0]].folder}): of another patient, or changed since?"
        )


def _was_made_of_others(label_map: Path, found: RawCase) -> bool:
    """Tell whether run.json next to a label map says that it was made of other images."""
    return _are_others(entries_of([label_map]).get(label_map, {}), found)


def _are_others(entry: Mapping[str, Any], found: RawCase) -> bool:
    """Tell whether an entry of run.json notes images, and none of those that were found is among them."""
    noted = _noted_images(entry)
    return bool(noted) and not any(
        is_same(identity, file) for identity in noted.values() for file in found.images.values()
    )


def _noted_images(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return sequence → identity of the images that a label map was made of, by its entry in run.json."""
    noted = entry.get(IMAGES)
    return noted if isinstance(noted, Mapping) else {}
