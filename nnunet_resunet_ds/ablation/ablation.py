"""The ablation from its checks to its table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dataset_conversion.label_convention import NNUNET
from nnunet_resunet_ds.ablation.planned import check_plans, check_rungs
from nnunet_resunet_ds.ablation.run_folder import Run, runs_of
from nnunet_resunet_ds.ablation.rungs import Rung
from nnunet_resunet_ds.ablation.running import check_version, commands_of, run_all
from nnunet_resunet_ds.ablation.settings import Settings, check_settings, keep_settings
from nnunet_resunet_ds.ablation.summary import Written, write_summary
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.region_checks import check_regions
from nnunet_resunet_ds.evaluation.label_values import to_protocol
from nnunet_resunet_ds.evaluation.protocols import protocol_named
from nnunet_resunet_ds.jobs.process import settings_for, shell_line
from nnunet_resunet_ds.jobs.training import check_split
from nnunet_resunet_ds.training.fold_checks import check_fold


def ablation(
    settings: Settings,
    rungs: Sequence[Rung],
    seeds: Sequence[int],
    folds: Sequence[int],
    device: str | None = None,
    *,
    run: Callable[[Sequence[Run], str], Mapping[str, str]] = run_all,
    done: Callable[[Written], object] = lambda _: None,
) -> None:
    """Run what is missing, then write the table of all that is there.

    Args:
        settings: what all rungs share.
        rungs: to be run.
        seeds: of each rung.
        folds: of each rung and seed.
        device: as nnU-Net's ``-device``; None is a GPU where there is one.
        run: takes all runs and the device, and returns what went wrong, by name; the default goes through them here.
        done: takes the tables, before runs that failed are spoken of.

    Raises:
        InputError: what cannot be run, before anything is; or runs that failed, when all others are done.
    """
    runs = runs_of(settings, rungs, seeds, folds)
    check(settings, rungs, runs)
    device = _device(device)
    keep_settings(settings)
    failures = run(runs, device)
    keep_settings(settings)  # with the split that the first training may have made
    done(write_summary(settings))
    if failures:
        raise InputError("\n".join(f"{name}: {why}" for name, why in failures.items()))


def begun(settings: Settings, rungs: Sequence[Rung], seeds: Sequence[int], folds: Sequence[int]) -> list[Run]:
    """Check everything and keep the settings, for runs on other machines; return the runs.

    Raises:
        InputError: what cannot be run, or there is no split, which runs that begin at once would each make.
    """
    runs = runs_of(settings, rungs, seeds, folds)
    check(settings, rungs, runs)
    check_split(settings.preprocessed)
    keep_settings(settings)
    return runs


def commands(
    settings: Settings, rungs: Sequence[Rung], seeds: Sequence[int], folds: Sequence[int], device: str | None = None
) -> Iterator[str]:
    """Yield what `ablation` would run, as it can be typed; nothing is written.

    Raises:
        InputError: what cannot be run.
    """
    runs = runs_of(settings, rungs, seeds, folds)
    check(settings, rungs, runs)
    device = _device(device)
    for run in runs:
        for command in commands_of(run, device):
            yield shell_line(command, settings_for(device))


def _device(device: str | None) -> str:
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def check(settings: Settings, rungs: Sequence[Rung], runs: Sequence[Run]) -> None:
    """Refuse what cannot be run, before anything is.

    Raises:
        InputError: data, rungs, folds, plans or half-finished trainings that do not go together.
    """
    dataset_json = read_json(settings.preprocessed / DATASET_JSON)
    check_regions(dataset_json)
    check_settings(settings)
    _check_raw(settings, dataset_json)
    check_rungs(rungs, settings)
    for run in runs:
        check_fold(run.fold, settings.preprocessed, dataset_json["numTraining"])
        check_version(run)
    check_plans(runs)


def _check_raw(settings: Settings, dataset_json: Mapping[str, Any]) -> None:
    """Refuse a dataset without the files that are predicted and evaluated, or a protocol of other labels."""
    for name in ("imagesTr", "labelsTr"):
        if not (settings.raw / name).is_dir():
            msg = f"{settings.raw / name}: is not there, and validation cases are predicted from it: bring it back"
            raise InputError(msg)
    labels = np.arange(1, len(dataset_json["regions_class_order"]) + 1)
    to_protocol(labels, NNUNET, protocol_named(settings.protocol), settings.raw / "labelsTr")
