"""Checking a cohort before anything is written: every problem is found in one run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dataset_conversion.editions import FILE_ENDING, Edition
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.images import geometry_difference, read_image, read_labels

MAX_VALUES_SHOWN = 8
"""Of unknown labels; an image taken for a label map has hundreds."""


def cohort_problems(cases: Sequence[RawCase], edition: Edition) -> dict[str, list[str]]:
    """Return what is wrong with how files and cases fit together, by case id, without opening a file.

    An input folder in which no case has a segmentation is a test set. In any other, a missing segmentation is a
    problem: it is far more often a broken download than a wish.
    """
    problems: dict[str, list[str]] = defaultdict(list)
    labelled_sources = {case.source for case in cases if case.segmentation}
    folders: dict[str, Path] = {}
    for case in cases:
        found = problems[case.case_id]
        if case.case_id in folders:
            found.append(f"{case.folder}: case {case.case_id} is also in {folders[case.case_id]}; remove one of them")
        folders[case.case_id] = case.folder
        found += _missing_images(case, edition)
        if case.segmentation is None and case.source in labelled_sources:
            missing = case.folder / (case.case_id + edition.segmentation_suffix + FILE_ENDING)
            found.append(f"{missing}: missing; add it, or give unlabelled cases as an input folder of their own")
    return {case_id: found for case_id, found in problems.items() if found}


def _missing_images(case: RawCase, edition: Edition) -> list[str]:
    needed = ", ".join(edition.image_suffixes)
    return [
        f"{case.folder / (case.case_id + suffix + FILE_ENDING)}: missing; all of {needed} are needed"
        for channel, suffix in edition.image_suffixes.items()
        if channel not in case.images
    ]


def file_problems(case: RawCase, edition: Edition) -> list[str]:
    """Open every file of a case and return what is wrong with them, in words that name file and remedy."""
    problems: list[str] = []
    opened: dict[Path, sitk.Image] = {}
    for path in (*case.images.values(), *([case.segmentation] if case.segmentation else [])):
        try:
            if path == case.segmentation:
                opened[path], values = read_labels(path)
                problems += _label_problems(path, values, edition)
            else:
                opened[path] = read_image(path)
                problems += _intensity_problems(path, opened[path])
        except InputError as error:
            problems.append(str(error))
    return problems + _geometry_problems(opened)


def _geometry_problems(opened: Mapping[Path, sitk.Image]) -> list[str]:
    """Name the files whose voxel grid is not that of most others in the case."""
    if not opened:
        return []
    reference = max(opened, key=lambda path: sum(not _difference(opened, other, path) for other in opened))
    advice = "co-register all images of the case on one grid"
    problems = [
        f"{path}: has {image.GetDimension()} dimensions instead of 3; give one 3-D file a modality"
        for path, image in opened.items()
        if image.GetDimension() != 3
    ]
    for path in opened:
        difference = _difference(opened, path, reference)
        if difference and opened[path].GetDimension() == 3:
            problems.append(f"{path}: {difference} as in {reference.name}; {advice}")
    return problems


def _difference(opened: Mapping[Path, sitk.Image], path: Path, reference: Path) -> str | None:
    return geometry_difference(opened[path], opened[reference])


def _intensity_problems(path: Path, image: sitk.Image) -> list[str]:
    if not sitk.GetArrayViewFromImage(image).any():
        return [f"{path}: is zero everywhere; get the file again"]
    return []


def _label_problems(path: Path, values: np.ndarray, edition: Edition) -> list[str]:
    unknown = sorted(set(np.unique(values).tolist()) - set(edition.tissues))
    if not unknown:
        return []
    known = ", ".join(map(str, sorted(edition.tissues)))
    shown = ", ".join(map(str, unknown[:MAX_VALUES_SHOWN])) + (" …" if len(unknown) > MAX_VALUES_SHOWN else "")
    return [
        f"{path}: label values {shown} are not among {edition.title}'s {known}; "
        "name the right edition with --edition, or mend the label map"
    ]
