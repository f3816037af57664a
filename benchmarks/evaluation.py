"""Seconds of evaluating one pair of label maps, ours beside the official scripts on the same pair, taken in turns.

    python benchmarks/evaluation.py -ref CASE_seg.nii.gz -pred CASE.nii.gz --ref-labels 2021
        [--python OTHER_ENVIRONMENT/bin/python [--official-2023 BraTS-2023-Metrics] [--brats-evaluation]]

The official scripts need packages of their own, so they run with the Python of another environment:

- ``--official-2023``: a checkout of the BraTS 2023 metrics, whose ``metrics.py`` is run as the challenge did (``pip
  install connected-components-3d nibabel pandas scipy surface-distance``);
- ``--brats-evaluation``: ``pip install BraTS-evaluation nibabel``, the code of 2026, of which the adult glioma groups.

Both get label maps in the values of BraTS 2023, and each reads the files itself, as ours does. Without ``-pred`` the
reference is moved by two voxels and given false lesions, and that is the prediction.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nnunet_resunet_ds.base.images import read_labels, write_labels
from nnunet_resunet_ds.evaluation.cohort_metrics import evaluate_pairs
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps, to_protocol
from nnunet_resunet_ds.evaluation.pairs import find_pairs
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS

PROTOCOL = PROTOCOLS["brats2023-gli"]
OFFICIAL_2023 = """
import json, sys, time
sys.path.insert(0, sys.argv[3])
from metrics import get_LesionWiseResults
start = time.perf_counter()
table = get_LesionWiseResults(sys.argv[1], sys.argv[2], "BraTS-GLI").set_index("Labels")
seconds = time.perf_counter() - start
print(json.dumps([seconds, table["LesionWise_Score_Dice"].to_dict(), table["LesionWise_Score_HD95"].to_dict()]))
"""
BRATS_EVALUATION = """
import json, sys, time
from brats_evaluation import config_path
from brats_evaluation.evaluation import evaluate_single_exam
from panoptica import Panoptica_Evaluator
evaluator = Panoptica_Evaluator.load_from_config(config_path("gli"))
start = time.perf_counter()
evaluate_single_exam(sys.argv[1], sys.argv[2], "case", evaluator)
print(json.dumps([time.perf_counter() - start]))
"""


def main() -> None:
    """Run them in turns, and print the best of each and what they found."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        reference, prediction = _pair(options, Path(folder))
        systems: dict[str, Callable[[], list]] = {
            f"ours, {name}": lambda name=name: _ours(reference, prediction, name)
            for name in (PROTOCOL.name, "brats2025-gli")
        }
        if options.official_2023:
            folder_2023 = str(options.official_2023)
            systems["official 2023 GLI"] = lambda: _theirs(options, OFFICIAL_2023, prediction, reference, folder_2023)
        if options.brats_evaluation:
            systems["BraTS-evaluation GLI"] = lambda: _theirs(options, BRATS_EVALUATION, prediction, reference)
        found: dict[str, list[list]] = {name: [] for name in systems}
        for _ in range(options.rounds):
            for name, run in systems.items():
                found[name].append(run())
    for name, rounds in found.items():
        best = min(rounds, key=lambda outcome: outcome[0])
        print(f"{name:24} {best[0]:7.2f} s  {'  '.join(map(_shown, best[1:]))}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-ref", dest="reference", type=Path, required=True)
    parser.add_argument("-pred", dest="prediction", type=Path)
    parser.add_argument("--ref-labels")
    parser.add_argument("--pred-labels")
    parser.add_argument("--python", default="python")
    parser.add_argument("--official-2023", type=Path)
    parser.add_argument("--brats-evaluation", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _pair(options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Write both in the values of BraTS 2023."""
    written = []
    for name, source, labels in (
        ("ref", options.reference, options.ref_labels),
        ("pred", options.prediction, options.pred_labels),
    ):
        path = folder / f"{name}.nii.gz"
        if source:
            grid, values = read_labels(source)
            values = to_protocol(values, find_label_maps(source, labels).labels, PROTOCOL, source)
        else:
            values = _moved(values)
        write_labels(values.astype(np.uint8), grid, path)
        written.append(path)
    return written[0], written[1]


def _moved(labels: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(0)
    moved = np.roll(labels, 2, 0)
    for z, y, x in random.integers(0, np.array(labels.shape) - 6, (4, 3)):
        moved[z : z + 5, y : y + 4, x : x + 4] = random.integers(1, 4)
    return moved


def _ours(reference: Path, prediction: Path, protocol: str) -> list:
    start = time.perf_counter()
    pairs = find_pairs(reference, prediction)
    (case,) = evaluate_pairs(pairs, PROTOCOLS[protocol]).cases.values()
    seconds = time.perf_counter() - start
    return [seconds, *({name: row[key] for name, row in case.items()} for key in ("lesion_dice", "lesion_hd95"))]


def _theirs(options: argparse.Namespace, code: str, *arguments: object) -> list:
    command = [options.python, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _shown(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


if __name__ == "__main__":
    main()
