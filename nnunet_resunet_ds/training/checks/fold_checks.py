"""Check that plans, dataset, split and weights belong together, before a training makes its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.configurations import changed_settings
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, read_json_in_turn
from nnunet_resunet_ds.base.model_id import begun_folds
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, SPLITS
from nnunet_resunet_ds.base.splits_file import fold_of_split, noted_cases, read_split
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import CONTINUE_REMEDY, plans_of
from nnunet_resunet_ds.training.checkpoint.checkpoints import Checkpoint
from nnunet_resunet_ds.training.checkpoint.pretrained import check_same_start, pretrained_of
from nnunet_resunet_ds.training.planning.recipe import SECTION, recipe_notes

N_STOCK_FOLDS = 5
"""nnU-Net makes a split of so many folds where there is none."""


def check_dataset(plans_name: str, dataset_json: Mapping[str, Any], preprocessed: Path) -> None:
    """Refuse plans that were made for another dataset.

    Args:
        plans_name: for the message.
        dataset_json: of the dataset to train on.
        preprocessed: folder of the dataset that the plans name, below ``$nnUNet_preprocessed``.

    Raises:
        InputError: that folder is not there, or is of another dataset.
    """
    file = preprocessed / DATASET_JSON
    remedy = "plan this dataset itself: resunet-ds plan -d ID, or nnUNetv2_plan_and_preprocess"
    if not file.is_file():
        msg = f"the plans {plans_name} are for {preprocessed.name}, and {file} is not there: {remedy}"
        raise InputError(msg)
    if read_json(file) != dataset_json:
        msg = f"the plans {plans_name} are for another dataset, {preprocessed.name}: {remedy}"
        raise InputError(msg)


def check_dataset_of_command(plans: Mapping[str, Any], words: Sequence[str]) -> None:
    """Refuse plans of another dataset than ``nnUNetv2_train`` names: nnU-Net would read and write there.

    Args:
        plans: of the training.
        words: of the command line, such as ``nnUNetv2_train 138 3d_fullres 0``; of any other program nothing is said.

    Raises:
        InputError: they are, as in a folder that was copied.
    """
    program, *arguments = words or [""]
    asked = arguments[0] if arguments else ""
    if Path(program).stem != "nnUNetv2_train" or not (asked.isdecimal() or asked.startswith("Dataset")):
        return
    of_dataset = plans["dataset_name"]
    if of_dataset == asked or (asked.isdecimal() and of_dataset.startswith(f"Dataset{int(asked):03d}_")):
        return
    msg = (
        f"the plans {plans['plans_name']} in the folder of dataset {asked} are of {of_dataset}, as in a copy, so "
        f"nnU-Net would read and write there: plan and preprocess it again: nnUNetv2_plan_and_preprocess -d {asked}"
    )
    raise InputError(msg)


def n_folds(preprocessed: Path) -> int:
    """Return the number of folds of the split, or of the one that nnU-Net makes where there is none.

    Raises:
        InputError: the split is damaged.
    """
    split = read_split(preprocessed)
    return N_STOCK_FOLDS if split is None else len(split)


def check_fold(fold: int | str, preprocessed: Path, n_training: int) -> None:
    """Refuse a fold that the split does not have; nnU-Net would make up a random one.

    Args:
        fold: a number, or ``"all"``.
        preprocessed: folder that holds ``splits_final.json``, where there is one.
        n_training: cases of the dataset.

    Raises:
        InputError: no such fold, or too few cases for nnU-Net's own split.
    """
    if fold == "all":
        return
    file = preprocessed / SPLITS
    if not file.is_file() and n_training < N_STOCK_FOLDS:
        msg = (
            f"{n_training} cases are too few for nnU-Net's {N_STOCK_FOLDS} folds: make a split with "
            "resunet-ds splits -d ID --folds 2, or train with fold all"
        )
        raise InputError(msg)
    n = n_folds(preprocessed)
    if not 0 <= int(fold) < n:
        where = f"{file} has" if file.is_file() else "nnU-Net makes"
        msg = f"fold {fold} is not there: {where} folds 0 to {n - 1}; name one of these, or all"
        raise InputError(msg)


def check_cases(path: Path, note: Mapping[str, Any], preprocessed: Path, fold: int | str, remedy: str) -> None:
    """Refuse a training on other cases than its fold has now: it may have seen the cases that validate it.

    Args:
        path: of its checkpoint or folder.
        note: checkpoint's section or record of the fold, which names the cases; one without cases is accepted.
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


def check_trainer(path: Path, checkpoint: Checkpoint, trainer: str) -> None:
    """Refuse a checkpoint that another of our trainers made.

    Args:
        path: of the checkpoint.
        checkpoint: what it holds; one that has no section of ours is left to others.
        trainer: class name of the trainer that is to go on with it.

    Raises:
        InputError: with the trainer that made it.
    """
    made_by = checkpoint.get("trainer_name")
    if SECTION in checkpoint and made_by != trainer:
        msg = f"{path}: was made by {made_by}, not {trainer}; continue it with -tr {made_by}"
        raise InputError(msg)


def check_plans(path: Path, checkpoint: Checkpoint, plans: Mapping[str, Any], configuration: str) -> None:
    """Refuse a checkpoint of plans with another patch or network.

    Args:
        path: of the checkpoint.
        checkpoint: what it holds.
        plans: of the training that is to go on.
        configuration: of these plans.

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


def check_other_folds(fold: Path, plans: Mapping[str, Any], configuration: str) -> list[str]:
    """Refuse to train a fold into a model whose other folds were trained with another patch or network.

    Args:
        fold: folder of the fold, in that of the model.
        plans: of the training.
        configuration: of these plans.

    Returns:
        A line where they were trained by another recipe.

    Raises:
        InputError: with what differs, and what to do; other weights to start from count, too.
    """
    model = fold.parent
    others = [other for other in begun_folds(model) if other != fold]
    if not others or not (model / PLANS_JSON).is_file():
        return []
    trained = read_json_in_turn(model / PLANS_JSON)
    changed = changed_settings(trained, plans, configuration)
    if changed:
        msg = (
            f"{others[0]}: was trained with another {', '.join(changed)} than plans {plans['plans_name']} have now. "
            "The folds of a model must share them: give these plans another name with resunet-ds plan --name, or move "
            "that fold away"
        )
        raise InputError(msg)
    check_same_start(model, pretrained_of(trained), plans)
    return recipe_notes(f"{model}: its latest fold", trained, plans)
