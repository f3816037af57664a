"""Print what ``resunet-ds predict`` says before the wait and after it."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.commands.single_case import FLAGS

if TYPE_CHECKING:
    from dataset_conversion.find_cases import RawCase
    from dataset_conversion.image_cases import CaseSet
    from nnunet_resunet_ds.inference.model import Model
    from nnunet_resunet_ds.inference.output import Output
    from nnunet_resunet_ds.inference.pipeline import Predicted
    from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
    from nnunet_resunet_ds.inference.predictor import Predictor
    from nnunet_resunet_ds.models.card import ModelCard

_MAX_NAMES = 3


def introduce(
    options: argparse.Namespace,
    settings: "PredictionSettings",
    models: "list[Model]",
    predictor: "Predictor | None",
    *,
    may_lack: bool,
) -> None:
    """Print how the cases are predicted, some of which may lack a sequence."""
    from nnunet_resunet_ds.inference.model import DROPOUT_TRAINER

    for model in models:
        print(_line_on(model))
    where = f"the workers of {options.scheduler}"
    if predictor:
        where = f"{predictor.device} in {predictor.hardware['precision']}"
    if may_lack and not all(model.knows_absent_channels for model in models):
        LOG.warning(
            "the model was not trained with absent sequences, as %s does: expect less of cases that lack one",
            DROPOUT_TRAINER,
        )
    tiles = settings.tiles if settings.tiles == "whole" else f"{settings.tiles} (step {settings.tile_step:g})"
    n = n_flips(models[0], settings)
    print(f"on {where}: {f'{n} flips' if n > 1 else 'no flips'}, {tiles} tiles, average of {settings.average}")


def _line_on(model: "Model") -> str:
    """Say which model predicts; of the starter model how good it is, in place of its folder."""
    from nnunet_resunet_ds.models.starter import STARTER_FOLDER, starter_card

    folds = f"fold{'' if len(model.weights) == 1 else 's'} {', '.join(model.weights)}"
    if model.folder != STARTER_FOLDER:
        return f"model: {model.folder}, {folds}, {model.checkpoint}"
    return (
        "the starter model: a first look, not a result; mean Dice of cases that it had not seen: "
        f"{_starter_dice(starter_card(), list(model.weights))}; {folds}; choose your own with -d or -m"
    )


def _starter_dice(card: "ModelCard", folds: Sequence[str]) -> str:
    """Return what the card says of all folds together, or of each of those that predict, where they are not all."""
    if set(folds) == set(card.weights):
        return _numbers(card.dice)
    return "; ".join(f"fold {row['fold']}: {_numbers(row['dice'])}" for row in card.folds if row["fold"] in folds)


def _numbers(dice: Mapping[str, float]) -> str:
    return ", ".join(f"{region} {value:.2f}" for region, value in dice.items())


def n_flips(model: "Model", settings: "PredictionSettings") -> int:
    """Return over how many flips a prediction is averaged; 1 is none but the image as it is."""
    return 2 ** len(model.mirror_axes) if settings.use_mirroring else 1


def say_cases(case_set: "CaseSet", files: Mapping[str, Path]) -> None:
    """Print which cases were found; of a single case which image is read as what, and what its names say otherwise.

    Args:
        case_set: the cases.
        files: sequence → image, where one case is given so.
    """
    from dataset_conversion.file_sequences import cases_named, named_otherwise

    n = counted(len(case_set.cases), "case")
    if not files:
        print(f"{n}, read as {case_set.edition.title}: {case_set.reason}")
        return
    print(f"{n}, {case_set.cases[0].case_id}: {case_set.reason}")
    used = {name: file for name, file in files.items() if name in case_set.channels}
    for sequence, file in named_otherwise(used, case_set.channels).items():
        LOG.warning("--%s is %s: are two images exchanged?", FLAGS[sequence], file.name)
    cases = cases_named(used.values())
    if len(cases) > 1:
        LOG.warning("these images are named as of %s: are they of one patient and visit?", _listed(cases))


def say_what_is_there(output: "Output", cases: "Sequence[RawCase]", options: argparse.Namespace) -> None:
    """Print which label maps in the output folder are replaced, and warn of those that stay and are not of ours.

    Args:
        output: the folder, open.
        cases: that are to be predicted.
        options: of the command.
    """
    from nnunet_resunet_ds.inference.found_there import found_there

    found = found_there(output, [case.case_id for case in cases])
    if found.alike and not options.resume:
        print(f"{_there(found.alike)}; --continue leaves {'it' if len(found.alike) == 1 else 'them'}")
    if found.others and not options.resume:
        print(f"{_there(found.others)}: other settings or another program made {_listed(found.others)}")
    if found.foreign and options.output.is_dir():
        LOG.warning(
            "%s holds %s, which this command did not write: move what is no prediction, or give another folder; "
            "evaluate and report read every label map there",
            output.folder,
            _listed(found.foreign),
        )


def _there(names: Sequence[str]) -> str:
    was, is_ = ("was", "is") if len(names) == 1 else ("were", "are")
    return f"{counted(len(names), 'label map')} {was} there and {is_} replaced"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def conclude(predicted: "Predicted", output: "Output") -> None:
    """Print what came of the cases of this run.

    Raises:
        InputError: cases failed.
    """
    from dataset_conversion.cohort import absence_lines, warning_lines
    from nnunet_resunet_ds.uncertainty.maps import FOLDER as MAPS_FOLDER
    from postprocessing.case import summary_lines

    written = set(predicted.written)
    changes = {case: of_case for case, of_case in output.changes.items() if case in written}
    for line in (*summary_lines(changes), *absence_lines(predicted.absent), *warning_lines(predicted.warnings)):
        print(line)
    print(f"wrote {_written(predicted, output)}")
    if output.writer.map_kinds:
        print(f"maps of uncertainty ({' and '.join(output.writer.map_kinds)}): {output.folder / MAPS_FOLDER}")
    for fault in predicted.faults.values():
        print("\n".join(predicted.failures.values()))
        raise fault
    if predicted.failures:
        lines = [predicted.failures[case_id] for case_id in sorted(predicted.failures)]
        n_failed = f"{counted(len(lines), 'case')} failed; correct {'it' if len(lines) == 1 else 'them'} and run again"
        raise InputError("\n".join([*lines, f"{n_failed} with --continue"]))


def _written(predicted: "Predicted", output: "Output") -> str:
    """Say what is written: of a single case its file, else how many label maps; and what lies next to them."""
    from nnunet_resunet_ds.base.run_file import RUN
    from postprocessing.case import TABLE

    written, n_there = predicted.written, len(predicted.skipped)
    what = f"{counted(len(written), 'label map')} to {output.folder}"
    if len(written) == 1 and not n_there and not predicted.failures:
        what = str(output.writer.label_map(written[0]))
    there = f", {n_there} {'was' if n_there == 1 else 'were'} there" if n_there else ""
    return f"{what}{there}; {RUN} and {TABLE} are there, too"
