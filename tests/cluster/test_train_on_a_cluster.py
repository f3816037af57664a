"""Stock trainings by ``resunet-ds train``: on a worker that is killed, and as a SLURM array that is preempted."""

import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest
from clusters import Cluster, until
from distributed import Client
from fake_slurm import Slurm
from stock_runs import run, run_here

pytestmark = pytest.mark.long
TRAIN = ("resunet-ds", "train", "-d", "137", "-p", "Small", "-device", "cpu")


@pytest.fixture(scope="module")
def environment(stock_dataset, tmp_path_factory):
    """The stock dataset once more, with small plans and a split of its own."""
    folder = tmp_path_factory.mktemp("trainings")
    variables = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        shutil.copytree(stock_dataset[name], variables[name])
    made = {**stock_dataset, **variables}
    made.pop("nnUNet_n_proc_DA")
    run_here(
        made, "plan", "-d", "137", "--name", "Small", "--patch-size", "16", "16", "16",
        "--features", "4", "8", "12", "--epochs", "6", "--iterations", "2", "--val-iterations", "1", "--patience", "6",
    )  # fmt: skip
    run_here(made, "splits", "-d", "137", "--folds", "2", "--overwrite")
    return made


def fold_folder(environment, fold):
    model = "ResUNetDSTrainer__Small__3d_fullres"
    return Path(environment["nnUNet_results"], "Dataset137_BraTS2021", model, f"fold_{fold}")


def epochs_done(environment, fold):
    table = fold_folder(environment, fold) / "heads.csv"
    return len(table.read_text().splitlines()) - 1 if table.is_file() else 0


def is_finished(environment, fold):
    folder = fold_folder(environment, fold)
    assert (folder / "validation" / "summary.json").is_file() and (folder / "checkpoint_final.pth").is_file()
    return epochs_done(environment, fold) == 6


def test_on_workers_of_which_one_is_killed(environment, tmp_path):
    cluster = Cluster(tmp_path)
    try:
        cluster.add_worker("--resources", "GPU=1")

        def kill_the_worker():
            until(lambda: epochs_done(environment, 0) >= 2, seconds=300)
            with Client(cluster.address) as client:
                (worker,) = client.run(os.getpid).values()
            os.kill(worker, signal.SIGKILL)

        killer = threading.Thread(target=kill_the_worker)
        killer.start()
        said = run(environment, *TRAIN, "-f", "0", "--scheduler", cluster.address)
        killer.join()
    finally:
        cluster.close()
    assert "6/6" in said and "done: fold 0" in said
    log = (fold_folder(environment, 0) / "log.txt").read_text()
    assert len(re.findall(r"^\$ .*nnUNetv2_train 137 .* --c$", log, re.MULTILINE)) == 2
    assert re.search(r"SIGTERM: saved in epoch \d; continue with --c", log)
    assert is_finished(environment, 0)


def test_as_a_slurm_array_that_is_preempted(environment, tmp_path):
    script, stopped = tmp_path / "train.sbatch", []
    run(environment, *TRAIN, "-f", "1", "--slurm", str(script))

    def stop(task):
        if not stopped and epochs_done(environment, 1) >= 2:
            stopped.append(task)
            return True
        return False

    elsewhere = {name: value for name, value in environment.items() if not name.startswith("nnUNet_")}
    assert Slurm(tmp_path).sbatch(script, elsewhere, stop) == {0: [143, 0]}
    said = script.with_name("slurm-77_0.out").read_text()
    assert said.count("$ nnUNetv2_train 137 3d_fullres 1") + said.count(" nnUNetv2_train 137 3d_fullres 1") >= 2
    log = (fold_folder(environment, 1) / "log.txt").read_text()
    assert re.search(r"SIGTERM: saved in epoch \d; continue with --c", log)
    assert is_finished(environment, 1)
    assert "every fold asked for is trained and validated" in run(environment, *TRAIN, "-f", "1")
