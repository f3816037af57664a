"""What weights were trained with, compared with the split, the plans and the dataset that are there now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON, SPLITS
from nnunet_resunet_ds.base.splits_file import fold_of_split, noted_cases
from nnunet_resunet_ds.checkpoints import CONTINUE_REMEDY, Checkpoint, plans_of
from nnunet_resunet_ds.plans import changed_settings


def check_cases(path: Path, note: Mapping[str, Any], preprocessed: Path, fold: int | str, remedy: str) -> None:
    """Refuse a training on other cases than its fold has now: it may have seen those that validate it.

    Args:
        path: of its checkpoint or folder.
        note: of its cases, a checkpoint's section or the record of the fold; nothing is checked where it has none.
        preprocessed: folder of the dataset, with the split.
        fold: of the training.
        remedy: what to do, other than bringing the split back.

    Raises:
        InputError: with what to do.
    """
    noted, now = noted_cases(note), fold_of_split(preprocessed, fold)
    if noted and now and noted != now:
        msg = (
            f"{path}: was trained on other cases than fold {fold} of {SPLITS} has now; bring that split back, or "
            f"{remedy}"
        )
        raise InputError(msg)


def check_plans(path: Path, checkpoint: Checkpoint, plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse a checkpoint of plans with another patch or network.

    Args:
        path: of the checkpoint.
        checkpoint: what it holds.
        plans: to go on with.
        configuration: of these.

    Raises:
        InputError: with what differs, and what to do.
    """
    changed = changed_settings(plans_of(checkpoint), plans, configuration)
    if changed:
        msg = (
            f"{path}: was trained with another {', '.join(changed)} than the plans {plans['plans_name']} have now; "
            f"{CONTINUE_REMEDY}"
        )
        raise InputError(msg)


def check_other_folds(fold: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse to train a fold into a model whose other folds were trained with another patch or network.

    Args:
        fold: folder of the fold, in that of the model.
        plans: to train it with.
        configuration: of these.

    Raises:
        InputError: with what differs, and what to do.
    """
    model = fold.parent
    others = sorted({path.parent for path in model.glob("fold_*/checkpoint_*.pth")} - {fold})
    if not others or not (model / PLANS_JSON).is_file():
        return
    changed = changed_settings(read_json(model / PLANS_JSON), plans, configuration)
    if changed:
        msg = (
            f"{others[0]}: was trained with another {', '.join(changed)} than plans {plans['plans_name']} have now. "
            "The folds of a model must share them: give these plans another name with resunet-ds plan --name, or move "
            "that fold away"
        )
        raise InputError(msg)

