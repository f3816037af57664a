"""A cohort as large as BraTS 2021's, of small files, through each command: memory and open files stay flat."""

import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from brats_files import MODALITIES, make_case, painted, write
from models import predict

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.compute.environment import memory_mib

pytestmark = pytest.mark.long
N_CASES = 1251
"""Of the training set of BraTS 2021."""
MORE_FILES = 40
"""That may be open at a time beside those open before: a few a thread."""
MORE_MIB = 48
"""That memory may grow by in the last three quarters of a run: caches of the allocator, results of cases. A small case
that was kept would be 15 kB, the whole cohort 20 MiB in files and several times that in arrays."""
IDS = [f"BraTS2021_{number:05d}" for number in range(N_CASES)]


class Samples:
    """Memory in MiB and open files of this process, over a run."""

    def __init__(self):
        self.memory, self.files = [], []

    def take(self):
        self.memory.append(memory_mib())
        self.files.append(len(list(Path("/proc/self/fd").iterdir())))

    @property
    def growth(self):
        """From the first quarter to the end."""
        return max(self.memory[-max(1, len(self.memory) // 10) :]) - max(self.memory[: max(1, len(self.memory) // 4)])


@contextmanager
def sampled():
    samples, ended = Samples(), threading.Event()

    def sample():
        while not ended.wait(0.05):
            samples.take()

    samples.take()
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
        time.sleep(0.05)
        samples.take()


def is_flat(samples):
    assert len(samples.memory) > 10
    assert max(samples.files) <= samples.files[0] + MORE_FILES, samples.files
    assert samples.files[-1] <= samples.files[0] + 2, samples.files
    assert samples.growth < MORE_MIB, samples.memory


@pytest.fixture(scope="module")
def cohort_of_1251(tmp_path_factory):
    """The files of one case under the names of all, probabilities and predictions beside."""
    folder = tmp_path_factory.mktemp("load")
    one = make_case(folder / "one", IDS[0])
    truth = one / f"{IDS[0]}_seg.nii.gz"
    values = np.random.default_rng(0).random((3, 6, 7, 8), np.float32)
    write(folder / "labels.nii.gz", painted(values))
    np.savez_compressed(folder / "values.npz", probabilities=values)
    for name in ("raw", "probabilities", "reference"):
        (folder / name).mkdir()
    for case in IDS:
        (folder / "raw" / case).mkdir()
        for modality in (*MODALITIES, "seg"):
            source = one / f"{IDS[0]}_{modality}.nii.gz"
            shutil.copyfile(source, folder / "raw" / case / f"{case}_{modality}.nii.gz")
        shutil.copyfile(folder / "labels.nii.gz", folder / "probabilities" / f"{case}.nii.gz")
        shutil.copyfile(folder / "values.npz", folder / "probabilities" / f"{case}.npz")
        shutil.copyfile(truth, folder / "reference" / f"{case}_seg.nii.gz")
    return folder


def test_all_cases_go_the_whole_way(cohort_of_1251, nnunet_folders, capsys):
    folder, out = cohort_of_1251, nnunet_folders
    runs = {
        "convert": [folder / "raw", "-d", "137"],
        "postprocess": ["-i", folder / "probabilities", "-o", out / "labels"],
        "evaluate": ["-ref", folder / "raw", "-pred", out / "labels", "--pred-labels", "nnunet", "-o", out / "m.json"],
        "report": [
            "-i", folder / "raw", "-pred", out / "labels", "-ref", folder / "raw", "--pred-labels", "nnunet",
            "--metrics", out / "m.json", "-o", out / "report.html", "--max-viewers", "20",
        ],
    }  # fmt: skip
    for name, words in runs.items():
        with sampled() as samples:
            assert main([name, *map(str, words)]) == 0, capsys.readouterr().err
        is_flat(samples)
        progress = capsys.readouterr().err
        assert f"{N_CASES}/{N_CASES}" in progress and "case/s]" in progress, name
    assert len(list((out / "nnUNet_raw" / "Dataset137_BraTS2021" / "imagesTr").iterdir())) == 4 * N_CASES
    assert len(list((out / "labels").glob("*.nii.gz"))) == N_CASES


def test_twenty_predictions_in_one_process(cohort, model, tmp_path):
    samples, threads = Samples(), []
    for number in range(20):
        assert predict(cohort, tmp_path / f"out{number}", model) == 0
        if number >= 4:  # what the first calls load and cache stays
            samples.take()
            threads.append(threading.active_count())
    assert max(samples.memory) - samples.memory[0] < 24, samples.memory
    assert max(samples.files) <= samples.files[0], samples.files
    assert len(set(threads)) == 1, threads  # of progress bars
