"""Trying a model on next to nothing before any case is read: damaged plans show here, in one line."""

import numpy as np
import torch

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.preprocessing import preprocess, restore

_SIZE = 8
_AS_WRITTEN = "give the plans.json that training wrote, unchanged, and the nnU-Net that it was trained with"


def check_runs(model: Model) -> None:
    """Preprocess a tiny volume and bring it back, and send the shape of a patch through the network.

    Raises:
        InputError: the plans do not describe how.
    """
    try:
        images = np.random.default_rng(0).random((len(model.channels), *[_SIZE] * 3), np.float32) + 1
        spacing = [model.configuration.spacing[axis] for axis in model.plans.transpose_backward]
        case = preprocess(model, images, spacing)
        restored = restore(model, torch.zeros(model.n_regions, *case.data.shape[1:]), case, are_logits=True)
        with torch.device("meta"), torch.inference_mode():
            output = model.build_network()(torch.zeros(1, len(model.channels), *model.patch_size))
        ok = restored.shape[1:] == images.shape[1:] and output.shape == (1, model.n_regions, *model.patch_size)
    except InputError:
        raise
    except Exception as error:  # whatever damaged plans make nnU-Net stumble over
        reason = (str(error).strip().splitlines() or [""])[0]
        msg = f"{model.folder / PLANS_JSON}: does not work ({type(error).__name__}: {reason}); {_AS_WRITTEN}"
        raise InputError(msg) from error
    if not ok:
        msg = f"{model.folder / PLANS_JSON}: axes or patch size do not fit each other; {_AS_WRITTEN}"
        raise InputError(msg)
