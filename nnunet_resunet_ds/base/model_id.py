"""Name a trained model as nnU-Net does: by dataset, trainer, plans and configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TRAINER, PLANS, CONFIGURATION = "ResUNetDSTrainer", "nnUNetPlans", "3d_fullres"
"""What commands take where nothing else is given."""


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
