"""Find the class of a trainer by its name, as nnU-Net's ``-tr`` gives it."""

import contextlib
import io
from typing import Any

from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_resunet_ds.nnunet_trainers import resunet_ds_trainers


def trainer_class(name: str) -> Any:  # noqa: ANN401 (a class of nnU-Net, which has no types)
    """Return the class: one of ours at once, others by nnU-Net's own search, whose long messages are not shown.

    Raises:
        Exception: there is none of that name, or a module that nnU-Net searches cannot be imported.
    """
    if name in resunet_ds_trainers.__all__:
        return getattr(resunet_ds_trainers, name)
    with contextlib.redirect_stdout(io.StringIO()):
        return recursive_find_trainer_class_by_name(name)
