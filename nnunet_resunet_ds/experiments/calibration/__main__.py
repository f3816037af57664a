"""Measure how well the Dice to expect tells spoilt cases from good ones, on phantoms, with a model of the demo.

python -m nnunet_resunet_ds.experiments.calibration MODEL_FOLDER -o calibration.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.experiments.calibration.corruptions import CORRUPTIONS
from nnunet_resunet_ds.experiments.calibration.measure import CLEAN, GOOD, Outcome, learn, outcomes, table
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.uncertainty.learn_expected_dice import LEAST_CASES


def draw(found: Sequence[Outcome], path: Path) -> None:
    """Write a PNG: what was reached over what was expected, a panel a region, a colour a corruption."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, region in zip(figure.subplots(1, len(REGIONS), sharey=True), REGIONS, strict=True):
        for name in (CLEAN, *CORRUPTIONS):
            own = [one for one in found if (one.region, one.corruption) == (region.name, name)]
            axes.plot([one.expected for one in own], [one.reached for one in own], ".", alpha=0.7, label=name)
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.7)
        axes.axhline(GOOD, color="0.6", linewidth=0.7, linestyle=":")
        axes.set(title=region.name, xlabel="expected Dice", xlim=(0, 1), ylim=(0, 1))
    figure.axes[0].set_ylabel("Dice")
    figure.axes[0].legend(loc="upper left")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def main() -> None:
    """Measure, print the table, and write the picture."""
    parser = argparse.ArgumentParser(description="How well the Dice to expect tells spoilt phantoms from good ones.")
    parser.add_argument("model", type=Path, help="folder of a model that was trained on the demo's phantoms")
    parser.add_argument("-o", dest="picture", type=Path, default=Path("calibration.png"), help="the PNG to write")
    parser.add_argument("-n", dest="n_cases", type=int, default=20, help="phantoms to learn from, and as many to spoil")
    options = parser.parse_args()
    if options.n_cases < LEAST_CASES:
        parser.error(f"nothing is learnt from fewer than {LEAST_CASES} cases; give more with -n")
    predictor = Predictor.from_model_folder(options.model)
    model = learn(predictor, options.n_cases)
    found = list(outcomes(predictor, model, range(options.n_cases, 2 * options.n_cases)))
    print(*table(found), sep="\n")  # noqa: T201 (what it is for)
    draw(found, options.picture)


if __name__ == "__main__":
    main()
