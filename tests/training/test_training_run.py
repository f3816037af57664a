"""Trainings by the stock commands, on a dataset of nnU-Net's own BraTS 2021 script: stopped, killed, continued."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import SimpleITK as sitk
from matplotlib.image import imread
from stock_runs import command, run, run_here

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.training.checkpoint import checkpoint_content, checkpoint_names, checkpoints
from nnunet_resunet_ds.training.checks.preprocessed_data import checked_data

pytestmark = pytest.mark.long

N_EPOCHS = 9
TRAIN = ["nnUNetv2_train", "137", "3d_fullres", "0", "-tr", "ResUNetDSTrainer", "-p", "Small", "-device", "cpu"]


@pytest.fixture(scope="module")
def environment(stock_dataset):
    """The dataset, planned small: environment variables."""
    run_here(
        stock_dataset, "plan", "-d", "137", "--name", "Small", "--patch-size", "16", "16", "16",
        "--features", "4", "8", "12", "16", "--epochs", str(N_EPOCHS), "--iterations", "4", "--val-iterations", "2",
        "--lr", "1e-3", "--patience", str(N_EPOCHS),
    )  # fmt: skip
    return stock_dataset


def fold_of(environment):
    return Path(environment["nnUNet_results"], "Dataset137_BraTS2021", "ResUNetDSTrainer__Small__3d_fullres", "fold_0")


def kill_group(pid):
    os.killpg(pid, signal.SIGKILL)


def terminate(pid):
    os.kill(pid, signal.SIGTERM)


def kill_a_worker(pid):
    """Kill one of the processes that load and augment, as the system does where memory runs out."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    loading = [child for child in children if b"nnUNetv2_train" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(loading[0], signal.SIGKILL)


