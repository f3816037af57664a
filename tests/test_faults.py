"""The fault matrix: what a command leaves when machine, disk or user stop it, and that a rerun completes.

Rows are faults, columns commands; docs/understand/faults.md says them in words. Training has its own rows, in
test_resumable.py and test_training_run.py; killing a conversion at each step, in test_conversion_resume.py.
"""

import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import make_case, painted, write
from forked import Forks
from models import small_plans, write_model
from reports import make_cohort

from dataset_conversion import convert
from nnunet_resunet_ds.base.locks import only_writer

pytestmark = pytest.mark.long
IDS = [f"BraTS2021_{number:05d}" for number in range(6)]
MODEL = "ResUNetDSTrainer__nnUNetPlans__3d_fullres"


@dataclass(frozen=True)
class Job:
    """A command on small files: its words, where it writes, and the file writes until a first case is finished."""

    words: Callable[[Path], list[str]]
    output: Callable[[Path], Path]
    writes: int
    """The fault comes at this one of the files that the command puts in place."""
    finished_first: int = 0
    """Label maps that are in place by then, to be found there after the fault."""
    again: tuple[str, ...] = ()
    """Further words of the rerun."""


def raw(folder):
    return folder / "nnUNet_raw" / "Dataset137_BraTS2021"


def model(folder):
    return folder / "nnUNet_results" / "Dataset137_BraTS2021" / MODEL


JOBS = {
    "convert": Job(
        lambda folder: ["convert", folder / "train", "-d", "138", "-np", "1"],
        lambda folder: folder / "nnUNet_raw" / "Dataset138_BraTS2021",
        writes=9,
    ),
    "predict": Job(
        lambda folder: [
            "predict", "-i", raw(folder) / "imagesTr", "-o", folder / "out", "-m", model(folder), "--no-tta",
        ],
        lambda folder: folder / "out",
        writes=6,
        finished_first=1,
        again=("--continue",),
    ),
    "postprocess": Job(
        lambda folder: ["postprocess", "-i", folder / "probabilities", "-o", folder / "out"],
        lambda folder: folder / "out",
        writes=6,  # run.json and the settings come first
        finished_first=1,
    ),
    "tune": Job(lambda folder: ["tune", "-d", "137", "--no-tta"], model, writes=4),
    "evaluate": Job(
        lambda folder: [
            "evaluate", "-ref", folder / "report" / "raw", "-pred", folder / "report" / "labels",
            "-o", folder / "out" / "metrics.json", "--csv", folder / "out" / "metrics.csv",
        ],
        lambda folder: folder / "out",
        writes=2,
    ),
    "report": Job(
        lambda folder: [
            "report", "-i", folder / "report" / "raw", "-pred", folder / "report" / "labels",
            "-o", folder / "out" / "report.html",
        ],
        lambda folder: folder / "out",
        writes=1,
    ),
}  # fmt: skip


