"""Find the class of a trainer by its name, as nnU-Net's ``-tr`` gives it."""

import contextlib
import io
import time
from collections.abc import Callable
from typing import Any

from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_resunet_ds.nnunet_trainers import resunet_ds_trainers

MAX_TRIES = 20
_SECONDS_BETWEEN_TRIES = 0.1


def trainer_class(name: str) -> Any:  # noqa: ANN401 (a class of nnU-Net, which has no types)
    """Return the class: one of ours at once, others by nnU-Net's own search, whose long messages are not shown.

    Raises:
        Exception: there is none of that name, or a module that nnU-Net searches cannot be imported.
    """
    if name in resunet_ds_trainers.__all__:
        return getattr(resunet_ds_trainers, name)
    with contextlib.redirect_stdout(io.StringIO()):
        return undisturbed(lambda: recursive_find_trainer_class_by_name(name))


def undisturbed(search: Callable[[], Any]) -> Any:  # noqa: ANN401 (what the search finds)
    """Return what a search of nnU-Net finds, and search again where another thread has imported a module meanwhile.

    The search walks over Python's table of modules, which must not grow on the way; a compiler of PyTorch, for example,
    imports in threads of its own.
    """
    for _ in range(MAX_TRIES - 1):
        try:
            return search()
        except RuntimeError as error:
            if "changed size during iteration" not in str(error):
                raise
        time.sleep(_SECONDS_BETWEEN_TRIES)
    return search()
