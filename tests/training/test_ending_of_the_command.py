"""SIGTERM to the process group of nnU-Net's own command, with its loading processes, and a compiler where asked for."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stock_runs import command, run_here
from struck import SECONDS, members

from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints

pytestmark = pytest.mark.long
TRAIN = ["nnUNetv2_train", "137", "3d_fullres", "0", "-tr", "ResUNetDSTrainer", "-p", "Struck", "-device", "cpu"]
MINUTES_TO_BEGIN = 4


@pytest.fixture(scope="module")
def environment(stock_dataset):
    run_here(
        stock_dataset, "plan", "-d", "137", "--name", "Struck", "--patch-size", "16", "16", "16",
        "--features", "4", "8", "12", "--epochs", "1000", "--iterations", "50", "--val-iterations", "2",
    )  # fmt: skip
    return stock_dataset | {"nnUNet_n_proc_DA": "2", "TORCHINDUCTOR_COMPILE_THREADS": "4"}


def commands_of(session):
    """The command lines of all its processes."""
    lines = []
    for pid in members(session):
        try:
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            continue
    return lines


def loads(session, printed):
    return len(commands_of(session)) >= 3 and "Epoch 0" not in printed


def compiles(session, printed):
    """A compiler, or a process that calls one for PyTorch."""
    return any(word in line for line in commands_of(session) for word in (b"cc1plus", b"compile_worker"))


def steps(session, printed):
    return "Epoch 0" in printed


@pytest.mark.parametrize(("compile_", "moment"), [("0", loads), ("0", steps), ("1", compiles)])
def test_it_ends_within_30_seconds_with_a_checkpoint_and_no_process_left(environment, tmp_path, compile_, moment):
    settings = {"nnUNet_compile": compile_, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")}
    with (tmp_path / "printed").open("w") as stream:
        process = subprocess.Popen(
            command(*TRAIN), env=environment | settings, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    printed = tmp_path / "printed"
    end = time.monotonic() + 60 * MINUTES_TO_BEGIN
    while not moment(process.pid, printed.read_text()):
        assert process.poll() is None and time.monotonic() < end, printed.read_text()[-3000:]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        assert process.wait(SECONDS) == 143, printed.read_text()[-3000:]
        time.sleep(2)  # multiprocessing's own tracker ends by itself when all others have
        assert commands_of(process.pid) == []
    finally:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
    fold = Path(environment["nnUNet_results"], "Dataset137_BraTS2021", "ResUNetDSTrainer__Struck__3d_fullres", "fold_0")
    assert "SIGTERM: saved in epoch 0; continue with --c." in printed.read_text()
    assert checkpoints.read_checkpoint(fold / checkpoint_names.LATEST)["current_epoch"] == 0
