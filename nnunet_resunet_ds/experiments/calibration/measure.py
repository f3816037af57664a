"""Measure how well the Dice to expect tells spoilt cases from good ones, on phantoms; run it on a model of the demo.

python -m nnunet_resunet_ds.experiments.calibration MODEL_FOLDER -o calibration.png
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.base.text_table import aligned
from nnunet_resunet_ds.demo.phantom import WITHOUT_ET_EVERY, make_phantom
from nnunet_resunet_ds.experiments.calibration.corruptions import CORRUPTIONS
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.tuning.learn_from_stored import known_case
from nnunet_resunet_ds.uncertainty.expected_dice import ExpectedDiceModel
from nnunet_resunet_ds.uncertainty.learn_expected_dice import KnownCase, learn_expected_dice

FIRST_PHANTOM = 95000
"""Seed; those of the demo are below."""
DEGREES = (0.25, 0.5, 0.75, 1.0)
GOOD = 0.7
"""Dice from which a case is good."""
CLEAN = "clean"
VOXEL_VOLUME = 1.0


@dataclass(frozen=True)
class Outcome:
    """What was expected of one region of one case, and what it reached."""

    corruption: str
    region: str
    expected: float
    reached: float


def predicted_case(
    predictor: Predictor, images: NDArray[np.floating], reference: NDArray[np.uint8], part: str
) -> KnownCase:
    """Predict one case and compare it with its reference."""
    labels, probabilities = predictor.predict_case(images.astype(np.float32), (VOXEL_VOLUME,) * 3)
    return known_case(part, labels, probabilities, reference, REGIONS, VOXEL_VOLUME)


def learn(predictor: Predictor, n_cases: int) -> ExpectedDiceModel:
    """Learn the Dice to expect from clean phantoms that no model of the demo was trained on."""
    phantoms = [_phantom(number) for number in range(n_cases)]
    known = [
        predicted_case(predictor, images, labels, str(number % 5))
        for number, (images, labels) in enumerate(tqdm(phantoms, desc="learn", unit="case"))
    ]
    return learn_expected_dice(known, ())


def outcomes(
    predictor: Predictor, model: ExpectedDiceModel, numbers: Sequence[int], degrees: Sequence[float] = DEGREES
) -> Iterator[Outcome]:
    """Yield what was expected and reached of other phantoms, clean and spoilt by each degree of each corruption."""
    for number in tqdm(numbers, desc="spoil and predict", unit="case"):
        images, labels = _phantom(number)
        spoilt = [(CLEAN, images)]
        for name, corrupt in CORRUPTIONS.items():
            random = np.random.default_rng([number, len(name)])
            spoilt += [(name, corrupt(images, degree, random)) for degree in degrees]
        for name, of_case in spoilt:
            case = predicted_case(predictor, of_case, labels, name)
            for region, expected in model(case.certainty).items():
                yield Outcome(name, region, expected, case.dice[region])


def _phantom(number: int) -> tuple[NDArray[np.floating], NDArray[np.uint8]]:
    has_et = number % WITHOUT_ET_EVERY != WITHOUT_ET_EVERY - 1
    phantom = make_phantom(FIRST_PHANTOM + number, enhancing=has_et)
    return phantom.images.astype(np.float64), phantom.labels


def area_under_curve(found: Sequence[Outcome]) -> float:
    """Return how often less is expected of a case that is not `GOOD` than of one that is (AUROC)."""
    return float(roc_auc_score([one.reached < GOOD for one in found], [-one.expected for one in found]))


def table(found: Sequence[Outcome]) -> Iterator[str]:
    """Yield the area under the curve and the mean error, of each region and of all."""
    rows = [("region", "cases", f"Dice < {GOOD}", "AUROC", "mean |error|")]
    for name in (*(region.name for region in REGIONS), "all"):
        own = [one for one in found if name in (one.region, "all")]
        bad = sum(one.reached < GOOD for one in own)
        error = np.mean([abs(one.expected - one.reached) for one in own])
        rows.append((name, f"{len(own)}", f"{bad}", f"{area_under_curve(own):.3f}", f"{error:.3f}"))
    yield from aligned(rows, numbers_from=1)
