"""The training recipe (decisions D6, D7, D13), and how it travels inside a plans file.

A plans file says only what differs from the paper, in a section ``"resunet_ds"``; nnU-Net ignores sections it does not
know and saves them with the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nnunet_resunet_ds.checks import check_entries, check_number, check_positive, check_whole_number
from nnunet_resunet_ds.errors import InputError

SECTION = "resunet_ds"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. The defaults are the paper's (section 5), or decision D7 where it is silent.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    epochs: int = 300
    """At most this many."""
    iterations_per_epoch: int = 250
    val_iterations_per_epoch: int = 50
    initial_lr: float = 1e-4
    weight_decay: float = 1e-5
    dice_weight: float = 0.7
    """Share of Dice in the loss; focal has the rest."""
    gamma: float = 2.0
    """Focusing exponent of the focal loss; 0 is binary cross-entropy."""
    region_weights: tuple[float, ...] | None = None
    """One weight a region, in the order of dataset.json; None is equal weights."""

    def __post_init__(self) -> None:
        for name in ("epochs", "iterations_per_epoch", "val_iterations_per_epoch"):
            check_whole_number(f"{SECTION}: {name}", getattr(self, name), at_least=1)
        check_positive(f"{SECTION}: initial_lr", self.initial_lr)
        check_number(f"{SECTION}: weight_decay", self.weight_decay)
        check_number(f"{SECTION}: dice_weight", self.dice_weight, at_most=1)
        check_number(f"{SECTION}: gamma", self.gamma)
        if self.region_weights is not None:
            for weight in self.region_weights:
                check_positive(f"{SECTION}: each of region_weights", weight)

    @classmethod
    def from_plans(cls, plans: Mapping[str, Any]) -> "Recipe":
        """Read the section of a plans file; what it leaves out, or a missing section, means the defaults.

        Raises:
            InputError: the section has an unknown entry or a value out of range.
        """
        section = plans.get(SECTION, {})
        if not isinstance(section, Mapping):
            msg = f'"{SECTION}" in the plans must be an object such as {{"epochs": 100}}, not {section!r}'
            raise InputError(msg)
        known = [field.name for field in fields(cls)]
        check_entries(f'"{SECTION}" in the plans has unknown entries', section, known)
        weights = section.get("region_weights")
        if weights is None:
            return cls(**section)
        if not isinstance(weights, list):
            msg = f'"{SECTION}" in the plans: region_weights must be a list, one number a region; got {weights!r}'
            raise InputError(msg)
        return cls(**{**section, "region_weights": tuple(weights)})

    def section(self) -> dict[str, Any]:
        """Return what differs from the defaults, as the plans section to write."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if self._differs(field.name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(Recipe, name))
