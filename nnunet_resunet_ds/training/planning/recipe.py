"""Read the training recipe (decisions D6, D7, D13) from a plans file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.setting_checks import (
    check_choice,
    check_entries,
    check_number,
    check_positive,
    check_whole_number,
)
from nnunet_resunet_ds.compute import AUTO, PRECISIONS
from nnunet_resunet_ds.training.augmentation import AUGMENTATIONS, BY_DEVICE

SECTION = "resunet_ds"
"""Entry of plans, and of checkpoints, that is ours."""
PLATEAU, POLY = SCHEDULES = ("plateau", "poly")
"""How the learning rate falls: see `nnunet_resunet_ds.training.schedule`."""
MAX_PLATEAU_FACTOR = 0.99
MAX_SEED = 2**31
"""So that a rank can be added to it; NumPy takes up to 2³² - 1."""

_ASIDE = ("seed", "precision", "augmentation", "keep_weights")
"""Settings that leave weights comparable: chance, how and where they are computed, and what is kept of them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training. The defaults are the paper's (section 5), or our own choice where it is silent.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    epochs: int = 300
    """Epochs at most; training may stop earlier."""
    iterations_per_epoch: int = 250
    val_iterations_per_epoch: int = 50
    initial_lr: float = 1e-4
    weight_decay: float = 1e-5
    schedule: str = PLATEAU
    """How the learning rate falls; ``poly`` leaves the plateau settings and `stopping_patience` unused."""
    plateau_factor: float = 0.5
    """Factor on the learning rate when it drops."""
    plateau_patience: int = 5
    """Epochs without improvement before the learning rate drops."""
    stopping_patience: int = 10
    """Epochs without improvement after which training stops."""
    keep_weights: int = 0
    """How many of the last epochs keep their weights: see `nnunet_resunet_ds.training.checkpoint.kept_weights`."""
    dice_weight: float = 0.7
    """Share of Dice in the loss; focal has the rest."""
    gamma: float = 2.0
    """Focusing exponent of the focal loss; 0 is binary cross-entropy."""
    region_weights: tuple[float, ...] | None = None
    """One weight a region, in the order of dataset.json; None is equal weights."""
    modality_dropout: float = 0.0
    """Probability that a training sample loses sequences: see `nnunet_resunet_ds.training.modality_dropout`."""
    precision: str = AUTO
    """Of convolutions: see `nnunet_resunet_ds.compute.format_choice`."""
    augmentation: str = BY_DEVICE
    """Where training batches are augmented: see `nnunet_resunet_ds.training.augmentation.choice`."""
    seed: int | None = None
    """Of the initial weights, of augmentation on the device, of modality dropout, and of the order of data where it is
    loaded in the same process (``nnUNet_n_proc_DA=0``); None is another one each time, as in nnU-Net."""

    def __post_init__(self) -> None:
        for name in ("epochs", "iterations_per_epoch", "val_iterations_per_epoch"):
            check_whole_number(f"{SECTION}: {name}", getattr(self, name), at_least=1)
        check_positive(f"{SECTION}: initial_lr", self.initial_lr)
        check_number(f"{SECTION}: weight_decay", self.weight_decay)
        check_positive(f"{SECTION}: plateau_factor", self.plateau_factor)
        check_number(f"{SECTION}: plateau_factor", self.plateau_factor, at_most=MAX_PLATEAU_FACTOR)
        check_whole_number(f"{SECTION}: plateau_patience", self.plateau_patience, at_least=0)
        check_whole_number(f"{SECTION}: stopping_patience", self.stopping_patience, at_least=1)
        check_whole_number(f"{SECTION}: keep_weights", self.keep_weights, at_least=0)
        check_choice(f"{SECTION}: schedule", self.schedule, SCHEDULES)
        check_choice(f"{SECTION}: precision", self.precision, PRECISIONS)
        check_choice(f"{SECTION}: augmentation", self.augmentation, AUGMENTATIONS)
        check_number(f"{SECTION}: dice_weight", self.dice_weight, at_most=1)
        check_number(f"{SECTION}: gamma", self.gamma)
        check_number(f"{SECTION}: modality_dropout", self.modality_dropout, at_most=1)
        if self.seed is not None:
            check_whole_number(f"{SECTION}: seed", self.seed, at_least=0, at_most=MAX_SEED)
        if self.region_weights is not None:
            for weight in self.region_weights:
                check_positive(f"{SECTION}: each of region_weights", weight)

    @classmethod
    def from_plans(cls, plans: Mapping[str, Any], **defaults: Any) -> "Recipe":  # noqa: ANN401 (fields of any type)
        """Read the section of a plans file, where there is one; see `from_section`."""
        return cls.from_section(plans.get(SECTION, {}), **defaults)

    @classmethod
    def from_section(cls, section: Any, **defaults: Any) -> "Recipe":  # noqa: ANN401 (JSON may hold anything)
        """Build a recipe from the section of a plans file.

        Args:
            section: the section.
            defaults: values for what it leaves out, where these are not the paper's.

        Raises:
            InputError: it is no object, has an unknown entry or a value out of range.
        """
        if not isinstance(section, Mapping):
            msg = f'"{SECTION}" in the plans must be an object such as {{"epochs": 100}}, not {section!r}'
            raise InputError(msg)
        known = [field.name for field in fields(cls)]
        check_entries(f'"{SECTION}" in the plans has unknown entries', section, known)
        values = {**defaults, **section}
        weights = values.get("region_weights")
        if weights is not None:
            if not isinstance(weights, list | tuple):
                msg = f'"{SECTION}" in the plans: region_weights must be a list, one number a region; got {weights!r}'
                raise InputError(msg)
            values["region_weights"] = tuple(weights)
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return every setting, as the plans section that is saved with a model."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def recipe_notes(subject: str, trained: Mapping[str, Any], plans: Mapping[str, Any]) -> list[str]:
    """Return a line where weights were trained by another recipe than plans have now.

    Args:
        subject: of the line: the weights.
        trained: their plans; without a recipe in them, another trainer made the weights.
        plans: of now.

    Raises:
        InputError: one of the recipes is damaged.
    """
    if SECTION not in trained:
        return []
    before, now = (Recipe.from_plans(one).to_mapping() for one in (trained, plans))
    decisive = [name for name in now if name not in _ASIDE]
    changed = [f"{name} {before[name]}, now {now[name]}" for name in decisive if before[name] != now[name]]
    if not changed:
        return []
    return [
        f"{subject} was trained by another recipe ({'; '.join(changed)}). To keep recipes apart, give these plans "
        "another name with resunet-ds plan --name"
    ]
