"""The ablation on phantoms: make a cohort that is hard enough for differences, prepare it, and run the ladder.

The brains are made long, so that one axis of the patch has 128 voxels and can be halved six times: with less, the
seventh stage would not be there. Images are noisier than the demo's. Run again, it goes on where it was.

    python benchmarks/phantom_ablation.py -o /tmp/phantom_ablation

What follows ``--`` goes to resunet-ds ablation in place of the settings of docs/ablation.md.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.demo.phantom import Anatomy
from nnunet_resunet_ds.demo.phantom_cohort import make_cohort

DATASET_ID = "998"
N_CASES = 36
HELD_OUT = "0.33"
LONG = Anatomy(shape=(40, 48, 136), brain_radii=(18, 20, 62), noise=(60, 120))
SETTINGS = (
    "--only", "baseline", "+deep-supervision", "+depth", "+channels", "+salient-channel", "--seeds", "1", "2", "3",
    "--width", "0.125", "--patch-size", "32", "40", "128", "--lr", "2e-3", "--epochs", "20", "--iterations", "20",
    "--val-iterations", "6", "--plateau-patience", "2",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Make, convert, split and preprocess the cohort."""
    training, _, _ = make_cohort(folder / "phantoms", N_CASES, 0, LONG)
    run("resunet-ds", "convert", str(training), "-d", DATASET_ID, "-n", "LongPhantoms")
    run("nnUNetv2_plan_and_preprocess", "-d", DATASET_ID, "-c", "3d_fullres", "-npfp", "2", "-np", "2")
    run("resunet-ds", "splits", "-d", DATASET_ID, "--holdout", HELD_OUT, "--seed", "1")


def run(*command: str) -> None:
    """Print a command and run it."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    subprocess.run(command, check=True)


def main() -> None:
    """Prepare what is not there, and run the ablation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="folder", type=Path, required=True)
    parser.add_argument("settings", nargs="*", default=SETTINGS)
    options = parser.parse_args()
    for variable in NNUNET_FOLDERS:
        folder = options.folder.resolve() / variable
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(folder)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ready = options.folder / "prepared"
    if not ready.is_file():
        prepare(options.folder)
        ready.touch()
    run("resunet-ds", "ablation", "-d", DATASET_ID, *options.settings)


if __name__ == "__main__":
    main()
