"""Whether probabilities are of the label map that nnU-Net wrote next to them: it paints what exceeds 0.5."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_labels
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig

_AS_NNUNET = PostprocessingConfig.preset("nnunet")


def check_painted(probabilities: NDArray[np.floating], file: Path, label_map: Path) -> None:
    """Refuse probabilities that nnU-Net would have painted as another label map, such as those of another model.

    Args:
        probabilities: (R, Z, Y, X) on the grid of the label map.
        file: that they are from, for the message.
        label_map: that nnU-Net wrote, in its own label values.

    Raises:
        InputError: they are of another prediction, or none, or the label map cannot be read.
    """
    _, labels = read_labels(label_map)
    try:
        differing = int((postprocess(probabilities, _AS_NNUNET) != labels).sum())
    except InputError as error:
        msg = f"{file}: {error}"
        raise InputError(msg) from error
    if differing:
        msg = (
            f"{file}: is not of the label map next to it, which differs from it in {differing} voxels, so one of them "
            "is of another prediction; predict this case again, with probabilities"
        )
        raise InputError(msg)
