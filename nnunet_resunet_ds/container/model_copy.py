"""Copy of a model what prediction reads: weights without the state of the training, plans, dataset, settings."""

import json
import shutil
from pathlib import Path

from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.training.checkpoints import read_checkpoint, write_checkpoint
from nnunet_resunet_ds.uncertainty.expected_dice import EXPECTED_DICE
from postprocessing.model_config import PLANS_SECTION, SETTINGS_FILE

_KEPT = ("network_weights", "trainer_name", "inference_allowed_mirroring_axes")
"""Of a checkpoint."""


CHECKPOINT_ENDING = ".pth"
"""Of copied weights, also where they are safetensors."""


def copy_model(model: Model, folder: Path) -> None:
    """Write a model folder that predicts what the model does; a third of the size, or less.

    Args:
        model: with the folds and the checkpoint that are to predict.
        folder: that is not there.
    """
    folder.mkdir(parents=True)
    write_json(_plans(model), folder / PLANS_JSON)
    write_json(model.dataset_json, folder / DATASET_JSON)
    for name in (SETTINGS_FILE, EXPECTED_DICE):
        if (model.folder / name).is_file():
            shutil.copyfile(model.folder / name, folder / name)
    for file in model.files.checkpoints:
        content = read_checkpoint(file, mapped=True)
        kept = {name: content.get(name) for name in _KEPT}
        kept["init_args"] = {"configuration": content["init_args"]["configuration"]}
        (folder / file.parent.name).mkdir()
        write_checkpoint(kept, (folder / file.parent.name / file.name).with_suffix(CHECKPOINT_ENDING))


def _plans(model: Model) -> dict[str, object]:
    """Return the plans that the model predicts with, and the post-processing that its folder keeps in them."""
    plans = json.loads(json.dumps(model.plans.plans))
    in_folder = read_json(model.folder / PLANS_JSON)
    section = {PLANS_SECTION: in_folder[PLANS_SECTION]} if PLANS_SECTION in in_folder else {}
    return {**plans, **section}
