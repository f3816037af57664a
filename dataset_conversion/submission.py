"""Translate label maps to the values of a BraTS edition, ready to hand in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dataset_conversion.declared_labels import check_said, declared_convention
from dataset_conversion.detect_edition import AUTO, edition_by_case_ids, edition_doubts
from dataset_conversion.editions import Edition
from dataset_conversion.label_conventions import NNUNET_CONVENTION, LabelConvention, convention_named
from dataset_conversion.labels import listed, nnunet_labels, raw_labels
from nnunet_resunet_ds.base.case_notes import weights_setting, with_notes_of_case
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import (
    FILE_ENDING,
    IMAGE_ENDINGS,
    case_of_file,
    visible_files,
)
from nnunet_resunet_ds.base.images import read_labels, write_labels
from nnunet_resunet_ds.base.label_map_folder import check_output_apart, only_run, results_of_all
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.base.run_file import MADE_BY, RUN, RunFile, entries_of, notes_on_unmade

_SUBMISSION = "resunet-ds submission"


def write_submission(
    input_folder: Path,
    output_folder: Path,
    edition: str = AUTO,
    *,
    edition_file: Path | None = None,
    labels: str | None = None,
    overwrite: bool = False,
) -> tuple[Edition, list[Path]]:
    """Translate every ``CASE.nii.gz`` of a folder; geometry stays, values become the edition's, as uint8.

    Names stay, but for MEN-RT, which wants ``CASE_gtv.nii.gz``.

    What the values are now is taken from what lies next to the label maps, see `declared_convention`. ``run.json`` in
    the output says what they are there; it is not to be handed in. A case that fails does not stop the others.

    Args:
        input_folder: label maps, for example what ``resunet-ds postprocess`` or ``predict`` wrote.
        output_folder: for the translated files.
        edition: a key of `EDITIONS`, a year, ``"auto"`` to tell it from the file names, or ``"custom"``.
        edition_file: the description of a custom edition.
        labels: what the values are now, one of `CONVENTIONS`; None: as is declared.
        overwrite: label maps of other settings may stay in the output.

    Returns:
        The edition, and the files written.

    Raises:
        InputError: no label maps, an edition that cannot be told, values that nothing declares, the output is the
            input, the input is a submission already, or cases failed; then the message has a line a case, and the
            others are written.
    """
    files = _label_maps(input_folder)
    case_ids = [case_of_file(file) for file in files]
    chosen = edition_by_case_ids(edition, case_ids, edition_file).edition
    check_output_apart(output_folder, [input_folder])
    given = _given_convention(files, labels, chosen)
    _check_kind(given, chosen, input_folder)
    never = [chosen.tissue_name(tissue) for tissue in chosen.tissues.values() if tissue not in given.tissues.values()]
    if never:
        LOG.warning("these label maps never have %s, which %s asks for", ", ".join(never), chosen.title)
    warn_each([*filter(None, [edition_doubts(chosen, case_ids)]), *notes_on_unmade(input_folder)])
    before = entries_of(files)
    settings = {MADE_BY: _SUBMISSION, **weights_setting(before.values()), **LabelConvention.of(chosen).to_settings()}
    run_file = RunFile(output_folder, settings, {"label_maps": str(input_folder.resolve())})
    work = partial(_translate, output_folder=output_folder, given=given, edition=chosen)
    settle = partial(_note, run_file, before)
    with only_run(run_file, case_ids, overwrite=overwrite):
        outcomes = for_each(files, work, "translate", settle=settle)
    return chosen, results_of_all(outcomes)


def _note(run_file: RunFile, before: Mapping[Path, Mapping[str, Any]], file: Path, outcome: Path | InputError) -> None:
    """Write the result of a case to run.json, with the notes on it of the run.json of the input."""
    if isinstance(outcome, InputError):
        run_file.note_failure(case_of_file(file), str(outcome))
    else:
        run_file.note(case_of_file(file), outcome.name, with_notes_of_case([before[file]] if file in before else []))


def _given_convention(files: Sequence[Path], labels: str | None, edition: Edition) -> LabelConvention:
    """Return what the values of the label maps are now.

    Raises:
        InputError: they are to be handed in as they are.
    """
    if labels is not None:
        said = convention_named(labels)
        check_said(said, files, "leave --labels out")
        return _nnunet_values(edition) if said is NNUNET_CONVENTION else said
    declared = declared_convention(files)
    folder = files[0].parent
    if declared is None:
        msg = (
            f"{folder}: nothing says what the values of its label maps are; say it with --labels: "
            f"{NNUNET_CONVENTION.key} where 1 is oedema, 2 necrosis and 3 enhancing tumour, or an edition, such as "
            "2023-gli"
        )
        raise InputError(msg)
    if declared.made_by is not None and declared.made_by.get(MADE_BY) == _SUBMISSION:
        msg = (
            f"{folder}: is a submission with the values of {declared.convention.title} already, as {RUN} says; hand it "
            "in as it is, or translate what it was made from"
        )
        raise InputError(msg)
    LOG.info("%s: label values of %s, %s", folder, declared.convention.title, declared.reason)
    return declared.convention


def _nnunet_values(edition: Edition) -> LabelConvention:
    """Return nnU-Net's values of a dataset of the edition, for label maps of which nothing else says what they are."""
    return replace(NNUNET_CONVENTION, tissues={int(tissue): tissue for tissue in edition.tissues.values()})


def _check_kind(given: LabelConvention, edition: Edition, folder: Path) -> None:
    """Refuse to hand in tissues as targets of radiotherapy, the other way round, or regions that BraTS does not have.

    Raises:
        InputError: the label values mean things of another kind.
    """
    kinds = [{type(tissue) for tissue in scheme.values()} for scheme in (given.tissues, edition.tissues)]
    if kinds[0] != kinds[1]:
        msg = (
            f"{folder}: has the label values of {given.title}, and {edition.title} labels other things; name the "
            "edition of these cases with --edition, or say what the values are with --labels"
        )
        raise InputError(msg)


def _translate(file: Path, output_folder: Path, given: LabelConvention, edition: Edition) -> Path:
    """Write one file and return it."""
    geometry, labels = read_labels(file)
    known = {value for value, tissue in given.tissues.items() if tissue in edition.tissues.values()}
    unknown = sorted(set(np.unique(labels).tolist()) - known)
    if unknown:
        msg = (
            f"{file}: label values {listed(unknown)} are not among {given.title}'s {listed(sorted(known))} for "
            f"{edition.title}; is it a label map of another dataset?"
        )
        raise InputError(msg)
    translated = raw_labels(nnunet_labels(labels, given.tissues), edition.tissues)
    written = output_folder / f"{case_of_file(file)}{edition.submission_suffix}{FILE_ENDING}"
    write_labels(translated, geometry, written)
    return written


def _label_maps(folder: Path) -> list[Path]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder"
        raise InputError(msg)
    files = [file for ending in IMAGE_ENDINGS for file in visible_files(folder, ending)]
    if not files:
        endings = ", ".join(IMAGE_ENDINGS)
        msg = f"{folder}: no label maps ({endings}) here; give what resunet-ds predict or postprocess wrote"
        raise InputError(msg)
    for case, count in Counter(map(case_of_file, files)).items():
        if count > 1:
            msg = f"{folder}: has {case} as {' and '.join(IMAGE_ENDINGS)}; leave one of them there"
            raise InputError(msg)
    return sorted(files)
