"""One long command: its log, its variables, and what happens when it fails, is stopped, or outlives its parent."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.signals import TERMINATED
from nnunet_resunet_ds.cluster import jobs
from nnunet_resunet_ds.cluster.jobs import CommandError, log_of, run_command, settings_for, shell_line


def python(code):
    return [sys.executable, "-c", code]


def test_a_command_that_fails_is_told_of_with_its_last_line(tmp_path):
    with (
        log_of(tmp_path) as log,
        pytest.raises(CommandError, match=r"exit code 3; .*log\.txt ends: no such plans"),
    ):
        run_command(python("print('no such plans\\n'); raise SystemExit(3)"), {}, log, lambda: None)
    assert "raise SystemExit(3)" in (tmp_path / "log.txt").read_text()


def test_settings_of_the_user_stay_and_are_not_printed(monkeypatch):
    for name in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc"):
        monkeypatch.delenv(name, raising=False)
    assert settings_for("cpu") == {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "0"} and settings_for("cuda") == {}
    monkeypatch.setenv("nnUNet_n_proc_DA", "7")
    assert settings_for("cpu") == {"nnUNet_def_n_proc": "2"}
    assert shell_line(["nnUNetv2_train", "1"], settings_for("cpu")) == "nnUNet_def_n_proc=2 nnUNetv2_train 1"


def test_sigterm_is_passed_on_and_waits_for_what_the_command_saves(tmp_path):
    command = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), print('saved'), sys.exit()))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process, log = started(command, tmp_path)
    wait_for(lambda: log.is_file() and "\nready" in log.read_text())
    process.terminate()
    assert process.wait(30) == TERMINATED and log.read_text().endswith("saved\n")


def test_what_a_command_has_started_saves_after_it(tmp_path):
    """As the ranks of nnU-Net's command, which has no handler for SIGTERM."""
    rank = (
        "import ctypes, signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (time.sleep(1), print('saved', flush=True), sys.exit()))\n"
        "ctypes.CDLL(None).prctl(1, signal.SIGINT)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process, log = started(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {rank!r}])", tmp_path)
    wait_for(lambda: log.is_file() and "\nready" in log.read_text())
    process.terminate()
    assert process.wait(30) == TERMINATED and log.read_text().endswith("saved\n")


def test_what_does_not_save_in_time_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "SECONDS_TO_SAVE", 0.5)
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid)"
    with log_of(tmp_path) as log:
        run_command(python(code), {}, log)
    pid = int((tmp_path / "log.txt").read_text().split()[-1])
    wait_for(lambda: not Path(f"/proc/{pid}/exe").exists())


def started(code, folder):
    """Start a process that runs a command, and return it and the log."""
    parent = (
        f"from nnunet_resunet_ds.cluster.jobs import log_of, run_command; from pathlib import Path\n"
        f"with log_of(Path({str(folder)!r})) as log:\n"
        f"    run_command([{sys.executable!r}, '-c', {code!r}], {{}}, log, lambda: None)\n"
    )
    return subprocess.Popen(python(parent)), folder / "log.txt"


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="has no flock")
def test_a_command_that_outlives_who_started_it_keeps_others_away(tmp_path):
    release = tmp_path / "release"
    command = f"import time, pathlib\nwhile not pathlib.Path({str(release)!r}).exists(): time.sleep(0.05)"
    process, log = started(command, tmp_path)
    wait_for(lambda: log.is_file() and "while not" in log.read_text())
    time.sleep(0.3)
    process.kill()
    process.wait()
    with pytest.raises(InputError, match="another process is at work on this"), log_of(tmp_path):
        pass
    release.touch()
    wait_for(lambda: lock_is_free(tmp_path))


def lock_is_free(folder):
    try:
        with log_of(folder):
            return True
    except InputError:
        return False
