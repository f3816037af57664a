"""Name the files of checkpoints, and find which folds of a model have them."""

from pathlib import Path

from nnunet_resunet_ds.base.model_id import FOLD

LATEST, BEST, BEST_LOSS, FINAL = (f"checkpoint_{name}.pth" for name in ("latest", "best", "best_loss", "final"))
"""nnU-Net's names, and ours for the epoch of the lowest validation loss."""
AVERAGED, KEPT = "checkpoint_averaged.pth", "kept_weights"
"""The mean of the weights of the last epochs, and the folder of these weights: see `kept_weights`, `averaging`."""
SAFE_ENDING = ".safetensors"
"""Of weights that cannot run code when they are read: see `safe_weights`."""
SAFE_FINAL = f"checkpoint_final{SAFE_ENDING}"
"""The weights of `FINAL` in a model that was made to be shared."""
VALIDATION, SUMMARY = "validation", "summary.json"
"""nnU-Net's folder of predicted validation cases, next to the checkpoints, and the last file that it writes there."""


def checkpoint_name(folder: Path, checkpoint: str) -> str:
    """Return the name of the weights' files: `SAFE_FINAL` where the final ones are asked for and there as such."""
    is_safe = checkpoint == FINAL and not available_folds(folder) and available_folds(folder, SAFE_FINAL)
    return SAFE_FINAL if is_safe else checkpoint


def available_folds(folder: Path, checkpoint: str = FINAL) -> list[str]:
    """Return the names of the folds that have a checkpoint, numbers first in order, ``all`` last."""
    names = [path.parent.name.removeprefix(FOLD) for path in folder.glob(f"{FOLD}*/{checkpoint}")]
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
