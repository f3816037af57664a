"""Whether a model folder holds what prediction needs."""

from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.doctor.finding import FAIL, OK, Finding
from nnunet_resunet_ds.inference.model import load_model
from postprocessing.config import PostprocessingConfig
from postprocessing.model_config import check_config_fits, config_of_model


def model(folder: Path) -> Finding:
    """Return what a model is; its weights are read whole."""
    subject = f"model {folder.name}"
    try:
        loaded = load_model(folder)
        config = config_of_model(folder)
        check_config_fits(config, loaded.dataset_json)
    except InputError as error:
        return Finding(FAIL, subject, str(error), "as said, or give another folder with -m")
    settings = "the paper's" if config == PostprocessingConfig.paper() else "its own"
    text = (
        f"{loaded.trainer_name}, {loaded.configuration.network_arch_class_name.rpartition('.')[2]}, patch "
        f"{'×'.join(map(str, loaded.patch_size))}, fold {', '.join(loaded.weights)}, {settings} post-processing"
    )
    return Finding(OK, subject, text)
