"""Make the starter model from folders of cases, and put it into the package.

python -m nnunet_resunet_ds.experiments.starter CASES… -o WORK

Stop it at any time, and give the same command to go on.
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.base.log import shown
from nnunet_resunet_ds.experiments.starter.make import StarterTraining


def main() -> None:
    """Make the model, and print what it reaches."""
    parser = argparse.ArgumentParser(description="Train, tune, measure and pack the starter model.")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="CASES", help="folders of cases, of BraTS 2018 or 2021")
    parser.add_argument(
        "-o", dest="folder", type=Path, default=Path("starter_work"), help="folder for all that is made, some 500 MB"
    )
    parser.add_argument("-device", choices=("cpu", "cuda"), default="cpu", help="as in nnU-Net (default: cpu)")
    options = parser.parse_args()
    with shown(verbose=False):
        card = StarterTraining(options.inputs, options.folder.resolve(), options.device).run()
    print(card.headline, card.prediction, sep="\n")  # noqa: T201 (what it is for)


if __name__ == "__main__":
    main()
