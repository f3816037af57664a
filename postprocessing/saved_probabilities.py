"""Find the probabilities that were saved next to a label map, where they are of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.regions import Region
from nnunet_resunet_ds.base.run_file import read_runs
from postprocessing.model_config import dataset_json_of, nnunet_config, regions_of_predictions
from postprocessing.probabilities import PROBABILITIES, check_of_label_map, probabilities_on_grid


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
    file = folder / f"{case}{PROBABILITIES}"
    regions = regions_of_predictions(folder) if file.is_file() else ()
    if not regions:
        return None
    probabilities = probabilities_on_grid(file, grid)
    try:
        check_of_label_map(probabilities, file, labels, read_runs(folder), nnunet_config(dataset_json_of(folder)))
    except InputError as error:
        LOG.warning("%s; they are left out", error)
        return None
    return SavedProbabilities(probabilities, regions)
