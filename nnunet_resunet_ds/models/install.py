"""Install a packed model below ``$nnUNet_results``: ours, or nnU-Net's own zip; nothing that could run code is read."""

import os
import shutil
import tempfile
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.inference.model import Model, load_model
from nnunet_resunet_ds.models.archive import unpack
from nnunet_resunet_ds.training.checkpoints import FOLD, read_checkpoint, write_checkpoint
from nnunet_resunet_ds.training.safe_weights import SAFE_ENDING


def install(archive: Path, results: Path, *, overwrite: bool = False) -> list[Path]:
    """Unpack, check and read every model of a zip, then put it in its place; stock nnU-Net reads it there, too.

    Args:
        archive: the zip.
        results: ``$nnUNet_results``.
        overwrite: replace a model of the same name.

    Returns:
        The folder of each model.

    Raises:
        InputError: the zip is damaged or refused, or a model of this name is there.
    """
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results, prefix=".install_") as name:
        folder = Path(name)
        models = list(unpack(archive, folder))
        targets = [results / model.relative_to(folder) for model in models]
        there = [target for target in targets if target.exists()]
        if there and not overwrite:
            msg = f"{there[0]}: is there; give --overwrite to replace it, or move it away"
            raise InputError(msg)
        for model in models:
            _with_checkpoints(model)
            _read(archive, model)
        for model, target in zip(models, targets, strict=True):
            _put(model, target, folder / "replaced")
    return targets


def _with_checkpoints(model: Path) -> None:
    """Write the weights as checkpoints, number for number, where they are safetensors."""
    for file in model.glob(f"{FOLD}*/*{SAFE_ENDING}"):
        write_checkpoint(read_checkpoint(file), file.with_suffix(".pth"))
        file.unlink()


def _read(archive: Path, model: Path) -> list[Model]:
    """Read all weights of a model, as prediction does.

    Raises:
        InputError: there are none, or they are refused.
    """
    names = {file.name for file in model.glob(f"{FOLD}*/*.pth")}
    if not names:
        msg = f"{archive}: {model.name} has no weights; pack it again"
        raise InputError(msg)
    try:
        return [load_model(model, None, name) for name in sorted(names)]
    except InputError as error:
        msg = str(error).replace(f"{model.parent.parent}/", f"{archive}: ")
        raise InputError(msg) from error


def _put(model: Path, target: Path, replaced: Path) -> None:
    """Move a model to its place, the one that was there out of it."""
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        os.replace(target, replaced)  # noqa: PTH105 (the name everyone greps for)
    shutil.move(model, target)
