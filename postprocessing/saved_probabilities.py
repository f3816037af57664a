"""Find the probabilities that were saved next to a label map, where they are of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.dataset_json import read_dataset_json, regions_of
from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.regions import REGIONS, Region
from nnunet_resunet_ds.base.run_file import Runs, read_runs
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig
from postprocessing.model_config import nnunet_config
from postprocessing.probabilities import PROBABILITIES_ENDING, probabilities_on_grid

_AS_NNUNET = PostprocessingConfig.preset("nnunet")


class SavedProbabilities(NamedTuple):
    """The probabilities next to a label map."""

    probabilities: NDArray[np.floating]
    """(R, Z, Y, X)."""
    regions: tuple[Region, ...]


def saved_probabilities(
    folder: Path, case: str, labels: NDArray[np.integer], grid: sitk.Image
) -> SavedProbabilities | None:
    """Return the probabilities next to a label map; None where there are none of it.

    Args:
        folder: of the label map.
        case: its name.
        labels: (Z, Y, X) of the label map, in nnU-Net's values.
        grid: where they lie.

    Raises:
        InputError: ``CASE.npz`` is damaged.
    """
    file = folder / f"{case}{PROBABILITIES_ENDING}"
    if not file.is_file():
        return None
    try:
        dataset_json = read_dataset_json(folder)
    except InputError:
        return None  # of plain labels
    probabilities = probabilities_on_grid(file, grid)
    try:
        check_of_label_map(probabilities, file, labels, read_runs(folder), nnunet_config(dataset_json))
    except InputError as error:
        LOG.warning("%s; they are left out", error)
        return None
    return SavedProbabilities(probabilities, REGIONS if dataset_json is None else regions_of(dataset_json))


def check_of_label_map(
    probabilities: NDArray[np.floating],
    file: Path,
    labels: NDArray[np.integer],
    runs: Runs | None,
    as_nnunet: PostprocessingConfig = _AS_NNUNET,
) -> None:
    """Refuse probabilities that are not of the label map next to them; earlier ones may be left there.

    They are of it where a run of ours wrote both. Else nnU-Net must have painted it from them.

    Args:
        probabilities: (R, Z, Y, X) on the grid of the label map.
        file: that they are from, ``CASE.npz``.
        labels: (Z, Y, X) of the label map, in nnU-Net's values.
        runs: what ``run.json`` next to them says; None where there is none.
        as_nnunet: see `check_painted`.

    Raises:
        InputError: they are of another prediction.
    """
    if runs is None or not runs.has_probabilities(file.name.removesuffix(PROBABILITIES_ENDING)):
        check_painted(probabilities, file, labels, as_nnunet)


def check_painted(
    probabilities: NDArray[np.floating],
    file: Path,
    labels: NDArray[np.integer],
    as_nnunet: PostprocessingConfig = _AS_NNUNET,
) -> None:
    """Refuse probabilities that nnU-Net would have painted as another label map, such as those of another model.

    Args:
        probabilities: (R, Z, Y, X) on the grid of the label map.
        file: that they are from, for the message.
        labels: (Z, Y, X) of the label map that nnU-Net wrote, in its values.
        as_nnunet: what nnU-Net does for the regions of the model, see `postprocessing.model_config.nnunet_config`.

    Raises:
        InputError: they are of another prediction, or none.
    """
    with said_of(file):
        differing = int((postprocess(probabilities, as_nnunet) != labels).sum())
    if differing:
        msg = (
            f"{file}: is not of the label map next to it, which differs from it in {differing} voxels, so one of them "
            "is of another prediction; predict this case again, with probabilities"
        )
        raise InputError(msg)
