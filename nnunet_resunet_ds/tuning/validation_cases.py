"""Tell which cases each fold of a model has not seen, and which weights it has."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import SPLITS
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.base.splits_file import fold_of_split
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import cases_of, weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SUMMARY, VALIDATION
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.fold.fold_validation import is_validated
from nnunet_resunet_ds.tuning.validation_data import dataset_folder_of


def validation_ids(folder: Path, checkpoints: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the cases that each fold was not trained on: as its checkpoint says, else as the split is now.

    Args:
        folder: of the model.
        checkpoints: fold → its checkpoint.

    Raises:
        InputError: the dataset or its splits are not there, a fold has no validation cases of its own, or folds were
            trained on splits that do not go together.
    """
    dataset = dataset_folder_of(folder, "nnUNet_preprocessed")
    held_out = {fold: _held_out(dataset, fold, file) for fold, file in checkpoints.items()}
    times = Counter(case_id for case_ids in held_out.values() for case_id in case_ids)
    twice = sorted(case_id for case_id, count in times.items() if count > 1)
    if twice:
        msg = (
            f"{folder}: {len(twice)} cases, such as {twice[0]}, were held out of several folds, so these were trained "
            "on different splits; name those of one split with -f, or train the others again"
        )
        raise InputError(msg)
    for case_id in times:
        check_path_part(f"{dataset / SPLITS}: a case id", case_id)
    return held_out


def weights_tuned_on(checkpoints: Mapping[str, Path]) -> tuple[tuple[str, str], ...]:
    """Return each fold with the identity of its weights.

    Args:
        checkpoints: fold → its checkpoint.

    Raises:
        InputError: a checkpoint cannot be read.
    """
    return tuple(
        (fold, weights_identity(read_checkpoint(file, mapped=True)["network_weights"]))
        for fold, file in checkpoints.items()
    )


def _held_out(dataset: Path, fold: str, checkpoint: Path) -> list[str]:
    now = fold_of_split(dataset, fold)
    noted = cases_of(read_checkpoint(checkpoint, mapped=True))
    if noted is not None and fold != "all":
        if now != noted:
            LOG.warning("%s: the split has changed since fold %s was trained; its own cases are used", dataset, fold)
        return list(noted.val)
    if now is None:
        read_json(dataset / SPLITS)  # says so where there is none
        msg = (
            f"{dataset / SPLITS}: has no validation cases of fold {fold}; this needs folds with cases that were held "
            "out: train fold 0, 1 …"
        )
        raise InputError(msg)
    validated = _validated_cases(checkpoint)
    if not validated:
        LOG.info("fold %s: nothing notes which cases it was trained on, so those of the split as it is count", fold)
    if validated and not validated.issuperset(now.val):
        msg = (
            f"{checkpoint.parent}: was validated on other cases than fold {fold} of {dataset / SPLITS} has now; bring "
            "that split back, or train the fold again"
        )
        raise InputError(msg)
    return list(now.val)


def _validated_cases(checkpoint: Path) -> set[str]:
    """Return the cases that nnU-Net's summary of a fold is about; none where there is no summary of these weights."""
    summary = checkpoint.parent / VALIDATION / SUMMARY
    if not is_validated(checkpoint.parent, checkpoint.name):
        return set()
    try:
        files = [Path(case["prediction_file"]).name for case in read_json(summary)["metric_per_case"]]
    except (InputError, LookupError, TypeError):
        return set()
    return {name.removesuffix(FILE_ENDING) for name in files}
