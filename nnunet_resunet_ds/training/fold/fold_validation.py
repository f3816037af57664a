"""Tell whether nnU-Net's validation of a fold is of the weights that lie there now."""

from pathlib import Path

from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL, SUMMARY, VALIDATION
from nnunet_resunet_ds.training.fold.fold_record import VALIDATED, WEIGHTS, read_record


def is_validated(fold: Path, checkpoint: str = FINAL) -> bool:
    """Tell whether the validation of a fold is there whole, and of its final weights.

    The record of the fold says which weights were validated. Trainers of others write none: there the validation must
    not be older than the weights, where these are there.

    Args:
        fold: its folder.
        checkpoint: name of the weights.
    """
    summary, weights = fold / VALIDATION / SUMMARY, fold / checkpoint
    if not summary.is_file():
        return False
    record = read_record(fold)
    if WEIGHTS in record:
        return bool(record.get(VALIDATED) == record[WEIGHTS])
    return not weights.is_file() or summary.stat().st_mtime_ns >= weights.stat().st_mtime_ns
