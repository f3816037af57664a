"""One run of the ablation, a training with one seed on one fold: its files, how far it is, and its commands."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING
from nnunet_resunet_ds.base.model_id import fold_folder, folder_name
from nnunet_resunet_ds.experiments.ablation.rungs import Rung, Training
from nnunet_resunet_ds.experiments.ablation.settings import Settings, split_of
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.training.fold.heads_table import read_heads_table
from nnunet_resunet_ds.training.planning.recipe_flags import recipe_words

NONE, PAPER = "none", "paper"
"""Post-processing of a rung without and with it."""
RUNS = "runs"
"""Folder of all runs, in that of the ablation."""


@dataclass(frozen=True, eq=False)
class Run:
    """A training and the predictions of its validation cases: what it is called, and where its files are."""

    settings: Settings
    training: Training
    seed: int
    fold: int

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.training.trainer} {self.training.short_name}, seed {self.seed}, fold {self.fold}"

    @property
    def plans_name(self) -> str:
        """Name of the plans, as ``-p`` takes it."""
        return self.training.plans_name(self.settings, self.seed)

    @property
    def plans_file(self) -> Path:
        """Plans, in the folder of the stock plans."""
        return self.settings.preprocessed / f"{self.plans_name}.json"

    @property
    def model_folder(self) -> Path:
        """nnU-Net's folder of the model."""
        name = folder_name(self.training.trainer, self.plans_name, self.settings.configuration)
        return self.settings.results / name

    @property
    def fold_folder(self) -> Path:
        """nnU-Net's folder of the fold."""
        return fold_folder(self.model_folder, self.fold)

    @property
    def folder(self) -> Path:
        """Folder of the predictions and metrics."""
        name = f"{self.training.trainer}-{self.training.short_name}-seed{self.seed}-fold{self.fold}"
        return self.settings.folder / RUNS / name

    @property
    def images(self) -> Path:
        """Folder of links to the images to predict."""
        return self.folder / "images"

    @property
    def predictions(self) -> Path:
        """Folder of ``run.json``, and of the probabilities until the run is scored."""
        return self.folder / "predictions"

    def labels(self, preset: str) -> Path:
        """Return the folder of label maps after the post-processing ``preset``."""
        return self.folder / f"labels_{preset}"

    def metrics(self, preset: str) -> Path:
        """Return the metrics of these label maps."""
        return self.folder / f"metrics_{preset}.json"

    @property
    def presets(self) -> tuple[str, ...]:
        """Post-processings of its predictions: the paper's is for WT, TC and ET alone."""
        return (NONE, PAPER) if self.settings.has_tumour_regions else (NONE,)

    def preset_of(self, rung: Rung) -> str:
        """Return the post-processing of a rung that shares this training."""
        return PAPER if rung.is_postprocessed and PAPER in self.presets else NONE

    @property
    def epochs(self) -> int:
        """Largest number of epochs of the training."""
        return self.settings.epochs

    @property
    def epochs_done(self) -> int:
        """Number of trained epochs; a training that stopped early has done all."""
        return self.epochs if is_finished(self) or is_trained(self) else len(read_heads_table(self.fold_folder))


def runs_of(settings: Settings, rungs: Sequence[Rung], seeds: Sequence[int], folds: Sequence[int]) -> list[Run]:
    """Return the runs of these rungs, seed by seed, so that a stopped ablation has whole ladders."""
    trainings = list(dict.fromkeys(Training.of(rung) for rung in rungs))
    return [
        Run(settings, training, seed, fold)
        for seed in dict.fromkeys(seeds)
        for fold in dict.fromkeys(folds)
        for training in trainings
    ]


def is_begun(run: Run) -> bool:
    """Tell whether the training has saved a checkpoint."""
    return any(run.fold_folder.glob("checkpoint_*.pth"))


def is_trained(run: Run) -> bool:
    """Tell whether the training has ended."""
    return (run.fold_folder / FINAL).is_file()


def is_finished(run: Run) -> bool:
    """Tell whether the predictions are evaluated."""
    return all(run.metrics(preset).is_file() for preset in run.presets)


def link_images(run: Run) -> None:
    """Make links to the images of the validation cases of the fold.

    Raises:
        InputError: a case has no images.
    """
    run.images.mkdir(parents=True, exist_ok=True)
    images = run.settings.raw / "imagesTr"
    for case in (split_of(run.settings) or [])[run.fold]:
        files = sorted(images.glob(f"{case}_????{FILE_ENDING}"))
        if not files:
            msg = f"{images}: has no images of {case}, which fold {run.fold} is validated on"
            raise InputError(msg)
        for file in files:
            link = run.images / file.name
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())


def remove_probabilities(run: Run) -> None:
    """Remove the probabilities and links: they take gigabytes, and can be predicted again."""
    for ending in (".npz", ".pkl"):
        for file in run.predictions.glob(f"*{ending}"):
            file.unlink()
    shutil.rmtree(run.images, ignore_errors=True)


def commands_left(run: Run, device: str) -> Iterator[list[str]]:
    """Yield the commands that are still to be run, each when those before it have ended."""
    if is_finished(run):
        return
    if not run.plans_file.is_file():
        yield plan_command(run)
    if not is_trained(run):
        yield train_command(run, device)
    yield predict_command(run, device)
    yield from score_commands(run)


def plan_command(run: Run) -> list[str]:
    """Return the command that writes the plans."""
    settings, arguments = run.settings, run.training.plan_arguments(run.settings, run.seed)
    patch_size = ["--patch-size", *map(str, settings.patch_size)] if settings.patch_size else []
    return [
        "resunet-ds", "plan", "-d", str(settings.dataset_id), "-c", settings.configuration,
        "-p", settings.stock_plans, "--name", run.plans_name, *patch_size,
        "--batch-size", str(settings.batch_size), "--features", *map(str, arguments["features_per_stage"]),
        "--heads", str(arguments["n_heads"]),
        *([] if arguments["salient_channel"] else ["--no-salient-channel"]),
        *([] if arguments["residual"] else ["--no-residual"]),
        *recipe_words(arguments["recipe"]),
    ]  # fmt: skip


def train_command(run: Run, device: str) -> list[str]:
    """Return nnU-Net's command, with ``--c`` where there is a checkpoint."""
    return [
        "nnUNetv2_train", str(run.settings.dataset_id), run.settings.configuration, str(run.fold),
        "-tr", run.training.trainer, "-p", run.plans_name, "-device", device, *(["--c"] if is_begun(run) else []),
    ]  # fmt: skip


def predict_command(run: Run, device: str) -> list[str]:
    """Return the command that predicts the linked images."""
    return [
        "resunet-ds", "predict", "-i", str(run.images), "-o", str(run.predictions), "-m", str(run.model_folder),
        "-f", str(run.fold), "-device", device, "--save-probabilities", "--continue",
        *([] if run.settings.use_mirroring else ["--no-tta"]),
    ]  # fmt: skip


def score_commands(run: Run) -> Iterator[list[str]]:
    """Yield the commands that post-process and evaluate, without the paper's post-processing and with it."""
    for preset in run.presets:
        labels = str(run.labels(preset))
        yield ["resunet-ds", "postprocess", "-i", str(run.predictions), "-o", labels, "--preset", preset]
        yield [
            "resunet-ds", "evaluate", "-ref", str(run.settings.raw / "labelsTr"), "-pred", labels,
            "-o", str(run.metrics(preset)), "--protocol", run.settings.protocol, "--allow-missing",
        ]  # fmt: skip
