"""Seconds of a search over the post-processing on made-up cases of full size, as ``resunet-ds tune`` does it.

    python benchmarks/tuning.py [--cases 50] [--metric dice]

Each case is a tumour of about 80 × 70 × 75 voxels with an enhancing rim and specks around, blurred and noisy
probabilities, kept in the same cropped form as tune keeps validation cases.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.tuning.scores import METRICS, Scores
from nnunet_resunet_ds.tuning.search import tune
from nnunet_resunet_ds.tuning.stored_case import StoredCase, write_stored_case

SHAPE = (90, 80, 85)
RADII = {1: 0.45, 2: 0.3, 3: 0.22}
"""Of ED, NCR and ET around one centre, in parts of the box; ET is the shell between the last two."""


def main() -> None:
    """Make the cases, search, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [_write(Path(folder), number) for number in range(options.cases)]
        scores = Scores(files, options.metric)
        start = time.perf_counter()
        tuning = tune(scores, [str(number % 5) for number in range(options.cases)], "probabilities")
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in files) / 2**20
    evaluations = len(scores.known) * options.cases
    print(f"{options.cases} cases, {size:.0f} MiB: {len(scores.known)} settings, {options.metric}, in {seconds:.0f} s")
    print(f"{1000 * seconds / evaluations:.1f} ms a setting and case; gain {tuning.gain:+.4f} ± {tuning.spread:.4f}")


def _write(folder: Path, number: int) -> Path:
    random = np.random.default_rng(number)
    axes = np.meshgrid(*(np.linspace(-0.5, 0.5, size) for size in SHAPE), indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes)) + 0.08 * gaussian_filter(random.standard_normal(SHAPE), 6) * 40
    reference = np.zeros(SHAPE, np.uint8)
    reference[distance < RADII[1]] = 1
    reference[distance < RADII[2]] = 3
    reference[distance < RADII[3]] = 2
    noise = gaussian_filter(random.standard_normal((len(REGIONS), *SHAPE)), (0, 2, 2, 2)) * 3
    smooth = [gaussian_filter(region.mask(reference).astype(np.float32), 1.5) for region in REGIONS]
    probabilities = np.clip(np.stack(smooth) * 0.95 + noise, 0, 1).astype(np.float32)
    path = folder / f"{number}.npz"
    write_stored_case(StoredCase(probabilities, reference, 1.0), path)
    return path


if __name__ == "__main__":
    main()
