"""Look before any case is read: whether the folders of images have all cases, and whether a reference lies there."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from shlex import quote

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps
from nnunet_resunet_ds.evaluation.pairs import MAX_NAMES_SHOWN
from nnunet_resunet_ds.report.case_files import CaseFiles


def check_images_are_there(folders: Sequence[Path], files: CaseFiles, max_viewers: int) -> None:
    """Check that the folders have images of all cases, as far as pictures of them are wanted.

    Args:
        folders: in which the images were looked for.
        files: of the cases, with the images that were found.
        max_viewers: cases that are shown with pictures; the others need no images.

    Raises:
        InputError: more cases lack images than are shown without pictures.
    """
    names = sorted(files.label_maps[PREDICTION].files)
    missing = [name for name in names if not files.has_images(name)]
    if len(missing) <= max(0, len(names) - max_viewers):
        return
    shown = ", ".join(missing[:MAX_NAMES_SHOWN]) + (" …" if len(missing) > MAX_NAMES_SHOWN else "")
    msg = (
        f"{', '.join(map(str, folders))}: has no images of {len(missing)} of {len(names)} cases: {shown}; give the "
        "folder above it with -i, or leave these out of the report with --skip-invalid"
    )
    raise InputError(msg)


def references_among_images(folders: Sequence[Path], names: Collection[str]) -> Iterator[str]:
    """Yield a line for each folder of images that has segmentations of the cases, too.

    Args:
        folders: of images.
        names: of the cases.
    """
    for folder in folders:
        try:
            maps = find_label_maps(folder)
        except InputError:
            continue  # none, or some of which nothing can be said
        n = sum(name in names for name in maps.files) if maps.of_release else 0
        if n:
            there = f"there are {n} segmentations" if n > 1 else "there is 1 segmentation"
            yield f"{there} in {folder}; compare with {'them' if n > 1 else 'it'}: -ref {quote(str(folder))}"
