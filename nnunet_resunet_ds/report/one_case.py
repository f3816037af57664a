"""Take a label map that is given as a file for that of the one case there is, whatever the file is called."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import CaseSet
from nnunet_resunet_ds.base.case_notes import IMAGES
from nnunet_resunet_ds.base.files import is_same
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.run_file import entries_of
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, are_other_cases


def label_map_as(case: str, maps: LabelMaps) -> LabelMaps:
    """Return label maps, of which one that was given as a file is now of this case, unless it names another patient."""
    if not maps.source.is_file():
        return maps
    ((name, file),) = maps.files.items()
    return maps if are_other_cases(name, case) else replace(maps, files={case: file})


def images_as(case: str, images: CaseSet, label_map: Path) -> CaseSet:
    """Return images, of which those of a case alone are now of this case, unless they are of another.

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


def _was_made_of_others(label_map: Path, found: RawCase) -> bool:
    """Tell whether run.json next to a label map says that it was made of other images."""
    noted = entries_of([label_map]).get(label_map, {}).get(IMAGES)
    if not isinstance(noted, Mapping):
        return False
    return not any(is_same(identity, file) for identity in noted.values() for file in found.images.values())
