"""Expect the Dice of a prediction from how sure it is of a region, as cases with a reference have taught.

``resunet-ds tune`` learns it from cases that no fold was trained on, and leaves it in the folder of the model. Without
it no Dice is named: probabilities alone are no Dice.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.uncertainty.region_certainty import RegionCertainty

EXPECTED_DICE = "expected_dice.json"
"""Of a model folder."""
SIGNS: Mapping[str, int] = {"soft_dice": 1, "stability": 1, "entropy_inside": -1, "entropy_around": -1}
"""What the Dice is expected from; and whether it rises with it or falls, whatever a few cases seem to say."""


@dataclass(frozen=True)
class ExpectedDice:
    """What was learnt about one region."""

    intercept: float
    slopes: Mapping[str, float]
    """By the names in `SIGNS`."""
    n_cases: int
    """That it was learnt from."""
    error: float
    """Mean absolute error on cases that it was not learnt from."""
    volume_held: float
    """Share of the cases in which the reference lay between the least and the largest volume."""
    n_empty: int = 0
    """Other cases, in which the region was predicted empty."""
    empty_dice: float | None = None
    """Mean Dice of these, the share in which nothing was to be found; None where they are too few."""

    def __call__(self, certainty: RegionCertainty) -> float | None:
        """Return the Dice to expect, from 0 to 1; None for an empty prediction, where nothing is known of them."""
        if not certainty.volume:
            return self.empty_dice
        value = self.intercept + sum(slope * number_of(certainty, name) for name, slope in self.slopes.items())
        return min(max(value, 0.0), 1.0)


@dataclass(frozen=True)
class ExpectedDiceModel:
    """What was learnt about the regions of a segmentation model."""

    regions: Mapping[str, ExpectedDice]
    """Region → what was learnt; without those that too few cases have."""
    tuned_on: tuple[tuple[str, str], ...]
    """Fold and identity of each of the weights whose cases these were."""

    def __call__(self, certainties: Mapping[str, RegionCertainty]) -> dict[str, float]:
        """Return region → the Dice to expect, of those about which something is known."""
        expected = {name: self.regions[name](of_case) for name, of_case in certainties.items() if name in self.regions}
        return {name: value for name, value in expected.items() if value is not None}

    def to_mapping(self) -> dict[str, Any]:
        """Return what the file says."""
        return {
            "tuned_on": dict(self.tuned_on),
            "regions": {name: asdict(expected) for name, expected in self.regions.items()},
        }

    def write(self, folder: Path) -> None:
        """Write into a model folder."""
        write_json(self.to_mapping(), folder / EXPECTED_DICE)


def read_expected_dice(folder: Path) -> ExpectedDiceModel | None:
    """Read what tuning has left in a model folder; None where it has left nothing.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / EXPECTED_DICE
    if not file.is_file():
        return None
    content = read_json(file)
    try:
        regions = {name: _checked(entry) for name, entry in content["regions"].items()}
        return ExpectedDiceModel(regions, tuple(content["tuned_on"].items()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"{file}: damaged ({error}); remove it, or tune again: resunet-ds tune"
        raise InputError(msg) from error


def expected_dice_of(folder: Path, weights: Mapping[str, str]) -> ExpectedDiceModel | None:
    """Read what tuning has left in a model folder, if it was learnt from these weights; say so where it was not.

    Args:
        folder: of the model.
        weights: that predict, fold → identity.

    Raises:
        InputError: the file is damaged.
    """
    model = read_expected_dice(folder)
    if model is None or set(weights.values()) <= set(dict(model.tuned_on).values()):
        return model
    LOG.warning(
        "%s: was learnt from other weights than those that predict, so no Dice is expected of them; tune again: "
        "resunet-ds tune", folder / EXPECTED_DICE,
    )  # fmt: skip
    return None


def _checked(entry: Mapping[str, Any]) -> ExpectedDice:
    expected = ExpectedDice(**entry)
    numbers = [expected.intercept, expected.error, expected.volume_held, *expected.slopes.values()]
    if set(expected.slopes) != set(SIGNS) or not np.isfinite(numbers).all():
        msg = f"its numbers must be finite, and its slopes those of {', '.join(SIGNS)}"
        raise ValueError(msg)
    return expected


def number_of(certainty: RegionCertainty, name: str) -> float:
    """Return one of the numbers in `SIGNS`."""
    value: float | None = getattr(certainty, name)
    return 0.0 if value is None else value  # nothing is around a region that fills its box
