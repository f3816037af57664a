"""Name a trained model as nnU-Net does: by dataset, trainer, plans and configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import PLANS, dataset_folder

TRAINER, CONFIGURATION = "ResUNetDSTrainer", "3d_fullres"
"""What commands take where nothing else is given."""

FOLD = "fold_"
"""What the folder of a fold begins with, in that of its model."""


@dataclass(frozen=True, kw_only=True)
class ModelId:
    """One model; its folds lie in its folder."""

    dataset: str
    """Name of the dataset's folder: ``DatasetXXX_NAME``."""
    trainer: str = TRAINER
    """Class name."""
    plans: str = PLANS
    configuration: str = CONFIGURATION

    @property
    def name(self) -> str:
        """Name of the model's folder."""
        return folder_name(self.trainer, self.plans, self.configuration)

    def folder(self, results: Path) -> Path:
        """Return the model's folder below ``$nnUNet_results``."""
        return results / self.dataset / self.name


def folder_name(trainer: str, plans: str, configuration: str) -> str:
    """Return nnU-Net's name of a model folder; ``*`` stands for any, in a pattern."""
    return f"{trainer}__{plans}__{configuration}"


def models_in(dataset: Path, trainer: str = "*", plans: str = "*", configuration: str = "*") -> Sequence[Path]:
    """Return the model folders of a dataset's folder below ``$nnUNet_results``, sorted by name."""
    return sorted(dataset.glob(folder_name(trainer, plans, configuration)))


def fold_folder(model: Path, fold: int | str) -> Path:
    """Return ``MODEL/fold_N``."""
    return model / f"{FOLD}{fold}"


def begun_folds(model: Path) -> Sequence[Path]:
    """Return the folders of the folds that have a checkpoint of any kind, sorted by name."""
    return sorted({checkpoint.parent for checkpoint in model.glob(f"{FOLD}*/checkpoint_*")})


def check_model_folder(folder: Path) -> None:
    """Check that the folder of a model is there.

    Raises:
        InputError: it is not.
    """
    if not folder.is_dir():
        msg = (
            f"{folder}: no such folder; give starter, or the folder that training wrote, "
            "TRAINER__PLANS__CONFIGURATION: resunet-ds models lists them"
        )
        raise InputError(msg)


def find_model_folder(dataset_id: int, trainer: str, configuration: str, plans: str | None = None) -> Path:
    """Return the folder of the one trained model that these names fit, below ``$nnUNet_results``.

    Args:
        dataset_id: of the training data.
        trainer: class name.
        configuration: such as ``3d_fullres``.
        plans: their name; None takes those that are there, if they are the only ones.

    Raises:
        InputError: there is no such model, or several.
    """
    dataset = dataset_folder("nnUNet_results", dataset_id)
    found = models_in(dataset, trainer, plans or "*", configuration)
    if len(found) > 1:  # a training that stopped before its first checkpoint leaves a folder, and no model
        found = [model for model in found if begun_folds(model)] or found
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name.split("__")[1] for path in found)
        msg = f"{dataset}: {trainer} has models of several plans, {names}; name one with -p"
        raise InputError(msg)
    there = ", ".join(path.name for path in models_in(dataset)) or "none"
    wanted = folder_name(trainer, plans or "*", configuration)
    msg = (
        f"{dataset}: no model {wanted}; models there: {there}; name one with -tr, -p and -c, or give its folder with -m"
    )
    raise InputError(msg)
