"""The plans of each training before anything is written: that they can be, differ, and are what is there already."""

import json
from collections.abc import Sequence
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.experiments.ablation.run_folder import Run
from nnunet_resunet_ds.experiments.ablation.rungs import POST_PROCESSING, RUNGS, TRAINER, Rung, Training
from nnunet_resunet_ds.experiments.ablation.settings import Settings
from nnunet_resunet_ds.plans import resolved_configuration, with_res_unet_ds
from nnunet_resunet_ds.training.plan_writing import stock_plans

Plans = dict[str, Any]


def planned(training: Training, settings: Settings, seed: int) -> Plans:
    """Return the plans that the command of the training writes.

    Raises:
        InputError: no stock plans, or settings that cannot be.
    """
    stock = stock_plans(settings.dataset_id, settings.stock_plans, settings.configuration)
    adapted = with_res_unet_ds(stock, settings.configuration, **training.plan_arguments(settings, seed)).plans
    adapted["plans_name"] = training.plans_name(settings, seed)
    plans: Plans = json.loads(json.dumps(adapted))  # as they would be read
    return plans


def trained(training: Training, settings: Settings, seed: int) -> Plans:
    """Return these plans as the trainer changes them: of the other systems, with their network.

    Raises:
        InputError: the system does not fit the patch, or is not installed.
    """
    from nnunet_resunet_ds.experiments.comparison import trainers  # noqa: PLC0415 (not for --help)

    plans = planned(training, settings, seed)
    if training.trainer == TRAINER:
        return plans
    kind = getattr(trainers, training.trainer)
    adapted: Plans = kind.adapted_plans(plans, settings.configuration).plans
    return adapted


def configuration_of(training: Training, settings: Settings, seed: int) -> dict[str, Any]:
    """Return the configuration that is trained: patch size, architecture and all."""
    return resolved_configuration(trained(training, settings, seed), settings.configuration)


def check_rungs(rungs: Sequence[Rung], settings: Settings) -> None:
    """Refuse a rung that cannot be trained, or would train what its neighbour trains.

    Raises:
        InputError: a line a rung.
    """
    problems = []
    for rung in rungs:
        training = Training.of(rung)
        try:
            configuration = configuration_of(training, settings, seed=0)
        except InputError as error:
            problems.append(f"{rung.name}: {error}")
            continue
        if rung.neighbour is None or rung.factors - RUNGS[rung.neighbour].factors == {POST_PROCESSING}:
            continue
        other = planned(Training.of(RUNGS[rung.neighbour]), settings, seed=0)
        mine = planned(training, settings, seed=0)
        if {**mine, "plans_name": ""} == {**other, "plans_name": ""}:
            problems.append(
                f"{rung.name}: has the plans of {rung.neighbour}, for the patch {configuration['patch_size']} fits "
                f"{len(configuration['architecture']['arch_kwargs']['strides'])} stages alone: give a patch with an "
                "axis of 128, or leave the rung out"
            )
    if problems:
        raise InputError("\n".join([*problems, "choose rungs with --only"]))


def check_plans(runs: Sequence[Run]) -> None:
    """Refuse settings that make no plans, and plans by the names that are needed with other content.

    Raises:
        InputError: with the setting, or the file and what to do.
    """
    for run in runs:
        plans = planned(run.training, run.settings, run.seed)
        if run.plans_file.is_file() and read_json(run.plans_file) != plans:
            msg = (
                f"{run.plans_file}: is not what would be trained now, but of another version or other stock plans; "
                f"remove it and {run.model_folder}, or give another --name"
            )
            raise InputError(msg)
