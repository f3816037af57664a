"""Finding a trained model below ``$nnUNet_results`` by what a user calls it."""

from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import dataset_folder


def model_folder(dataset_id: int, trainer: str, configuration: str, plans: str | None = None) -> Path:
    """Return ``DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION``.

    Args:
        dataset_id: of the training data.
        trainer: class name.
        configuration: such as ``3d_fullres``.
        plans: their name; None takes those that there are, where there is one.

    Raises:
        InputError: there is no such model, or several.
    """
    dataset = dataset_folder("nnUNet_results", dataset_id)
    found = sorted(dataset.glob(f"{trainer}__{plans or '*'}__{configuration}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name.split("__")[1] for path in found)
        msg = f"{dataset}: {trainer} has models of several plans, {names}; name one with -p"
        raise InputError(msg)
    there = ", ".join(sorted(path.name for path in dataset.glob("*__*__*"))) or "none"
    msg = (
        f"{dataset}: no model {trainer}__{plans or '*'}__{configuration}; models there: {there}; name one with -tr, -p "
        "and -c, or give its folder with -m"
    )
    raise InputError(msg)
