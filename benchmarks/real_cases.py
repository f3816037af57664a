"""The whole way on real BraTS 2021 cases, with a small network on the CPU: does it run, and what comes out?

A handful of cases and minutes of training make no model. The table says that the way works on real images; it says
nothing about the method.

    python benchmarks/real_cases.py --data /data/BraTS2021_TrainingData -o real_output
"""

import argparse
import time
from pathlib import Path

from dataset_conversion.editions import CHANNEL_NAMES, SEGMENTATION
from nnunet_resunet_ds.demo.held_out import held_out_cases, score_held_out
from nnunet_resunet_ds.demo.phantom_cohort import EDITION
from nnunet_resunet_ds.demo.workflow import Workflow

DATASET_ID = 998
DATASET_NAME = "RealCases"
PLAN_FLAGS = (
    "--patch-size", "96", "96", "96", "--batch-size", "1", "--features", "12", "24", "48", "96", "128", "--lr", "2e-3",
    "--epochs", "12", "--iterations", "20", "--val-iterations", "2",
)  # fmt: skip


def link_case(case: Path, folder: Path, *, labelled: bool) -> None:
    """Link a case's images, and its segmentation where ``labelled``, into a cohort folder of ours."""
    (folder / case.name).mkdir(parents=True)
    for role in (*CHANNEL_NAMES, *([SEGMENTATION] if labelled else [])):
        name = EDITION.file_name(case.name, role)
        (folder / case.name / name).symlink_to(case / name)


def main() -> None:
    """Train on the first cases, predict the next ones, score them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of BraTS 2021 training cases")
    parser.add_argument("-o", dest="output", type=Path, default=Path("real_output"), help="a new folder")
    parser.add_argument("--train", type=int, default=3, metavar="N", help="cases to train on (default: 3)")
    parser.add_argument("--predict", type=int, default=2, metavar="N", help="cases to hold out (default: 2)")
    parser.add_argument("-device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()

    start = time.monotonic()
    output = options.output.resolve()
    if output.exists():
        parser.error(f"{output} exists; give a new folder with -o")
    cases = sorted(path.resolve() for path in options.data.glob("*") if EDITION.case_id.fullmatch(path.name))
    chosen = cases[: options.train + options.predict]
    if len(chosen) < options.train + options.predict:
        parser.error(
            f"{options.data}: {len(chosen)} BraTS 2021 case folders, {options.train + options.predict} are needed"
        )
    for number, case in enumerate(chosen):
        is_training = number < options.train
        link_case(case, output / "cohort" / ("training" if is_training else "held_out"), labelled=is_training)
        if not is_training:
            link_case(case, output / "cohort" / "held_out_truth", labelled=True)
    workflow = Workflow(output, DATASET_ID, DATASET_NAME, options.device, fold="all")
    cohort = output / "cohort"
    workflow.prepare([cohort / "training", cohort / "held_out"], PLAN_FLAGS)
    workflow.train()
    workflow.predict()
    score_held_out(workflow, held_out_cases(cohort / "held_out", cohort / "held_out_truth"), start)


if __name__ == "__main__":
    main()
