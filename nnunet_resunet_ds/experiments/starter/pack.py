"""Pack a trained model: weights of the folds in 16 bits, plans and dataset.json, and nothing else."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nnunet_resunet_ds.base.model_id import FOLD
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.models.card import CARD
from nnunet_resunet_ds.models.card_text import CARD_TEXT
from nnunet_resunet_ds.models.package import write_safe_model, write_texts
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SAFE_FINAL
from nnunet_resunet_ds.uncertainty.expected_dice import EXPECTED_DICE
from postprocessing.model_config import SETTINGS_FILE

_TEXTS = (PLANS_JSON, DATASET_JSON, SETTINGS_FILE, CARD, CARD_TEXT)


def pack(folder: Path, target: Path, folds: Sequence[str]) -> None:
    """Write what prediction needs of a trained model.

    Args:
        folder: that training left.
        target: folder, made where it is missing.
        folds: whose weights are taken.
    """
    target.mkdir(exist_ok=True)
    model = load_model(folder, folds)
    write_safe_model(model, target, half=True, case_ids=True)
    write_texts(model, target, case_ids=True)


def publish(packed: Path, target: Path) -> None:
    """Put a packed and measured model in the place of the last one, without what tuning stored."""
    new, old = (target.with_name(f".{target.name}.{word}") for word in ("new", "old"))
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    for weights in sorted(packed.glob(f"{FOLD}*/{SAFE_FINAL}")):
        (new / weights.parent.name).mkdir(parents=True)
        shutil.copyfile(weights, new / weights.parent.name / SAFE_FINAL)
    for name in _TEXTS:
        shutil.copyfile(packed / name, new / name)
    if (packed / EXPECTED_DICE).is_file():  # too few cases teach nothing
        shutil.copyfile(packed / EXPECTED_DICE, new / EXPECTED_DICE)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