def strike_in_epoch(environment, epoch, strike, *more):
    """Start a training, strike once it is in an epoch, and return its exit code and what it printed."""
    process = subprocess.Popen(
        command(*TRAIN, *more), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.rstrip().endswith(f": Epoch {epoch}"):
            time.sleep(0.1)
            strike(process.pid)
            break
    printed.append(process.stdout.read())
    return process.wait(), "".join(printed)


@pytest.fixture(scope="module")
def trained(environment):
    """Stopped by SIGTERM in epoch 2, a worker killed in 4, killed in 7, continued to the end: what each run printed."""
    code, stopped = strike_in_epoch(environment, 2, terminate)
    assert code == 143, stopped[-3000:]
    latest = checkpoints.read_checkpoint(fold_of(environment) / checkpoint_names.LATEST)
    code, without_worker = strike_in_epoch(environment, 4, kill_a_worker, "--c")
    assert code == 2, without_worker[-3000:]
    code, killed = strike_in_epoch(environment, 7, kill_group, "--c")
    assert code == -signal.SIGKILL, killed[-3000:]
    continued = run(environment, *TRAIN, "--c")
    return stopped, latest, without_worker, killed, continued


def test_sigterm_saves_complete_epochs_and_exits_without_a_traceback(trained):
    stopped, latest, *_ = trained
    assert latest["current_epoch"] == 2
    assert {len(values) for values in latest["logging"].values()} == {2}
    assert "SIGTERM: saved in epoch 2; continue with --c." in stopped and "Traceback" not in stopped


def test_a_loading_process_that_dies_is_named_with_what_to_do(trained):
    _, _, without_worker, _, _ = trained
    assert "nnUNetv2_train: error: a process that loads data has died" in without_worker
    assert "set nnUNet_n_proc_DA lower" in without_worker


def epochs_of(printed):
    return [int(line.split()[-1]) for line in printed.splitlines() if line.rstrip().partition("Epoch ")[2].isdigit()]


def test_continued_trainings_go_on_where_the_last_complete_epoch_ended(trained):
    *_, without_worker, killed, continued = trained
    assert epochs_of(without_worker)[0] == 2
    assert epochs_of(killed)[0] in (2, 3, 4) and epochs_of(killed)[-1] == 7
    assert epochs_of(continued)[0] in (5, 6, 7) and epochs_of(continued)[-1] == N_EPOCHS - 1


def test_what_is_left_is_that_of_one_training(environment, trained):
    fold = fold_of(environment)
    final = checkpoints.read_checkpoint(fold / checkpoint_names.FINAL)
    best = checkpoints.read_checkpoint(fold / checkpoint_names.BEST_LOSS)
    losses = final["logging"]["val_losses"]
    assert len(losses) == final["current_epoch"] == N_EPOCHS and final["resunet_ds"]["finished"]
    assert final["resunet_ds"]["schedule"]["best_epoch"] + 1 == best["current_epoch"]
    assert all((final["network_weights"][name] == values).all() for name, values in best["network_weights"].items())
    assert not (fold / checkpoint_names.LATEST).exists() and not list(fold.glob(".*"))
    rows = list(csv.DictReader((fold / "heads.csv").open()))
    assert len(rows) == N_EPOCHS
    for row, loss in zip(rows, losses, strict=True):
        heads = [float(row[f"loss_{head}"]) for head in (1, 2, 3)]
        assert float(row["loss_total"]) == pytest.approx((4 * heads[0] + 2 * heads[1] + heads[2]) / 7, abs=1e-4)
        assert float(row["loss_total"]) == pytest.approx(float(loss), abs=1e-4)
    height, width, _ = imread(fold / "progress.png").shape
    assert height / width > 54 / 30 + 0.5  # nnU-Net's three panels and ours
    assert read_json(fold / "validation" / "summary.json")["foreground_mean"]["Dice"] >= 0
    record = read_json(fold / "run.json")
    assert record["epochs"] == N_EPOCHS and record["seconds_per_epoch"] > 0


def test_continuing_a_finished_training_only_validates(environment, trained):
    before = (fold_of(environment) / checkpoint_names.FINAL).stat().st_mtime_ns
    printed = run(environment, *TRAIN, "--c")
    assert "only validation" in printed and "Mean Validation Dice" in printed and epochs_of(printed) == []
    assert (fold_of(environment) / checkpoint_names.FINAL).stat().st_mtime_ns == before


def test_the_fold_notes_its_cases_its_weights_and_those_that_were_validated(environment, trained):
    fold = fold_of(environment)
    record, final = read_json(fold / "run.json"), checkpoints.read_checkpoint(fold / checkpoint_names.FINAL)
    identity = checkpoint_content.weights_identity(final["network_weights"])
    assert record["weights"] == record["validated"] == identity
    (split, *_) = read_json(Path(environment["nnUNet_preprocessed"], "Dataset137_BraTS2021", "splits_final.json"))
    sides = {side: sorted(split[side]) for side in ("train", "val")}
    assert record["cases"] == final["resunet_ds"]["cases"] == sides


def test_stock_prediction_takes_our_checkpoint(environment, trained, tmp_path):
    images = Path(environment["nnUNet_raw"], "Dataset137_BraTS2021", "imagesTr")
    (tmp_path / "in").mkdir()
    for file in images.glob("BraTS2021_00000*"):
        (tmp_path / "in" / file.name).symlink_to(file)
    run(
        environment, "nnUNetv2_predict", "-d", "137", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"),
        "-c", "3d_fullres", "-f", "0", "-tr", "ResUNetDSTrainer", "-p", "Small", "-device", "cpu", "-npp", "1",
        "-nps", "1", "-chk", checkpoint_names.BEST_LOSS, "--disable_tta",
    )  # fmt: skip
    assert sitk.ReadImage(str(tmp_path / "out" / "BraTS2021_00000.nii.gz")).GetSize() == (36, 40, 34)


def test_a_system_of_the_comparison_trains_continues_and_predicts_by_the_stock_commands(environment, tmp_path):
    """The one that is least like ours: a branch in training alone, in a network that knows its patch size."""
    words = [word.replace("ResUNetDSTrainer", "BraTSResUNetVAETrainer").replace("Small", "Tiny") for word in TRAIN]
    run_here(
        environment, "plan", "-d", "137", "--name", "Tiny", "--patch-size", "16", "20", "24",
        "--features", "4", "8", "--epochs", "2", "--iterations", "2", "--val-iterations", "1",
    )  # fmt: skip
    assert "Validation complete" in run(environment, *words)
    assert "Validation complete" in run(environment, *words, "--c")
    (tmp_path / "in").mkdir()
    for file in Path(environment["nnUNet_raw"], "Dataset137_BraTS2021", "imagesTr").glob("BraTS2021_00000*"):
        (tmp_path / "in" / file.name).symlink_to(file)
    model = (
        "-d",
        "137",
        "-c",
        "3d_fullres",
        "-f",
        "0",
        "-tr",
        "BraTSResUNetVAETrainer",
        "-p",
        "Tiny",
        "-device",
        "cpu",
    )
    files = ("-i", str(tmp_path / "in"), "-o")
    run(environment, "nnUNetv2_predict", *files, str(tmp_path / "stock"), *model, "-npp", "1", "-nps", "1")
    run(environment, "resunet-ds", "predict", *files, str(tmp_path / "ours"), *model)
    sizes = {sitk.ReadImage(str(tmp_path / name / "BraTS2021_00000.nii.gz")).GetSize() for name in ("stock", "ours")}
    assert sizes == {(36, 40, 34)}


@pytest.mark.parametrize(("entry", "change"), [("shapes_after_crop", 1), ("spacings", 0.5)])
def test_what_nnunet_preprocessed_is_compared_with_its_fingerprint(environment, tmp_path, monkeypatch, entry, change):
    monkeypatch.setenv("nnUNet_raw", environment["nnUNet_raw"])
    folder = tmp_path / "Dataset137_BraTS2021"
    shutil.copytree(Path(environment["nnUNet_preprocessed"], folder.name), folder)
    settings = resolved_configuration(read_json(folder / "nnUNetPlans.json"), "3d_fullres")
    assert not [line for line in checked_data(folder, settings, "3d_fullres") if "preprocess" in line]
    fingerprint = read_json(folder / "dataset_fingerprint.json")
    fingerprint[entry][3][0] += change
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    with pytest.raises(InputError, match=r"dataset_fingerprint\.json: has .* of BraTS2021_00003"):
        checked_data(folder, settings, "3d_fullres")
