"""Long commands on other machines: told to save, run again, and never twice at once."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ablations import finish, run_of, settings
from clusters import Cluster, until
from fake_slurm import Slurm

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.signals import TERMINATED
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.cluster import connected
from nnunet_resunet_ds.cluster.jobs import Job, log_of
from nnunet_resunet_ds.cluster.runners import array_script, run_here, run_jobs
from nnunet_resunet_ds.experiments.ablation import run_ladder
from nnunet_resunet_ds.experiments.ablation.run_ladder import jobs_of
from nnunet_resunet_ds.experiments.ablation.rungs import RUNGS

TRAINING = """
import signal, sys, time
from pathlib import Path
folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
def save(*_):
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
while (done := len(list(folder.glob("epoch*")))) < epochs:
    (folder / f"epoch{done}").touch()
    print("epoch", done, flush=True)
    time.sleep(0.1)
print("trained", flush=True)
"""
"""Leaves a file an epoch, goes on after the last one, and saves at SIGTERM."""


def job(folder, epochs=5, name="fold 0"):
    folder.mkdir(exist_ok=True)
    command = (sys.executable, "-c", TRAINING, str(folder), str(epochs))
    return Job(name, command, folder, epochs, lambda: len(list(folder.glob("epoch*"))))


# ---- SLURM ----


@pytest.fixture
def slurm(tmp_path):
    return Slurm(tmp_path)


def submitted(slurm, folder, jobs, variables=None, **how):
    script = folder / "jobs of mine.sbatch"
    script.write_text(array_script("test", jobs, variables or {}, script, n_gpus=2))
    return script, slurm.sbatch(script, dict(os.environ), **how)


def test_every_task_of_the_array_runs_its_own_words(slurm, tmp_path):
    odd = ["it's", 'a "b"', "$HOME `id`", "é;&", ""]
    code = "import os, sys; print(sys.argv[1:], os.environ['ODD'])"
    jobs = [
        Job("words", (sys.executable, "-c", code, *odd), tmp_path, 1, int),
        Job("python", ("python", "-c", "import nnunetv2; print('found')"), tmp_path, 1, int),
        Job("failing", (sys.executable, "-c", "raise SystemExit(3)"), tmp_path, 1, int),
    ]
    script, codes = submitted(slurm, tmp_path, jobs, {"ODD": "a 'b' $c"})
    assert codes == {0: [0], 1: [0], 2: [3]}
    assert script.with_name("slurm-77_0.out").read_text() == f"{odd} a 'b' $c\n"
    assert script.with_name("slurm-77_1.out").read_text() == "found\n"
    text = script.read_text()
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert text.splitlines()[: len(directives) + 1] == ["#!/bin/bash", *directives]  # SLURM reads no further
    assert {"#SBATCH --gpus-per-node=2", "#SBATCH --cpus-per-task=24", "#SBATCH --signal=B:TERM@300"} <= {*directives}
    assert "--gpus" not in array_script("test", jobs, {}, script, n_gpus=0)


def once(folder, stopped):
    """Say once that a task is to be stopped: after two epochs."""

    def stop(task):
        if not stopped and len(list(folder.glob("epoch*"))) >= 2:
            stopped.append(task)
            return True
        return False

    return stop


def test_a_task_whose_time_is_up_saves_is_queued_again_and_goes_on(slurm, tmp_path):
    folder = tmp_path / "fold_0"
    script, codes = submitted(slurm, tmp_path, [job(folder, 8)], stop=once(folder, []))
    assert codes == {0: [TERMINATED, 0]}
    said = script.with_name("slurm-77_0.out").read_text().splitlines()
    assert said.count("saved") == 1 and said[-1] == "trained"
    assert [line for line in said if line.startswith("epoch")] == [f"epoch {number}" for number in range(8)]


def test_a_task_that_is_cancelled_saves_and_stays_away(slurm, tmp_path):
    folder = tmp_path / "fold_0"
    script, codes = submitted(slurm, tmp_path, [job(folder, 8)], stop=once(folder, []), state="COMPLETING")
    assert codes == {0: [TERMINATED]} and script.with_name("slurm-77_0.out").read_text().endswith("saved\n")


# ---- workers ----


@pytest.fixture
def gpus(tmp_path):
    """A scheduler and two workers that say they have a GPU each."""
    made = Cluster(tmp_path)
    try:
        for _ in range(2):
            made.add_worker("--resources", "GPU=1")
        yield made
    finally:
        made.close()


def test_jobs_run_one_a_gpu_and_failures_are_named(gpus, tmp_path):
    jobs = [job(tmp_path / f"fold_{number}", name=f"fold {number}") for number in range(4)]
    broken = Job("broken", (sys.executable, "-c", "print('why'); raise SystemExit(4)"), tmp_path / "broken", 1, int)
    most, looks = 0, []

    def look():
        nonlocal most
        looks.append(sum(one.epochs_done for one in jobs))
        working = subprocess.run(["pgrep", "-fc", str(tmp_path / "fold_")], capture_output=True, text=True, check=False)
        most = max(most, int(working.stdout))

    with connected(gpus.address, resources={"GPU": 1}) as executor:
        until(lambda: len(executor.client.scheduler_info()["workers"]) == 2)
        failures = run_jobs([*jobs, broken], executor, {"A": "b"}, look)
    assert list(failures) == ["broken"] and "exit code 4" in failures["broken"] and "ends: why" in failures["broken"]
    assert looks[-1] == 20 and all((one.folder / "log.txt").read_text().endswith("trained\n") for one in jobs)
    assert most <= 2


def test_a_training_whose_worker_is_killed_saves_and_goes_on_elsewhere(gpus, tmp_path):
    one = job(tmp_path / "fold_0", epochs=20)

    def kill_its_worker():
        until(lambda: one.epochs_done >= 3)
        pattern = f"^{sys.executable} -c .*{one.folder} 20$"
        training, *_ = subprocess.check_output(["pgrep", "-f", pattern], text=True).split()
        worker = int(Path(f"/proc/{training}/stat").read_text().split()[3])
        os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill_its_worker)
    killer.start()
    with connected(gpus.address, resources={"GPU": 1}) as executor:
        assert run_jobs([one], executor, {}, lambda: None) == {}
    killer.join()
    said = [line for line in (one.folder / "log.txt").read_text().splitlines() if not line.startswith("$")]
    assert said.count("saved") == 1 and said[-1] == "trained"
    assert [line for line in said if line.startswith("epoch")] == [f"epoch {number}" for number in range(20)]


def test_without_a_gpu_nothing_waits_for_ever(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.add_worker()
        with (
            pytest.raises(InputError, match=r"no worker offers GPU=1; start one for each GPU: .*--resources GPU=1"),
            connected(made.address, resources={"GPU": 1}),
        ):
            pass
    finally:
        made.close()


def test_a_log_is_waited_for(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom nnunet_resunet_ds.cluster.jobs import log_of\n"
        "with log_of(Path(sys.argv[1])):\n    print('mine', flush=True)\n    sys.stdin.readline()\n"
    )
    words, pipe = [sys.executable, "-c", code, str(tmp_path)], subprocess.PIPE
    other = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
    assert other.stdout.readline() == "mine\n"
    with pytest.raises(InputError, match="another process is at work"), log_of(tmp_path, patience=0.3):
        pass
    done = []
    threading.Timer(0.5, lambda: (done.append("asked to end"), other.communicate("\n"))).start()
    with log_of(tmp_path, patience=300):
        assert done
    other.wait()


# ---- the commands ----


def test_an_ablation_s_jobs_give_back_its_settings(dataset, tmp_path, capsys, monkeypatch):
    of = settings(dataset)
    (dataset[2] / "splits_final.json").write_text('[{"train": ["b"], "val": ["a"]}]')
    rungs = [RUNGS[name] for name in ("baseline", "+residual", "+post-processing")]
    runs = [run_of(of, "baseline"), run_of(of, "+residual", seed=2)]
    jobs = jobs_of(runs, rungs, "cpu")
    assert [job.command[job.command.index("--only") :] for job in jobs] == [
        ("--only", "baseline", "--seeds", "1", "-f", "0", "-device", "cpu"),
        ("--only", "+residual", "+post-processing", "--seeds", "2", "-f", "0", "-device", "cpu"),
    ]
    asked = []
    monkeypatch.setattr(run_ladder, "ablation", lambda *given, **_: asked.append(given))
    assert main(list(jobs[1].command[1:])) == 0
    ((again, _, seeds, folds, device),) = asked
    assert again.__dict__ == {**of.__dict__, "patch_size": list(of.patch_size)}
    assert (seeds, folds, device) == ([2], [0], "cpu")
    finish(runs[0], {"a": 0.5})
    assert [job.name for job in jobs_of(runs, rungs, "cpu")] == [runs[1].name]

    file = tmp_path / "ablation.sbatch"
    words = [*jobs[1].command[1:-2], "--slurm", str(file)]  # without -device
    assert main(words) == 0
    assert f"wrote {file}: 1 jobs on cuda; submit them with: sbatch {file}" in capsys.readouterr().out
    assert "0) command=(resunet-ds ablation -d 137" in file.read_text()
    assert "-f 0 -device cuda) ;;" in file.read_text() and "--gpus-per-node=1" in file.read_text()
    finish(runs[1], {"a": 0.5})
    assert main(words) == 0
    assert "every run is finished: there is nothing to submit" in capsys.readouterr().out


def test_train_says_what_it_would_run_and_what_is_missing(dataset, tmp_path, capsys):
    folder = dataset[2]
    words = ["train", "-d", "137", "-device", "cpu"]
    assert main([*words, "--dry-run"]) == 2
    assert "nnUNetPlans.json: no such plans; make them with" in capsys.readouterr().err
    settings(dataset)  # writes the plans
    assert main([*words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[4].endswith("nnUNetv2_train 137 3d_fullres 4 -tr ResUNetDSTrainer -p nnUNetPlans -device cpu --c")
    assert main([*words, "-f", "5", "--dry-run"]) == 2
    assert "fold 5 is not there" in capsys.readouterr().err
    file = tmp_path / "train.sbatch"
    assert main([*words, "--slurm", str(file)]) == 2
    assert (
        "splits_final.json: is not there, and the folds share it: make it with resunet-ds splits"
        in capsys.readouterr().err
    )
    (folder / "splits_final.json").write_text('[{"train": ["b"], "val": ["a"]}, {"train": ["a"], "val": ["b"]}]')
    assert main([*words, "--slurm", str(file), "-num_gpus", "2"]) == 0
    text = file.read_text()
    assert "#SBATCH --array=0-1" in text
    assert "command=(resunet-ds train -d 137 -c 3d_fullres -f 1 -tr ResUNetDSTrainer" in text
    assert main([*words[:-1], "cuda", "--slurm", str(file), "-num_gpus", "2", "-f", "0", "0"]) == 0
    assert "#SBATCH --gpus-per-node=2" in file.read_text() and "#SBATCH --array=0-0" in file.read_text()
    assert main([*words, "--scheduler", "local:2"]) == 2
    assert "trainings need workers with a GPU each" in capsys.readouterr().err
    assert f"export nnUNet_preprocessed={folder.parent}" in text and "export nnUNet_n_proc_DA=0" in text
    for fold in (0, 1):
        done = (
            folder.parents[1]
            / "nnUNet_results"
            / folder.name
            / "ResUNetDSTrainer__nnUNetPlans__3d_fullres"
            / f"fold_{fold}"
        )
        (done / "validation").mkdir(parents=True)
        (done / "checkpoint_final.pth").touch()
        (done / "validation" / "summary.json").touch()
    assert main(words) == 0
    assert "every fold asked for is trained and validated" in capsys.readouterr().out


# ---- here ----


def test_jobs_run_here_one_after_the_other_and_failures_are_named(tmp_path):
    broken = Job("broken", (sys.executable, "-c", "print('why'); raise SystemExit(4)"), tmp_path / "broken", 1, int)
    jobs = [broken, job(tmp_path / "fold_0", 3)]
    failures = run_here(jobs, "cpu")
    assert list(failures) == ["broken"] and "ends: why" in failures["broken"]
    assert jobs[1].epochs_done == 3
    with log_of(jobs[1].folder):
        assert "another process is at work" in run_here(jobs[1:], "cpu")["fold 0"]
