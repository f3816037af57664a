"""Read a plans file of a preprocessed dataset: nnU-Net's own, or one of ``resunet-ds plan``."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, visible_files
from nnunet_resunet_ds.base.nnunet_folders import dataset_folder


def read_plans(dataset_id: int, name: str, configuration: str) -> Mapping[str, Any]:
    """Read plans by their name.

    Args:
        dataset_id: of the dataset.
        name: of the plans.
        configuration: for the command that would make them.

    Raises:
        InputError: they are not there, are no plans, or are those of another dataset, as in a folder that was copied.
    """
    path = dataset_folder("nnUNet_preprocessed", dataset_id) / f"{name}.json"
    command = f"nnUNetv2_plan_and_preprocess -d {dataset_id} -c {configuration}"
    if not path.is_file():
        others = [file.stem for file in visible_files(path.parent, ".json") if _are_plans(_content(file))]
        remedy = f"there are {', '.join(others)}" if others else f"make them with: {command}"
        msg = f"{path}: no such plans; {remedy}"
        raise InputError(msg)
    plans: Mapping[str, Any] = read_json(path)
    if not _are_plans(plans):
        msg = f"{path}: not nnU-Net plans; make them again, those of nnU-Net with: {command}"
        raise InputError(msg)
    of_dataset = plans.get("dataset_name")
    if of_dataset != path.parent.name:
        msg = (
            f"{path}: are plans of {of_dataset}, so a training would read and write there; plan and preprocess this "
            f"dataset itself: {command}, then resunet-ds plan for plans of your own"
        )
        raise InputError(msg)
    return plans


def _are_plans(content: Any) -> bool:  # noqa: ANN401 (JSON may hold anything)
    return isinstance(content, Mapping) and isinstance(content.get("configurations"), Mapping)


def _content(file: Path) -> Any:  # noqa: ANN401 (JSON may hold anything)
    with suppress(InputError):
        return read_json(file)
    return None
