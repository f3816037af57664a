"""Hold the settings that all rungs of an ablation share, and check that they stay the same."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.dataset_json import has_tumour_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.model_id import CONFIGURATION
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, IDENTITY, PLANS, SPLITS, dataset_folder, nnunet_folder
from nnunet_resunet_ds.base.setting_checks import check_name, check_number
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, protocol_named
from nnunet_resunet_ds.plans import PAPER_BATCH_SIZE
from nnunet_resunet_ds.training.planning.recipe import Recipe

SETTINGS = "ablation.json"
FORMAT = 1
"""Version of the folder's format; a folder of another format cannot be continued."""
MIN_WIDTH = 1 / 64
"""Leaves one channel at the finest stage."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of an ablation: with rungs, seeds and folds, they decide every number of the table.

    Raises:
        InputError: a value is out of range.
    """

    dataset_id: int
    name: str = "Ablation"
    """Name of the folder, and first part of the plans' names."""
    configuration: str = CONFIGURATION
    stock_plans: str = PLANS
    patch_size: Sequence[int] | None = None
    """See `with_res_unet_ds`."""
    batch_size: int = PAPER_BATCH_SIZE
    width: float = 1.0
    """Factor of all numbers of channels."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe`, without the seed and γ: each run has its own."""
    use_mirroring: bool = True
    protocol: str = DEFAULT

    def __post_init__(self) -> None:
        check_name("the name of the ablation", self.name)
        check_number("the width", self.width, at_least=MIN_WIDTH, at_most=1)
        Recipe.from_section(self.recipe)
        protocol_named(self.protocol)

    @property
    def epochs(self) -> int:
        """Largest number of epochs of a training."""
        return Recipe.from_section(self.recipe).epochs

    @property
    def raw(self) -> Path:
        """The dataset's folder below ``$nnUNet_raw``."""
        return dataset_folder("nnUNet_raw", self.dataset_id)

    @property
    def preprocessed(self) -> Path:
        """The dataset's folder below ``$nnUNet_preprocessed``."""
        return dataset_folder("nnUNet_preprocessed", self.dataset_id)

    @property
    def has_tumour_regions(self) -> bool:
        """Whether the dataset's first regions are WT, TC and ET, which the paper's post-processing is for."""
        return has_tumour_regions(read_json(self.preprocessed / DATASET_JSON))

    @property
    def results(self) -> Path:
        """The dataset's folder below ``$nnUNet_results``, with the models."""
        return nnunet_folder("nnUNet_results") / self.preprocessed.name

    @property
    def folder(self) -> Path:
        """Folder of everything but the models."""
        return self.results / self.name


def keep_settings(settings: Settings) -> None:
    """Write the settings into the folder of the ablation, with the split where there is one.

    nnU-Net makes the split in the first training.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    write_json(_content(settings), settings.folder / SETTINGS)


def _content(settings: Settings) -> dict[str, Any]:
    patch_size = None if settings.patch_size is None else list(settings.patch_size)
    identity = read_json(settings.preprocessed / DATASET_JSON).get(IDENTITY)
    return {
        "format": FORMAT,
        **asdict(settings),
        "patch_size": patch_size,
        SPLITS: split_of(settings),
        IDENTITY: identity,
    }


def split_of(settings: Settings) -> list[list[str]] | None:
    """Return the validation cases of each fold; None where there is no split yet."""
    file = settings.preprocessed / SPLITS
    return [sorted(fold["val"]) for fold in read_json(file)] if file.is_file() else None


def check_settings(settings: Settings) -> None:
    """Check that the folder, where there is one, was begun with these settings.

    Raises:
        InputError: the folder was begun with other settings, on another split, or has another format.
    """
    file, wanted = settings.folder / SETTINGS, _content(settings)
    if not file.is_file():
        return
    found = read_json(file)
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        msg = f"{file}: is of another version of this package; start a new ablation with --name"
        raise InputError(msg)
    if found.get(SPLITS) not in (None, wanted[SPLITS]):
        msg = f"{file}: was begun with another split than {SPLITS} has now: bring that back, or give another --name"
        raise InputError(msg)
    if found.get(IDENTITY) not in (None, wanted[IDENTITY]):
        msg = f"{file}: was begun on other images than {settings.preprocessed} has now: give another --name"
        raise InputError(msg)
    others = [
        f"{key} {found.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if key not in (SPLITS, IDENTITY) and found.get(key) != value
    ]
    if others:
        msg = f"{file}: was begun with {'; '.join(others)}: go on with these settings, or give another --name"
        raise InputError(msg)
