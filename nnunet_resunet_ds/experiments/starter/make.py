"""Make the starter model by the product's own commands; each step that is done is left out when it is run again."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import CONFIGURATION, ModelId, fold_folder
from nnunet_resunet_ds.compute.environment import machine
from nnunet_resunet_ds.demo.stock_commands import StockCommands
from nnunet_resunet_ds.experiments.starter.measure import fold_rows, score_cases, summarised
from nnunet_resunet_ds.experiments.starter.pack import pack, publish
from nnunet_resunet_ds.experiments.starter.sources import sources_of
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.model import ModelFiles
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.models.card import ModelCard
from nnunet_resunet_ds.models.card_text import write_card_text
from nnunet_resunet_ds.models.starter import STARTER_FOLDER
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SAFE_FINAL
from nnunet_resunet_ds.training.fold.fold_record import read_record
from nnunet_resunet_ds.tuning.tune_model import tune_model

DATASET_ID, DATASET_NAME = 998, "Starter"
DATASET = f"Dataset{DATASET_ID}_{DATASET_NAME}"
STOCK_PLANS, PLANS = "nnUNetPlansStarter", "StarterPlans"
FOLDS = ("0", "1", "2", "3", "4")
SPACING = ("1.5", "1.5", "1.5")
"""In mm. In a third of the voxels, two cores see each brain three times as often. References that are resampled so and
back keep a Dice of 0.97 (WT), 0.96 (TC) and 0.91 (ET) on the eighteen cases."""
PLAN_FLAGS = (
    "--patch-size", "64", "128", "64", "--batch-size", "1", "--features", "8", "16", "24", "32", "40", "56", "64",
    "--lr", "3e-3", "--schedule", "poly", "--epochs", "40", "--iterations", "28", "--val-iterations", "2",
    "--seed", "12345",
)  # fmt: skip
"""Seven stages, as in the paper. More steps rather than more width: 1,120 a fold."""
STEPS_DONE = "steps.json"
PACKED = "starter_model"
_CHANNEL_FLAGS = ("--t1", "--t1ce", "--t2", "--flair")

TITLE = "Starter model of nnunet-resunet-ds"
SUMMARY = "a small network of {n} adult gliomas of {sources}: a first look and a start for fine-tuning, not a result"
HOW_MEASURED = (
    "Each case is predicted by the one fold that was not trained on it, with eight flips. There is no number on "
    "training cases. With post-processing, the cases of a fold have settings that were searched on the other folds, or "
    "the paper's where that search gained less than its spread, which was decided once for all folds. A region that "
    "the reference does not have scores 1 where none is predicted, and 0 else, as in BraTS 2023; some cases have no "
    "enhancing tumour. What is shipped averages all folds, which leaves no case to measure it on."
)
LIMITS = (
    "Not a medical device. So few cases are too few for anything but a first look.",
    "Adults, before any operation, with glioma: no infants, no metastases, no meningioma, no resection cavities.",
    "Four sequences (T1, T1ce, T2, FLAIR), co-registered, skull-stripped, 1 mm. Training left no sequence out.",
    "It works at 1.5 mm, so that thin rims of enhancing tumour are coarse.",
    "The images are not part of the package. The weights are under its licence, and the terms of the data ask for the "
    "citations below.",
)


@dataclass(frozen=True)
class StarterTraining:
    """The way from folders of cases to the packed model, below one folder."""

    inputs: Sequence[Path]
    """Folders of cases."""
    folder: Path
    """For all that is made, some 500 MB; the finished model is copied from here into the package."""
    device: str
    """``cpu`` or ``cuda``."""

    @property
    def model(self) -> Path:
        """What nnU-Net's training leaves."""
        return ModelId(dataset=DATASET, plans=PLANS).folder(self.folder / "nnUNet_results")

    @property
    def packed(self) -> Path:
        """The model in its final form."""
        return self.folder / PACKED

    def run(self, target: Path = STARTER_FOLDER) -> ModelCard:
        """Do every step that is not done, and put the model into the package.

        Args:
            target: folder of the package that is replaced.

        Raises:
            InputError: the folder holds a training on other cases.
            RuntimeError: a command failed.
        """
        commands = StockCommands(self.folder)
        commands.make_folders()
        for name, words in self.commands().items():
            self._once(name, words, commands)
        commands.run(*self.training_command())
        pack(self.model, self.packed, FOLDS)
        card = self._measured()
        card.write(self.packed)
        write_card_text(card, self.packed)
        publish(self.packed, target)
        return card

    def commands(self) -> Mapping[str, tuple[str, ...]]:
        """Return the commands that come before the training, by the names of their steps."""
        inputs, dataset = (str(path.resolve()) for path in self.inputs), ("-d", str(DATASET_ID))
        return {
            "convert": ("resunet-ds", "convert", *inputs, *dataset, "-n", DATASET_NAME),
            "preprocess": (
                "nnUNetv2_plan_and_preprocess", *dataset, "-c", CONFIGURATION, "-overwrite_target_spacing", *SPACING,
                "-overwrite_plans_name", STOCK_PLANS, "-npfp", "2", "-np", "2",
            ),
            "splits": ("resunet-ds", "splits", *dataset, "--folds", str(len(FOLDS))),
            "plan": ("resunet-ds", "plan", *dataset, "-p", STOCK_PLANS, "--name", PLANS, *PLAN_FLAGS),
        }  # fmt: skip

    def training_command(self) -> tuple[str, ...]:
        """Return the command that trains all folds, and goes on where it was stopped."""
        return ("resunet-ds", "train", "-d", str(DATASET_ID), "-p", PLANS, "-device", self.device)

    def _once(self, name: str, words: Sequence[str], commands: StockCommands) -> None:
        """Run the command of a step unless an earlier run has done it.

        Raises:
            InputError: it was done with other folders or settings.
        """
        file = self.folder / STEPS_DONE
        done = read_json(file) if file.is_file() else {}
        if name not in done:
            commands.run(*words)
            write_json({**done, name: list(words)}, file)
        elif done[name] != list(words):
            msg = f"{file}: {name} was done by {' '.join(done[name])}; give the same again, or another folder with -o"
            raise InputError(msg)
        else:
            LOG.info("%s: done before", name)

    def _measured(self) -> ModelCard:
        """Tune on the validation cases of the folds, measure there, and return the card."""
        settings = PredictionSettings(models=(ModelFiles(self.packed, FOLDS, SAFE_FINAL),), device=self.device)
        with StockCommands(self.folder).variables_set():
            tuning = tune_model(settings).tuning
        cases = list(score_cases(self.packed, tuning))
        sources = sources_of(case.case_id for case in cases)
        names = " and ".join(source.name for source in sources)
        return ModelCard(
            title=TITLE,
            summary=SUMMARY.format(n=len(cases), sources=names),
            sources=sources,
            scores=summarised(cases),
            how_measured=HOW_MEASURED,
            folds=tuple(fold_rows(cases)),
            training=self._training_record(),
            prediction=self._prediction_time(),
            limits=LIMITS,
            weights=load_model(self.packed).identities,
        )

    def _training_record(self) -> dict[str, Any]:
        records = [read_record(fold_folder(self.model, fold)) for fold in FOLDS]
        seconds = sum(record["epochs"] * record["seconds_per_epoch"] for record in records)
        commands = [*self.commands().values(), self.training_command()]
        shown = [" ".join(words).replace(f"{self.folder}/", "") for words in commands]
        shown[0] = " ".join(["resunet-ds", "convert", "CASES…", "-d", str(DATASET_ID), "-n", DATASET_NAME])
        return {
            "seconds": round(seconds),
            "hardware": records[0]["machine"],
            "versions": records[0]["versions"],
            "commands": shown,
        }

    def _prediction_time(self) -> str:
        """Predict one case by the command without flips, and say how long that took."""
        images = sorted((self.folder / "nnUNet_raw" / DATASET / "imagesTr").glob("*.nii.gz"))[: len(_CHANNEL_FLAGS)]
        case = [word for pair in zip(_CHANNEL_FLAGS, map(str, images), strict=True) for word in pair]
        start = time.monotonic()
        StockCommands(self.folder).run(
            "resunet-ds", "predict", *case, "-o", str(self.folder / "timed"), "-m", str(self.packed), "--no-tta",
            "-device", self.device, "--overwrite",
        )  # fmt: skip
        seconds = time.monotonic() - start
        hardware = machine(torch.device(self.device))
        return f"A case took {seconds:.0f} s without flips, the start of the program included, on {hardware}."
