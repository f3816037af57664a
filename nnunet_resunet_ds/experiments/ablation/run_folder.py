"""One training of an ablation, with one seed on one fold: its files, its commands, and how far it has come."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_conversion.editions import FILE_ENDING
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.experiments.ablation.rungs import Rung, Training
from nnunet_resunet_ds.experiments.ablation.settings import Settings, split_of
from nnunet_resunet_ds.training import checkpoints
from nnunet_resunet_ds.training.fold_record import read_record
from nnunet_resunet_ds.training.head_metrics import read_table

PRESETS = {False: "none", True: "paper"}
"""Post-processing of a rung without and with it."""
RUNS = "runs"


@dataclass(frozen=True, eq=False)
class Run:
    """A training, and the predictions of the cases that its fold is validated on."""

    settings: Settings
    training: Training
    seed: int
    fold: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.training.trainer} {self.training.short_name}, seed {self.seed}, fold {self.fold}"

    @property
    def plans_name(self) -> str:
        """Return the name of its plans."""
        return self.training.plans_name(self.settings, self.seed)

    @property
    def plans_file(self) -> Path:
        """Its plans, beside the stock ones."""
        return self.settings.preprocessed / f"{self.plans_name}.json"

    @property
    def model_folder(self) -> Path:
        """nnU-Net's folder of the model."""
        return self.settings.results / f"{self.training.trainer}__{self.plans_name}__{self.settings.configuration}"

    @property
    def fold_folder(self) -> Path:
        """nnU-Net's folder of the fold."""
        return self.model_folder / f"fold_{self.fold}"

    @property
    def folder(self) -> Path:
        """Predictions and metrics of the fold."""
        name = f"{self.training.trainer}-{self.training.short_name}-seed{self.seed}-fold{self.fold}"
        return self.settings.folder / RUNS / name

    @property
    def images(self) -> Path:
        """Links to the images that are predicted."""
        return self.folder / "images"

    @property
    def predictions(self) -> Path:
        """Probabilities, while they are needed, and ``run.json``."""
        return self.folder / "predictions"

    def labels(self, preset: str) -> Path:
        """Return the folder of label maps after one kind of post-processing."""
        return self.folder / f"labels_{preset}"

    def metrics(self, preset: str) -> Path:
        """Return the metrics of these."""
        return self.folder / f"metrics_{preset}.json"

    @property
    def is_trained(self) -> bool:
        """Whether the final weights are there."""
        return (self.fold_folder / checkpoints.FINAL).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is something to go on with."""
        return any(self.fold_folder.glob("checkpoint_*.pth"))

    @property
    def is_finished(self) -> bool:
        """Whether its scores are there."""
        return all(self.metrics(preset).is_file() for preset in PRESETS.values())

    @property
    def epochs(self) -> int:
        """Most epochs of the training."""
        return self.settings.epochs

    @property
    def epochs_done(self) -> int:
        """Epochs that are trained; those that an early stop saves count as trained."""
        return self.epochs if self.is_finished or self.is_trained else len(self.head_losses())

    def head_losses(self) -> list[dict[str, str]]:
        """Return what the trainer's table of heads says of each epoch until now."""
        return read_table(self.fold_folder)

    @property
    def record(self) -> dict[str, Any]:
        """What the trainer notes of version, time and memory."""
        return read_record(self.fold_folder)

    def link_images(self) -> None:
        """Make links to the images of the cases that the fold is validated on."""
        self.images.mkdir(parents=True, exist_ok=True)
        for case in (split_of(self.settings) or [])[self.fold]:
            files = sorted((self.settings.raw / "imagesTr").glob(f"{case}_????{FILE_ENDING}"))
            if not files:
                msg = (
                    f"{self.settings.raw / 'imagesTr'}: has no images of {case}, which fold {self.fold} is validated on"
                )
                raise InputError(msg)
            for file in files:
                link = self.images / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())

    def train_command(self, device: str) -> list[str]:
        """Return nnU-Net's command, to go on where there is something to go on with."""
        settings = self.settings
        return [
            "nnUNetv2_train", str(settings.dataset_id), settings.configuration, str(self.fold),
            "-tr", self.training.trainer, "-p", self.plans_name, "-device", device, *(["--c"] if self.is_begun else []),
        ]  # fmt: skip

    def predict_command(self, device: str) -> list[str]:
        """Return the command that predicts the linked images."""
        return [
            "resunet-ds", "predict", "-i", str(self.images), "-o", str(self.predictions), "-m", str(self.model_folder),
            "-f", str(self.fold), "-device", device, "--save-probabilities", "--continue",
            *([] if self.settings.use_mirroring else ["--no-tta"]),
        ]  # fmt: skip

    def score_commands(self) -> Iterator[list[str]]:
        """Yield the commands that post-process and evaluate, for each kind of post-processing."""
        for preset in PRESETS.values():
            labels = str(self.labels(preset))
            yield ["resunet-ds", "postprocess", "-i", str(self.predictions), "-o", labels, "--preset", preset]
            yield [
                "resunet-ds", "evaluate", "-ref", str(self.settings.raw / "labelsTr"), "-pred", labels,
                "-o", str(self.metrics(preset)), "--protocol", self.settings.protocol, "--allow-missing",
            ]  # fmt: skip

    def remove_probabilities(self) -> None:
        """Remove what takes gigabytes and can be predicted again."""
        for ending in (".npz", ".pkl"):
            for file in self.predictions.glob(f"*{ending}"):
                file.unlink()
        shutil.rmtree(self.images, ignore_errors=True)


def runs_of(settings: Settings, rungs: Sequence[Rung], seeds: Sequence[int], folds: Sequence[int]) -> list[Run]:
    """Return what is to be run for these rungs, seed by seed, so that a stopped ablation has whole ladders."""
    trainings = list(dict.fromkeys(Training.of(rung) for rung in rungs))
    return [
        Run(settings, training, seed, fold)
        for seed in dict.fromkeys(seeds)
        for fold in dict.fromkeys(folds)
        for training in trainings
    ]
