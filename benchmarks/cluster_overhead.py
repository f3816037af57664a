"""What handing out a case costs on a Dask cluster of this machine, with work that sleeps instead of computing.

    python benchmarks/cluster_overhead.py

Prints a table in Markdown: cases a second for 1, 2 and 4 workers, the share of the time that workers slept, and what
else grows with the number of cases: results that come back, and ``run.json``.
"""

import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import Executor
from pathlib import Path

from dataset_conversion.label_convention import NNUNET
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.cluster import connected
from nnunet_resunet_ds.compute.environment import memory_mib
from nnunet_resunet_ds.inference.output import Output
from nnunet_resunet_ds.inference.pipeline import CaseOutcome

WORKERS = (1, 2, 4)
SLEEPS = (0.0, 0.02, 0.1, 0.5)
SECONDS = 3.0
"""That a measurement should take, about."""
MAX_CASES = 2000
REPEATS = 3


def sleeping(seconds: float) -> bytes:
    """Do what a case takes, and return as much as a case's metrics are."""
    time.sleep(seconds)
    return b"x" * 2000


def rate(executor: Executor, n_cases: int, seconds: float) -> float:
    """Return cases a second."""
    begin = time.perf_counter()
    for_each([seconds] * n_cases, sleeping, "test", executor)
    return n_cases / (time.perf_counter() - begin)


def main() -> None:
    """Measure and print."""
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (progress bars)
    print("| workers | a case sleeps | cases | cases/s | of what sleeping allows | overhead a case and worker |")
    print("|---|---|---|---|---|---|")
    for n_workers in WORKERS:
        with connected(f"local:{n_workers}") as executor:
            rate(executor, 50, 0.0)
            for seconds in SLEEPS:
                n_cases = min(MAX_CASES, max(20, int(SECONDS * n_workers / max(seconds, 0.001))))
                rates = [rate(executor, n_cases, seconds) for _ in range(REPEATS)]
                median = statistics.median(rates)
                slept = f"{median * seconds / n_workers:.0%}" if seconds else ""
                overhead = f"{(n_workers / median - seconds) * 1000:.1f} ms"
                print(f"| {n_workers} | {seconds * 1000:.0f} ms | {n_cases} | {median:.1f} | {slept} | {overhead} |")
    with connected("local:2") as executor:
        before = memory_mib() or 0.0
        begin = time.perf_counter()
        for_each([0.0] * 20_000, sleeping, "test", executor)
        seconds, after = time.perf_counter() - begin, memory_mib() or 0.0
        print(f"\n20 000 cases that do nothing: {20_000 / seconds:.0f} cases/s, {after - before:.0f} MiB more here")
    for n_cases in (1_000, 10_000, 100_000):
        print(run_json(n_cases))


def run_json(n_cases: int) -> str:
    """Say how long one writing of ``run.json`` takes with so many cases in it."""
    entry = {
        "network_seconds": 1.8, "warnings": [], "mean_probability": {"WT": 0.97, "TC": 0.95, "ET": 0.93},
        "changes": [{"step": step, "voxels": 0, "mean_probability": 0.0} for step in ("et_components", "et_total")],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        output = Output(Path(folder), NNUNET, {})
        output.run_file.cases = {f"BraTS-GLI-{number:06d}-000": dict(entry) for number in range(n_cases)}
        begin = time.perf_counter()
        (Path(folder) / "case.nii.gz").touch()
        output.note(CaseOutcome("case", entry))
        seconds = time.perf_counter() - begin
        size = (Path(folder) / "run.json").stat().st_size / 1e6
    return f"run.json of {n_cases} cases: {size:.1f} MB, {seconds * 1000:.0f} ms a writing"


if __name__ == "__main__":
    main()
