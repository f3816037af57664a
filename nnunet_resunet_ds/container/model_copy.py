"""Copy of a model what prediction reads: weights without the state of the training, plans, dataset, settings."""

from pathlib import Path

from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.models.package import write_texts
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint, write_checkpoint

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
    write_texts(model, folder, case_ids=False)
    for file in model.files.checkpoints:
        content = read_checkpoint(file, mapped=True)
        kept = {name: content.get(name) for name in _KEPT}
        kept["init_args"] = {"configuration": content["init_args"]["configuration"]}
        (folder / file.parent.name).mkdir()
        write_checkpoint(kept, (folder / file.parent.name / file.name).with_suffix(CHECKPOINT_ENDING))