@pytest.fixture
def folder(dataset, tmp_path, monkeypatch):
    """Everything that the commands read: a dataset of six cases, a model of two folds, probabilities, label maps."""
    plans, dataset_json, preprocessed = dataset
    for number, case in enumerate(IDS):
        make_case(tmp_path / "train", case, seed=number)
    converted = convert([tmp_path / "train"], 137)
    (preprocessed / "gt_segmentations").mkdir()
    (tmp_path / "probabilities").mkdir()
    for number, case in enumerate(IDS):
        reference = converted / "labelsTr" / f"{case}.nii.gz"
        (preprocessed / "gt_segmentations" / f"{case}.nii.gz").symlink_to(reference)
        values = np.random.default_rng(number).random((3, 6, 7, 8), np.float32)
        write(tmp_path / "probabilities" / f"{case}.nii.gz", painted(values))
        np.savez_compressed(tmp_path / "probabilities" / f"{case}.npz", probabilities=values)
    splits = [{"train": IDS[3:], "val": IDS[:3]}, {"train": IDS[:3], "val": IDS[3:]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    write_model(model(tmp_path), small_plans(plans), dataset_json, folds=(0, 1))
    make_cohort(tmp_path / "report")
    (tmp_path / "out").mkdir()
    return tmp_path


FAULTY = """
import os, resource, signal, sys, threading, time
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def interrupt(times):
    def send():
        for _ in range(times):
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=send, daemon=True).start()
    try:
        time.sleep(2 if times == 1 else 20)
    finally:  # as long as tidying may take
        time.sleep(0 if times == 1 else 20)
count, replace = 0, os.replace
def faulty(source, destination):
    global count
    count += 1
    if count == {writes}:
        {fault}
    replace(source, destination)
os.replace = faulty
{before}
from nnunet_resunet_ds.cli import main
sys.exit(main(sys.argv[1:]))
"""
HALVES = "content = open(source, 'rb').read(); os.unlink(source); open(source, 'wb').write(content[:len(content) // 2])"


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.close()


@pytest.fixture
def run(forks, folder):
    def run_faulty(job, fault="pass", before="", more=()):
        code = FAULTY.format(writes=job.writes, fault=fault, before=before)
        words = [str(word) for word in (*job.words(folder), *more)]
        return forks.run(code, words, cwd=folder, environment=os.environ)

    return run_faulty


def contents(output, folder):
    """What lies in an output folder: voxels of images, JSON without times, text; nothing hidden; all of it whole."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = str(path.relative_to(output))
        if path.is_dir() or any(part.startswith(".") for part in Path(name).parts):
            continue
        if name.endswith(".nii.gz"):
            found[name] = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes()
        elif path.suffix == ".json":
            found[name] = without_times(json.loads(path.read_text().replace(str(folder), "")))
        elif path.suffix == ".csv":
            found[name] = list(csv.reader(path.open()))
        elif path.suffix == ".npz":
            found[name] = {key: values.tobytes() for key, values in np.load(path).items()}
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
            found[name] = path.stat().st_size
        else:
            found[name] = path.suffix
    return found


def without_times(content):
    """Without what differs between two runs: seconds, and times of change of files."""
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items() if key not in VOLATILE}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def one_clear_line(done, name):
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if f"resunet-ds {name}: " in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return lines[0]


VOLATILE = ("network_seconds", "weights", "inputs", "modified_ns")


def hidden(output):
    return [path for path in output.rglob(".*") if path.is_file()]


@pytest.fixture(params=JOBS)
def command(request):
    return request.param


@pytest.fixture(scope="module")
def made_before():
    """What each command has left when nothing was in its way."""
    return {}


@pytest.fixture
def undisturbed(command, folder, run, made_before):
    """What the command leaves when nothing is in its way; the folder is as it was before."""
    job = JOBS[command]
    if command not in made_before:
        before = folder.with_name("before")
        shutil.copytree(folder, before, symlinks=True)
        assert run(job).returncode == 0
        made_before[command] = contents(job.output(folder), folder)
        shutil.rmtree(folder)
        before.rename(folder)
    return made_before[command]


@pytest.fixture
def rerun_completes(folder, run):
    def check(name, whole):
        job = JOBS[name]
        done = run(job, more=job.again)
        assert done.returncode == 0, done.stderr
        assert contents(job.output(folder), folder) == whole

    return check


@pytest.mark.parametrize("fault", ["kill()", f"{HALVES}; kill()", "replace(source, destination); kill()"])
def test_killed_before_inside_and_after_a_write(command, folder, undisturbed, run, rerun_completes, fault):
    """What was finished stays, and no name of a finished file is given to a half-written one: `contents` reads all."""
    job = JOBS[command]
    assert run(job, fault).returncode == -9
    left = contents(job.output(folder), folder) if job.output(folder).exists() else {}
    assert sum(name.endswith(".nii.gz") for name in left) >= job.finished_first
    for name in left:
        if name.endswith((".nii.gz", ".npz", ".html", ".csv")):
            assert left[name] == undisturbed[name]
    rerun_completes(command, undisturbed)
    if command not in ("evaluate", "report"):  # what these leave is a hidden file that nothing reads
        assert not hidden(job.output(folder))


def test_interrupted_once_it_tidies_up(command, folder, undisturbed, run, rerun_completes):
    job = JOBS[command]
    done = run(job, "interrupt(1)")
    assert done.returncode == 130, done.stderr
    assert one_clear_line(done, command).endswith(": interrupted")
    if job.output(folder).exists():
        contents(job.output(folder), folder)
        assert not hidden(job.output(folder))
    rerun_completes(command, undisturbed)


def test_interrupted_twice_it_ends_at_once(command, folder, undisturbed, run, rerun_completes):
    done = run(JOBS[command], "interrupt(2)")
    assert done.returncode == 130, done.stderr
    assert "stopped at once" in done.stderr and "Traceback" not in done.stderr
    rerun_completes(command, undisturbed)


@contextmanager
def mounted(place, *mounts):
    """Mount something at a place until the block ends."""
    n_mounted = 0
    try:
        for options in mounts:
            if subprocess.run(["mount", *options, str(place)], capture_output=True, check=False).returncode:
                pytest.skip("no right to mount a small or read-only disk")
            n_mounted += "remount,ro,bind" not in options
        yield
    finally:
        if n_mounted:
            subprocess.run(["umount", str(place)], check=True)


WITH_FOLDER = [name for name, job in JOBS.items() if job.output(Path("x")) == Path("x", "out")]
"""Commands whose output can be put on a disk of its own."""


@pytest.mark.parametrize("name", WITH_FOLDER)
def test_a_full_disk(name, folder, run):
    with mounted(folder / "out", ["-t", "tmpfs", "-o", "size=4k", "tmpfs"]):
        done = run(JOBS[name])
        assert done.returncode == 2, done.stderr
        assert not list((folder / "out").glob("*.html"))
        contents(folder / "out", folder)
    assert any(words in done.stderr for words in ("disk", "space")) and "Traceback" not in done.stderr, done.stderr
    done = run(JOBS[name], more=JOBS[name].again)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", JOBS)
def test_a_read_only_folder(name, folder, run):
    output = JOBS[name].output(folder)
    place = output if output.exists() else output.parent
    with mounted(place, ["--bind", str(place)], ["-o", "remount,ro,bind"]):
        done = run(JOBS[name])
    assert done.returncode == 2, done.stderr
    line = one_clear_line(done, name)
    assert any(words in line for words in ("Read-only file system", "cannot be written to")), line


@pytest.mark.parametrize("name", ["convert", "predict", "postprocess", "tune"])
def test_two_processes_at_one_output(name, folder, run):
    output = JOBS[name].output(folder)
    locked = output.with_name(f".{output.name}.partial") if name == "convert" else output
    locked.mkdir(exist_ok=True)
    with only_writer(locked):
        done = run(JOBS[name])
    assert done.returncode == 2, done.stderr
    assert "another process is writing this; wait for it, or stop it first" in one_clear_line(done, name)
    assert run(JOBS[name]).returncode == 0


@pytest.mark.parametrize("name", ["evaluate", "report"])
def test_two_processes_at_one_file_leave_a_whole_one(name, folder, run):
    job = JOBS[name]
    code = FAULTY.format(writes=-1, fault="pass", before="")
    words = [str(word) for word in job.words(folder)]
    both = [
        subprocess.Popen([sys.executable, "-c", code, *words], cwd=folder, stderr=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [process.wait() for process in both] == [0, 0]
    together = contents(folder / "out", folder)
    assert run(job).returncode == 0
    assert contents(folder / "out", folder) == together


BACKWARDS = """
now = time.time()
moments = iter(range(10**9))
time.time = lambda: now - 3600 * next(moments)
"""


@pytest.mark.parametrize("command", ["predict"], indirect=True)  # nothing of ours reads the time of day
def test_a_clock_that_goes_backwards(command, folder, undisturbed, run, rerun_completes):
    job = JOBS[command]
    done = run(job, before=BACKWARDS)
    assert done.returncode == 0, done.stderr
    assert contents(job.output(folder), folder) == undisturbed
    rerun_completes(command, undisturbed)


LITTLE_MEMORY = """
import SimpleITK, numpy, nnunet_resunet_ds.base.images, nnunet_resunet_ds.cli
with open("/proc/self/status") as status:
    now = next(int(line.split()[1]) for line in status if line.startswith("VmSize")) << 10
resource.setrlimit(resource.RLIMIT_AS, (now + (400 << 20),) * 2)
"""


@pytest.mark.parametrize("name", ["convert", "evaluate"])
def test_out_of_memory_in_a_worker(name, folder, run):
    """A case that does not fit ends in one line that says so, and the command does what it should without it."""
    big = folder / "train" / IDS[5] / f"{IDS[5]}_seg.nii.gz"
    if name == "evaluate":
        big = folder / "report" / "labels" / "BraTS2021_00003.nii.gz"
    small = big.read_bytes()
    write(big, np.zeros((640, 640, 640), np.uint8))
    done = run(JOBS[name], before=LITTLE_MEMORY)
    assert done.returncode == 2, done.stderr
    assert "out of memory: end other programs" in one_clear_line(done, name)
    big.write_bytes(small)
    assert run(JOBS[name]).returncode == 0


def test_a_lock_ends_with_its_process(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from nnunet_resunet_ds.base.locks import only_writer
with only_writer(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with only_writer(tmp_path):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
