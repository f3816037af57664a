"""The way from a raw BraTS folder to label maps, by the very commands a user types, in folders of its own."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.discovery import OPT_OUT_VARIABLE
from nnunet_resunet_ds.training.plan_writing import DEFAULT_NAME

TRAINER = "ResUNetDSTrainer"
CONFIGURATION = "3d_fullres"
METRICS = "metrics.json"
REPORT = "report.html"
# Unless the user has set them: nnU-Net starts eight to twelve workers that each import torch anew, which costs a small
# machine more than it gives. (Its planner does not take 0 augmentation workers.)
_SMALL_MACHINE = {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "1"}
_CPU_TRAINING = {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "0"}


@dataclass(frozen=True)
class Workflow:
    """Runs the commands one after the other, each printed before it runs, with nnU-Net's folders below ``folder``."""

    folder: Path
    dataset_id: int
    dataset_name: str
    device: str
    """``cpu`` or ``cuda``, as nnU-Net's ``-device``."""
    fold: str
    """``0`` to ``4``, or ``all``."""

    def nnunet_folder(self, kind: str) -> Path:
        """Return where nnU-Net's ``raw``, ``preprocessed`` or ``results`` are."""
        return self.folder / f"nnUNet_{kind}"

    @property
    def predictions(self) -> Path:
        """Stock label maps and probabilities."""
        return self.folder / "predictions"

    @property
    def labels(self) -> Path:
        """Post-processed label maps."""
        return self.folder / "labels"

    @property
    def report_page(self) -> Path:
        """The HTML file that shows it all."""
        return self.folder / REPORT

    @property
    def model_folder(self) -> Path:
        """nnU-Net's folder of the trained model, with ``plans.json``."""
        (found,) = self.nnunet_folder("results").glob(f"Dataset*/{TRAINER}__{DEFAULT_NAME}__{CONFIGURATION}")
        return found

    def prepare(self, inputs: Sequence[Path], plan_flags: Sequence[str]) -> None:
        """Convert, fingerprint and preprocess, and write small plans."""
        for variable, folder in self._folders().items():
            Path(folder).mkdir(parents=True, exist_ok=True)
            LOG.info("$ export %s=%s", variable, shlex.quote(folder))
        self._run("resunet-ds", "convert", *map(str, inputs), "-d", str(self.dataset_id), "-n", self.dataset_name)
        self._run(
            "nnUNetv2_plan_and_preprocess", "-d", str(self.dataset_id), "-c", CONFIGURATION, "-npfp", "2", "-np", "2"
        )
        self._run("resunet-ds", "plan", "-d", str(self.dataset_id), *plan_flags)

    def train(self) -> None:
        """Train one fold, with nnU-Net's own validation at the end."""
        self._run(
            "nnUNetv2_train", str(self.dataset_id), CONFIGURATION, self.fold,
            "-tr", TRAINER, "-p", DEFAULT_NAME, "-device", self.device,
            settings=_CPU_TRAINING if self.device == "cpu" else {},
        )  # fmt: skip

    def predict(self) -> None:
        """Predict every case of ``imagesTs`` and post-process."""
        (images,) = self.nnunet_folder("raw").glob(f"Dataset{self.dataset_id:03d}_*/imagesTs")
        self._run(
            "nnUNetv2_predict", "-d", str(self.dataset_id), "-i", str(images), "-o", str(self.predictions),
            "-c", CONFIGURATION, "-f", self.fold, "-tr", TRAINER, "-p", DEFAULT_NAME, "-device", self.device,
            "--save_probabilities", "-npp", "1", "-nps", "1",
        )  # fmt: skip
        self._run("resunet-ds", "postprocess", "-i", str(self.predictions), "-o", str(self.labels))

    def report(self, images: Path, truth: Path) -> None:
        """Evaluate the post-processed label maps, and write the page to look at.

        Args:
            images: raw cases that were predicted.
            truth: their references, in the release's names and values.
        """
        compared = ("-pred", str(self.labels), "-ref", str(truth))
        metrics = str(self.folder / METRICS)
        self._run("resunet-ds", "evaluate", *compared, "-o", metrics)
        self._run(
            "resunet-ds", "report", "-i", str(images), *compared, "--metrics", metrics,
            "--before", str(self.predictions), "-o", str(self.report_page),
        )  # fmt: skip

    def _run(self, *command: str, settings: Mapping[str, str] = _SMALL_MACHINE) -> None:
        LOG.info("\n$ %s", shlex.join(command))
        done = subprocess.run(command, env=self._environment(settings), check=False)
        if done.returncode != 0:
            msg = f"{command[0]} failed with exit code {done.returncode}; its own message is above"
            raise RuntimeError(msg)

    def _folders(self) -> dict[str, str]:
        return {f"nnUNet_{kind}": str(self.nnunet_folder(kind)) for kind in ("raw", "preprocessed", "results")}

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        # the commands of this Python, also when its environment is not activated
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {**settings, **os.environ, **self._folders(), "PATH": path, "PYTHONUNBUFFERED": "1"}
        environment.pop(OPT_OUT_VARIABLE, None)
        return environment
