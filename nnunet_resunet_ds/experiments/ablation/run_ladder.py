"""Run an ablation: check everything, train, predict and evaluate what is missing, and write the table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dataset_conversion.label_conventions import NNUNET_CONVENTION
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.dataset_json import check_regions, regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.regions import Region
from nnunet_resunet_ds.cluster.fold_trainings import check_split
from nnunet_resunet_ds.cluster.jobs import Job, log_of, run_command, settings_for, shell_line
from nnunet_resunet_ds.cluster.runners import run_each
from nnunet_resunet_ds.compute.device import chosen_device
from nnunet_resunet_ds.evaluation.label_maps import to_protocol
from nnunet_resunet_ds.evaluation.protocols import protocol_named
from nnunet_resunet_ds.experiments.ablation.rungs import Rung, Training, check_rungs, written_plans
from nnunet_resunet_ds.experiments.ablation.settings import Settings, check_settings, keep_settings
from nnunet_resunet_ds.experiments.ablation.summary import Written, write_summary
from nnunet_resunet_ds.experiments.ablation.training_runs import (
    Run,
    commands_left,
    is_begun,
    is_finished,
    is_trained,
    link_images,
    predict_command,
    remove_probabilities,
    runs_of,
)
from nnunet_resunet_ds.training.checks.fold_checks import check_fold
from nnunet_resunet_ds.training.fold.fold_record import read_record
from nnunet_resunet_ds.training.planning.recipe_flags import recipe_words


def ablation(
    settings: Settings,
    rungs: Sequence[Rung],
    seeds: Sequence[int],
    folds: Sequence[int],
    device: str | None = None,
    *,
    run: Callable[[Sequence[Run], str], Mapping[str, str]] | None = None,
    done: Callable[[Written], object] = lambda _: None,
) -> None:
    """Run what is missing, then write the table of all finished runs.

    Args:
        settings: what all rungs share.
        rungs: to run.
        seeds: to train each rung with.
        folds: to train each rung and seed on.
        device: as nnU-Net's ``-device``; None is a GPU where there is one.
        run: runs what is missing on a device, and returns what went wrong, by name; None is `run_all`.
        done: is called with the tables, before failed runs are reported.

    Raises:
        InputError: something cannot be run, before anything is; or runs failed, when all others are done.
    """
    runs = runs_of(settings, rungs, seeds, folds)
    check(settings, rungs, runs)
    device = _device(device)
    keep_settings(settings)
    failures = (run or run_all)(runs, device)
    keep_settings(settings)  # with the split that the first training may have made
    done(write_summary(settings))
    if failures:
        raise InputError("\n".join(f"{name}: {why}" for name, why in failures.items()))


def runs_for_other_machines(
    settings: Settings, rungs: Sequence[Rung], seeds: Sequence[int], folds: Sequence[int]
) -> list[Run]:
    """Return the runs, after everything is checked and the settings are written.

    Raises:
        InputError: something cannot be run, or there is no split: runs that begin together would each make one.
    """
    runs = runs_of(settings, rungs, seeds, folds)
    check(settings, rungs, runs)
    check_split(settings.preprocessed)
    keep_settings(settings)
    return runs


def commands(
    settings: Settings, rungs: Sequence[Rung], seeds: Sequence[int], folds: Sequence[int], device: str | None = None
) -> Iterator[str]:
    """Yield the commands that `ablation` would run, as they can be typed; write nothing.

    Raises:
        InputError: something cannot be run.
    """
    runs = runs_of(settings, rungs, seeds, folds)
    check(settings, rungs, runs)
    device = _device(device)
    for run in runs:
        for command in commands_left(run, device):
            yield shell_line(command, settings_for(device))


def _device(device: str | None) -> str:
    return device or chosen_device(None).type


def check(settings: Settings, rungs: Sequence[Rung], runs: Sequence[Run]) -> None:
    """Refuse what cannot be run, before anything is.

    Raises:
        InputError: data, rungs, folds, plans and half-finished trainings do not go together.
    """
    dataset_json = read_json(settings.preprocessed / DATASET_JSON)
    check_regions(dataset_json)
    check_settings(settings)
    _check_raw(settings, dataset_json)
    check_rungs(rungs, settings)
    for run in runs:
        check_fold(run.fold, settings.preprocessed, dataset_json["numTraining"])
        check_version(run)
    _check_plans(runs)


def _check_raw(settings: Settings, dataset_json: Mapping[str, Any]) -> None:
    """Refuse a dataset without the files that are predicted and evaluated, or a protocol that does not fit it."""
    for name in ("imagesTr", "labelsTr"):
        if not (settings.raw / name).is_dir():
            msg = f"{settings.raw / name}: is not there, and validation cases are predicted from it: bring it back"
            raise InputError(msg)
    _check_protocol(settings, regions_of(dataset_json))


def _check_protocol(settings: Settings, regions: Sequence[Region]) -> None:
    """Refuse a protocol of other labels than those of the label maps.

    The values of WT, TC and ET are translated to the protocol's. Those of other regions are the dataset's own. So each
    region of the protocol must be one of the dataset, value for value.

    Raises:
        InputError: with the label maps.
    """
    protocol, maps = protocol_named(settings.protocol), settings.raw / "labelsTr"
    tissues = [set(map(int, region.tissues)) for region in regions]
    if settings.has_tumour_regions:
        to_protocol(np.array(sorted(set().union(*tissues))), NNUNET_CONVENTION, protocol, maps)
        return
    others = [name for name, rule in protocol.regions.items() if set(rule.labels) not in tissues]
    if others:
        msg = (
            f"{maps}: the dataset's regions are {', '.join(region.long_name for region in regions)}, and "
            f"{protocol.title} scores {', '.join(others)}; choose the protocol of this data with --protocol"
        )
        raise InputError(msg)


def check_version(run: Run) -> None:
    """Refuse to continue a training that another version of this package has begun.

    Raises:
        InputError: the training is half finished, and another version, or an unknown one, began it.
    """
    if not is_begun(run) or is_trained(run):
        return
    begun_by = read_record(run.fold_folder).get("versions", {}).get("nnunet-resunet-ds", "an unknown version")
    if begun_by != __version__:
        msg = (
            f"{run.fold_folder}: is half trained by {begun_by} of this package, and this is {__version__}: finish it "
            "with that version, or remove the folder to train it again"
        )
        raise InputError(msg)


def _check_plans(runs: Sequence[Run]) -> None:
    """Refuse settings that make no plans, and plans that exist under the same name with other content.

    Raises:
        InputError: with the setting, or the file and what to do.
    """
    for run in runs:
        plans = written_plans(run.training, run.settings, run.seed)
        if run.plans_file.is_file() and read_json(run.plans_file) != plans:
            msg = (
                f"{run.plans_file}: is not what would be trained now, but of another version or other stock plans; "
                f"remove it and {run.model_folder}, or give another --name"
            )
            raise InputError(msg)


def run_all(runs: Sequence[Run], device: str) -> dict[str, str]:
    """Run what is missing here; a run that fails does not stop the others.

    Args:
        runs: in this order.
        device: ``cpu`` or ``cuda``, as nnU-Net's ``-device``.

    Returns:
        What went wrong, by the name of the run.
    """
    return run_each(runs, lambda run, look: _run(run, device, look))


def _run(run: Run, device: str, look: Callable[[], object]) -> None:
    if is_finished(run):
        remove_probabilities(run)  # if it was killed before it could
        return
    check_version(run)
    variables = settings_for(device)
    with log_of(run.folder) as log:
        for command in commands_left(run, device):
            if command == predict_command(run, device):
                link_images(run)
            LOG.info("$ %s", shell_line(command, variables))
            run_command(command, variables, log, look)
        remove_probabilities(run)


def jobs_of(runs: Sequence[Run], rungs: Sequence[Rung], device: str) -> list[Job]:
    """Return a job for each run that is not finished.

    Args:
        runs: each of another training, seed or fold.
        rungs: of these runs.
        device: as nnU-Net's ``-device``.
    """
    return [_job(run, rungs, device) for run in runs if not is_finished(run)]


def _job(run: Run, rungs: Sequence[Rung], device: str) -> Job:
    names = [rung.name for rung in rungs if Training.of(rung) == run.training]
    command = [
        "resunet-ds", "ablation", *settings_words(run.settings), "--only", *names, "--seeds", str(run.seed),
        "-f", str(run.fold), "-device", device,
    ]  # fmt: skip
    return Job(run.name, tuple(command), run.folder / "job", run.epochs, lambda: run.epochs_done)


def settings_words(settings: Settings) -> list[str]:
    """Return the words of the command that give these settings."""
    patch_size = [] if settings.patch_size is None else ["--patch-size", *map(str, settings.patch_size)]
    return [
        "-d", str(settings.dataset_id), "--name", settings.name, "-c", settings.configuration,
        "-p", settings.stock_plans, *patch_size, "--batch-size", str(settings.batch_size),
        "--width", str(settings.width), "--protocol", settings.protocol,
        *([] if settings.use_mirroring else ["--no-tta"]), *recipe_words(settings.recipe),
    ]  # fmt: skip
