"""The way back out: label maps in nnU-Net's values to those of a BraTS edition, ready to hand in."""

from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np

from dataset_conversion.detect import AUTO, edition_by_case_ids
from dataset_conversion.edition import FILE_ENDING, Edition
from dataset_conversion.labels import raw_labels
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.images import read_labels, write_labels
from nnunet_resunet_ds.mapping import for_each, results_and_problems


def write_submission(
    input_folder: Path,
    output_folder: Path,
    edition: str = AUTO,
    *,
    edition_file: Path | None = None,
    executor: Executor | None = None,
) -> tuple[Edition, list[Path]]:
    """Translate every ``CASE.nii.gz`` of a folder; names and geometry stay, values become the edition's, as uint8.

    A case that fails does not stop the others.

    Args:
        input_folder: label maps in nnU-Net's values, for example what ``resunet-ds postprocess`` wrote.
        output_folder: for the same file names.
        edition: a key of `EDITIONS`, a year, ``"auto"`` to tell it from the file names, or ``"custom"``.
        edition_file: the description of a custom edition.
        executor: who translates; None is a thread for each core.

    Returns:
        The edition, and the files written.

    Raises:
        InputError: no label maps, an edition that cannot be told, the output is the input, or cases failed; then the
            message has a line a case, and the others are written.
    """
    files = _label_maps(input_folder)
    chosen = edition_by_case_ids(edition, [file.name.removesuffix(FILE_ENDING) for file in files], edition_file).edition
    if output_folder.resolve() == input_folder.resolve():
        msg = f"{output_folder}: the output would overwrite the input; give another folder with -o"
        raise InputError(msg)
    output_folder.mkdir(parents=True, exist_ok=True)
    work = partial(_translate, output_folder=output_folder, edition=chosen)
    written, problems = results_and_problems(for_each(files, work, "translate", executor))
    if problems:
        raise InputError("\n".join([*problems, f"{len(problems)} cases failed, {len(written)} are written"]))
    return chosen, written


def _translate(file: Path, output_folder: Path, edition: Edition) -> Path:
    """Write one file and return it."""
    geometry, labels = read_labels(file)
    known = set(map(int, edition.tissues.values()))
    unknown = sorted(set(np.unique(labels).tolist()) - known)
    if unknown:
        msg = (
            f"{file}: label values {', '.join(map(str, unknown))} are not among nnU-Net's "
            f"{', '.join(map(str, sorted(known)))} for {edition.title}; is it a label map of another dataset?"
        )
        raise InputError(msg)
    write_labels(raw_labels(labels, edition.tissues), geometry, output_folder / file.name)
    return output_folder / file.name


def _label_maps(folder: Path) -> list[Path]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder"
        raise InputError(msg)
    files = sorted(path for path in folder.glob(f"*{FILE_ENDING}") if not path.name.startswith("."))
    if not files:
        msg = f"{folder}: no label maps ({FILE_ENDING}) here; give the output folder of resunet-ds postprocess"
        raise InputError(msg)
    return files
