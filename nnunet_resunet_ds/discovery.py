"""Let nnU-Net find our trainers: add our folder of trainers to its search path ``nnUNet_extTrainer``.

``discovery.pth`` next to this file is installed into site-packages, where Python runs it at every start. It must
therefore stay cheap (``os`` and nothing else) and must never fail.
"""

import os
from collections.abc import MutableMapping

SEARCH_PATH_VARIABLE = "nnUNet_extTrainer"
OPT_OUT_VARIABLE = "RESUNET_DS_NO_DISCOVERY"


def trainer_folder() -> str:
    """Return the folder that holds the shim which nnU-Net scans, and no other Python file.

    The package folder itself must not be scanned: nnU-Net imports what it finds there as top-level modules.
    """
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "nnunet_trainers")  # noqa: PTH100, PTH118, PTH120


def register(environment: MutableMapping[str, str] = os.environ) -> None:
    """Append our shim folder to ``nnUNet_extTrainer``, unless it is there or the user opted out.

    Entries of the user's own stay, in front. Child processes inherit the variable and run this again without effect.
    """
    if environment.get(OPT_OUT_VARIABLE):
        return
    entries = [entry for entry in environment.get(SEARCH_PATH_VARIABLE, "").split(os.pathsep) if entry]
    if trainer_folder() not in entries:
        environment[SEARCH_PATH_VARIABLE] = os.pathsep.join([*entries, trainer_folder()])
