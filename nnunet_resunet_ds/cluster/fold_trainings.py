"""Make a job of each fold of one trainer: the stock ``nnUNetv2_train``, which goes on where it was stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, read_json_in_turn
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER, ModelId, begun_folds, fold_folder
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS, PLANS_JSON, SPLITS, dataset_folder, nnunet_folder
from nnunet_resunet_ds.cluster.jobs import Job
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.training.checks.fold_checks import check_cases, check_fold, n_folds
from nnunet_resunet_ds.training.checks.preprocessed_data import checked_data
from nnunet_resunet_ds.training.fold.fold_record import read_record
from nnunet_resunet_ds.training.fold.fold_validation import is_validated
from nnunet_resunet_ds.training.fold.heads_table import read_heads_table
from nnunet_resunet_ds.training.planning.plans_file import read_plans
from nnunet_resunet_ds.training.planning.recipe import recipe_notes


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """The settings that all folds share, as the options of ``nnUNetv2_train``."""

    dataset_id: int
    configuration: str = CONFIGURATION
    trainer: str = TRAINER
    plans: str = PLANS
    device: str = "cuda"
    n_gpus: int = 1
    """Of one machine, for each fold: nnU-Net's own way to use several."""

    @property
    def preprocessed(self) -> Path:
        """The dataset's folder below ``$nnUNet_preprocessed``."""
        return dataset_folder("nnUNet_preprocessed", self.dataset_id)

    @property
    def model_folder(self) -> Path:
        """nnU-Net's folder of the model."""
        model = ModelId(
            dataset=self.preprocessed.name, trainer=self.trainer, plans=self.plans, configuration=self.configuration
        )
        return model.folder(nnunet_folder("nnUNet_results"))

    @cached_property
    def plans_content(self) -> Mapping[str, Any]:
        """The content of the plans.

        Raises:
            InputError: there are none of this name, or they are no plans.
        """
        return read_plans(self.dataset_id, self.plans, self.configuration)

    def epochs(self) -> int | None:
        """Return the most epochs of a fold, as one of our trainers reads the plans; None for other trainers.

        Raises:
            InputError: there are no such plans, or their recipe is refused.
        """
        from nnunet_resunet_ds.training.trainer_class import trainer_class  # noqa: PLC0415 (seconds)

        plans = self.plans_content
        try:
            recipe_from = trainer_class(self.trainer).recipe_from
        except Exception:  # a stock trainer, or an error in nnU-Net's search: the training will say so
            return None
        epochs: int = recipe_from(plans).epochs
        return epochs

    def all_folds(self) -> list[int]:
        """Return the folds of the split, or nnU-Net's own five."""
        return list(range(n_folds(self.preprocessed)))


def unfinished_folds(trainings: Trainings, folds: Sequence[int]) -> list[Job]:
    """Return a job for each fold that is not trained and validated.

    Raises:
        InputError: no such dataset, plans or fold, or what is there does not belong together.
    """
    for fold in folds:
        _check_fold(trainings, fold)
    unfinished = [fold for fold in dict.fromkeys(folds) if not _is_finished(fold_folder(trainings.model_folder, fold))]
    if not unfinished:
        return []
    for fold in folds:
        if fold not in unfinished:
            LOG.info("fold %d: is trained and validated, and left out", fold)
    epochs, plans = trainings.epochs(), trainings.plans_content
    settings = resolved_configuration(plans, trainings.configuration)
    notes = checked_data(trainings.preprocessed, settings, trainings.configuration)
    warn_each([*notes, *_recipe_notes(trainings, plans)])
    return [_job(trainings, fold, epochs) for fold in unfinished]


def _recipe_notes(trainings: Trainings, plans: Mapping[str, Any]) -> list[str]:
    """Return a line where folds that are there were trained by another recipe than the plans have now."""
    model = trainings.model_folder
    has_defaults = trainings.trainer == TRAINER  # others have defaults of their own
    if not has_defaults or not begun_folds(model) or not (model / PLANS_JSON).is_file():
        return []
    return recipe_notes(f"{model}: its latest fold", read_json_in_turn(model / PLANS_JSON), plans)


def _check_fold(trainings: Trainings, fold: int) -> None:
    """Refuse a fold that the split does not have, or that was trained on other cases than the split says now."""
    preprocessed, folder = trainings.preprocessed, fold_folder(trainings.model_folder, fold)
    check_fold(fold, preprocessed, read_json(preprocessed / DATASET_JSON)["numTraining"])
    if any(folder.glob("checkpoint_*.pth")):
        check_cases(folder, read_record(folder), preprocessed, fold, "move the folder away to train the fold again")


def guarded(trainings: Trainings, job: Job) -> Job:
    """Return the job as a call of our own command, which leaves a finished fold alone, and one that runs elsewhere."""
    fold = job.command[job.command.index(trainings.configuration) + 1]
    command = [
        "resunet-ds", "train", "-d", str(trainings.dataset_id), "-c", trainings.configuration, "-f", fold,
        "-tr", trainings.trainer, "-p", trainings.plans, "-device", trainings.device,
        "-num_gpus", str(trainings.n_gpus),
    ]  # fmt: skip
    return replace(job, command=tuple(command))


def check_split(preprocessed: Path) -> None:
    """Refuse folds without a split: they begin at the same time, and each would write nnU-Net's split to one file.

    Raises:
        InputError: there is no split.
    """
    if not (preprocessed / SPLITS).is_file():
        msg = f"{preprocessed / SPLITS}: is not there, and the folds share it: make it with resunet-ds splits -d ID"
        raise InputError(msg)


def _job(trainings: Trainings, fold: int, epochs: int | None) -> Job:
    folder = fold_folder(trainings.model_folder, fold)
    command = [
        "nnUNetv2_train", str(trainings.dataset_id), trainings.configuration, str(fold), "-tr", trainings.trainer,
        "-p", trainings.plans, "-device", trainings.device,
        *(["-num_gpus", str(trainings.n_gpus)] if trainings.n_gpus > 1 else []),
        "--c",  # without anything to go on with, it begins
    ]  # fmt: skip
    return Job(
        f"fold {fold}",
        tuple(command),
        folder,
        epochs,
        lambda: epochs if epochs and (folder / FINAL).is_file() else len(read_heads_table(folder)),
    )


def _is_finished(folder: Path) -> bool:
    """Tell whether a fold is trained, and validated with its final weights."""
    return (folder / FINAL).is_file() and is_validated(folder)
