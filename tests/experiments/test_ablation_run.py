"""The ablation by its command: stopped in its first training, gone on with, and run once more."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stock_runs import command, run, run_here

from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.signals import TERMINATED

pytestmark = pytest.mark.long

ABLATION = [
    "resunet-ds", "ablation", "-d", "137", "--only", "baseline", "post-processing", "UNet", "-device", "cpu",
    "--no-tta", "--patch-size", "16", "16", "16", "--width", "0.125", "--epochs", "8", "--patience", "8",
    "--iterations", "2", "--val-iterations", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(stock_dataset):
    return Path(stock_dataset["nnUNet_results"], "Dataset137_BraTS2021", "Ablation")


@pytest.fixture(scope="module")
def printed(stock_dataset, folder):
    """What a run says that SIGTERM stops in training, and what the next says, which ends."""
    process = subprocess.Popen(
        command(*ABLATION), env=stock_dataset, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    table = folder.parent / "ResUNetDSTrainer__Ablation-baseline-seed1__3d_fullres" / "fold_0" / "heads.csv"
    while not table.is_file():  # until an epoch is done
        assert process.poll() is None, process.stdout.read()[-3000:]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    stopped = process.stdout.read()
    assert process.wait() == TERMINATED, stopped[-3000:]
    log = (folder / "runs" / "ResUNetDSTrainer-baseline-seed1-fold0" / "log.txt").read_text()
    assert re.search(r"SIGTERM: saved in epoch \d+; continue with --c", log)
    return stopped, run(stock_dataset, *ABLATION)


def test_what_was_stopped_is_continued_and_what_is_shared_is_trained_once(printed):
    stopped, finished = printed
    assert [line for line in commands(stopped) if "nnUNetv2_train" in line and "--c" not in line]
    trained = [line for line in commands(finished) if "nnUNetv2_train" in line]
    assert len(trained) == 2 and trained[0].endswith("-p Ablation-baseline-seed1 -device cpu --c")
    assert "-tr BraTSUNetTrainer -p Ablation-full-seed1" in trained[1]
    assert sum("resunet-ds predict" in line for line in commands(finished)) == 2


def commands(text):
    return [line for line in text.splitlines() if line.startswith("$ ")]


def test_the_table_is_there_with_scores_times_and_memory(printed, folder):
    lines = (folder / "table.md").read_text().splitlines()
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in lines if line.startswith("| ")}
    for name in ("baseline", "post-processing", "UNet"):
        scores, costs = [float(cell) for cell in rows[name][1:4]], [float(cell) for cell in rows[name][5:]]
        assert all(0 <= score <= 1 for score in scores) and all(cost > 0 for cost in costs)
    assert (folder / "report.html").stat().st_size > 5000 and "Not run: +deep-supervision" in "\n".join(lines)


def test_scores_are_those_of_the_label_maps_that_are_left(printed, folder, stock_dataset, tmp_path):
    left = folder / "runs" / "ResUNetDSTrainer-baseline-seed1-fold0"
    reference = Path(stock_dataset["nnUNet_raw"], "Dataset137_BraTS2021", "labelsTr")
    for preset in ("none", "paper"):
        run_here(
            stock_dataset, "evaluate", "-ref", str(reference), "-pred", str(left / f"labels_{preset}"),
            "-o", str(tmp_path / "metrics.json"), "--allow-missing",
        )  # fmt: skip
        assert read_json(tmp_path / "metrics.json")["cases"] == read_json(left / f"metrics_{preset}.json")["cases"]


def test_a_finished_ablation_only_writes_its_table_again(printed, stock_dataset, folder):
    before = (folder / "table.csv").read_text()
    assert commands(run(stock_dataset, *ABLATION)) == []
    assert (folder / "table.csv").read_text() == before
