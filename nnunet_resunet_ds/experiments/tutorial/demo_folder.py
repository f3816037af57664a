"""Read what a demo has left: cases with their label maps, the census, scores, the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.staging import MANIFEST
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json
from nnunet_resunet_ds.base.images import read_image, read_labels
from nnunet_resunet_ds.base.model_id import fold_folder
from nnunet_resunet_ds.demo.held_out import SUMMARY, HeldOutCase, held_out_cases
from nnunet_resunet_ds.demo.run_demo import FOLD, METRICS, PHANTOMS, REPORT, Workflow
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint

Labels = NDArray[np.integer]


@dataclass(frozen=True)
class Shown:
    """A held-out case, all (Z, Y, X), labels in nnU-Net's values."""

    case_id: str
    images: Mapping[str, NDArray[np.integer]]
    """By channel name."""
    truth: Labels
    before: Labels
    """The prediction before post-processing."""
    after: Labels


@dataclass(frozen=True)
class DemoFolder:
    """The folder of a finished demo.

    Raises:
        InputError: no demo has been finished there.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / SUMMARY).is_file():
            msg = f"{self.folder}: holds no finished demo; make one with resunet-ds demo -o {self.folder}"
            raise InputError(msg)

    @property
    def workflow(self) -> Workflow:
        """The folders of the demo's steps."""
        return Workflow(self.folder, "cpu")

    @property
    def fold(self) -> Path:
        """The folder of the trained fold."""
        return fold_folder(self.workflow.model_folder, FOLD)

    @cached_property
    def log(self) -> dict[str, list[Any]]:
        """What nnU-Net and ours have noted of each epoch, by name."""
        return dict(read_checkpoint(self.fold / FINAL)["logging"])

    @property
    def report(self) -> Path:
        """The report of the held-out cases."""
        return self.folder / REPORT

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Mean Dice before and after post-processing, and untrained."""
        return dict(read_json(self.folder / SUMMARY))

    @cached_property
    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """Region → metric → statistics, as ``evaluate`` has written them."""
        return dict(read_json(self.folder / METRICS)["summary"])

    @cached_property
    def census(self) -> dict[str, dict[str, int]]:
        """Training case → tissue → voxels, as ``convert`` has counted them."""
        manifest = self.folder / "nnUNet_raw" / self.workflow.dataset / MANIFEST
        return {case: entry["voxels"] for case, entry in read_json(manifest)["cases"].items() if entry["voxels"]}

    @cached_property
    def cases(self) -> list[Shown]:
        """The held-out cases."""
        phantoms = self.folder / PHANTOMS
        return [self._shown(case) for case in held_out_cases(phantoms / "held_out", phantoms / "held_out_truth")]

    def _shown(self, case: HeldOutCase) -> Shown:
        before, after = (
            read_labels(folder / f"{case.case_id}{FILE_ENDING}")[1]
            for folder in (self.workflow.predictions, self.workflow.labels)
        )
        images = {name: sitk.GetArrayFromImage(read_image(case.images[name])) for name in CHANNEL_NAMES}
        return Shown(case.case_id, images, case.truth, before, after)

    @property
    def most_tumour(self) -> Shown:
        """The case with most tissues, and of these the one with most tumour."""
        return max(self.cases, key=lambda case: (len(np.unique(case.truth)), np.count_nonzero(case.truth)))

    @property
    def most_changed(self) -> Shown:
        """The case of which post-processing has changed most voxels."""
        return max(self.cases, key=lambda case: np.count_nonzero(case.before != case.after))
