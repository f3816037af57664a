"""Find nnU-Net's three folders through its environment variables."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError

NNUNET_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")

_DATASET = re.compile(r"Dataset\d{3,}_")
PLANS = "nnUNetPlans"
"""Name of the plans that nnU-Net makes unless another is asked for."""
PLANS_JSON, DATASET_JSON = "plans.json", "dataset.json"
"""File names in a model folder; a dataset has dataset.json, too."""
IDENTITY = "identity"
"""Entry that we add to dataset.json: a digest of its training cases."""
SPLITS = "splits_final.json"
"""nnU-Net's name of the split; its planner copies the file from the raw dataset to the preprocessed one."""


def nnunet_folder(variable: str) -> Path:
    """Return the folder named by one of `NNUNET_FOLDERS`.

    Raises:
        InputError: the variable is not set.
    """
    value = os.environ.get(variable)
    if not value:
        msg = (
            f"the variable {variable} is not set; set it to a folder, for example: export {variable}=/data/{variable} "
            "(resunet-ds doctor looks at all three)"
        )
        raise InputError(msg)
    return Path(value)


def datasets_with_id(variable: str, dataset_id: int) -> list[Path]:
    """Return the ``DatasetXXX_NAME`` folders with this ID; none where the variable is not set."""
    return [folder for folder in all_datasets(variable) if folder.name.startswith(f"Dataset{dataset_id:03d}_")]


def all_datasets(variable: str) -> list[Path]:
    """Return the ``DatasetXXX_NAME`` folders below an nnU-Net folder; none where the variable is not set."""
    value = os.environ.get(variable)
    return sorted(path for path in Path(value).glob("Dataset*_*") if _DATASET.match(path.name)) if value else []


def dataset_folder(variable: str, dataset_id: int) -> Path:
    """Return the one ``DatasetXXX_NAME`` folder with this ID below an nnU-Net folder.

    Raises:
        InputError: none or several are there.
    """
    parent = nnunet_folder(variable)
    found = datasets_with_id(variable, dataset_id)
    if len(found) != 1:
        what = "no dataset" if not found else f"{len(found)} datasets ({', '.join(path.name for path in found)})"
        expected = f"expected exactly one folder Dataset{dataset_id:03d}_NAME"
        raw = datasets_with_id("nnUNet_raw", dataset_id)
        if variable == "nnUNet_preprocessed" and not found and len(raw) == 1:
            expected = f"{raw[0].name} is not preprocessed yet: {preprocess_command(raw[0].name)}"
        elif variable == "nnUNet_results" and not found and len(raw) == 1:
            expected = f"no model of {raw[0].name} is trained yet; resunet-ds models says what can predict"
        msg = f"{parent}: {what} with ID {dataset_id}; {expected}"
        raise InputError(msg)
    return found[0]


def preprocess_command(dataset_name: str, configuration: str = "3d_fullres") -> str:
    """Return the command that plans and preprocesses a dataset.

    Where it was preprocessed before, nnU-Net keeps the fingerprint of the earlier cases without ``--clean``.

    Args:
        dataset_name: ``DatasetXXX_NAME``.
        configuration: what to preprocess for.
    """
    dataset_id = dataset_number(dataset_name)
    again = " --clean" if datasets_with_id("nnUNet_preprocessed", dataset_id) else ""
    return f"nnUNetv2_plan_and_preprocess -d {dataset_id} -c {configuration}{again}"


def preprocess_again_command(preprocessed: Path, configuration: str, data_identifier: str) -> str:
    """Return the command that makes preprocessed data again, for the plans that it was made for.

    Args:
        preprocessed: the dataset's folder below ``$nnUNet_preprocessed``.
        configuration: what it is for.
        data_identifier: name of the folder of the data, as the plans have it.
    """
    plans = data_identifier.removesuffix(f"_{configuration}")
    if plans == PLANS or not (preprocessed / f"{plans}.json").is_file():
        return preprocess_command(preprocessed.name, configuration)
    number = dataset_number(preprocessed.name)
    return (
        f"nnUNetv2_extract_fingerprint -d {number} --clean && "
        f"nnUNetv2_preprocess -d {number} -plans_name {plans} -c {configuration}"
    )


def data_of_other_plans(preprocessed: Path) -> list[tuple[str, str]]:
    """Return plans and configuration of all data that is preprocessed for other plans than nnU-Net's usual ones."""
    folders = sorted(path.name for path in preprocessed.iterdir() if path.is_dir())
    plans = sorted(file.stem for file in preprocessed.glob("*.json") if file.stem != PLANS)
    return [
        (name, folder.removeprefix(f"{name}_")) for name in plans for folder in folders if folder.startswith(f"{name}_")
    ]


def dataset_number(name: str) -> int:
    """Return the number in the name of a dataset, ``DatasetXXX_NAME``."""
    return int(name.removeprefix("Dataset").partition("_")[0])


@contextmanager
def temporary_nnunet_folders() -> Iterator[Path]:
    """Yield a temporary folder that holds nnU-Net's three folders, and set the variables of this process to them.

    nnU-Net reads the variables when it is imported: enter before that.
    """
    with tempfile.TemporaryDirectory() as name:
        for variable in NNUNET_FOLDERS:
            Path(name, variable).mkdir()
            os.environ[variable] = str(Path(name, variable))
        yield Path(name)
