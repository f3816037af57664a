"""The benchmark: turns, ratios, memory, the machine's peak, and a run of every task on next to nothing."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.experiments.benchmark import run_benchmark, timing
from nnunet_resunet_ds.experiments.benchmark.run_benchmark import Failed, Measured, markdown, to_mapping
from nnunet_resunet_ds.experiments.benchmark.timing import Form, Peak, Task, Timing, machine_peak, ratio, take_turns
from nnunet_resunet_ds.network.cost import count_flops

CPU = torch.device("cpu")


def test_forms_take_turns_after_one_run_each_to_warm_up():
    ran, told = [], []
    forms = [Form(name, lambda name=name: ran.append(name)) for name in ("a", "b")]
    timings = take_turns(forms, 2, CPU, told.append)
    assert ran == told == ["a", "b"] * 3
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize(("budget", "rounds"), [(0.0, 1), (6.0, 2), (1000.0, 5)])
def test_no_round_begins_after_the_seconds_of_a_task(monkeypatch, budget, rounds):
    """By this clock a run takes a second, and a round of two forms five with what lies between."""
    clock = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timings = take_turns([Form(name, lambda: None) for name in "ab"], 5, CPU, seconds=budget)
    assert [len(timing.seconds) for timing in timings.values()] == [rounds] * 2


def test_seconds_are_those_of_the_form():
    timings = take_turns([Form("slow", lambda: time.sleep(0.05)), Form("quick", lambda: None)], 1, CPU)
    assert timings["slow"].median >= 0.05 > timings["quick"].median


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_what_a_form_has_on_top_whoever_came_before():
    code = (
        "import json, numpy, torch\n"
        "from nnunet_resunet_ds.experiments.benchmark.timing import Form, take_turns\n"
        "forms = [Form('large', lambda: numpy.ones(2**26).sum()), Form('small', lambda: numpy.ones(2**23).sum())]\n"
        "print(json.dumps({k: v.peak_mib for k, v in take_turns(forms, 1, torch.device('cpu')).items()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if found["large"] is None:
        pytest.skip("this kernel does not let a process forget its peak")
    assert found == {"large": pytest.approx(512, abs=40), "small": pytest.approx(64, abs=20)}


def test_ratios_are_taken_round_by_round():
    found = ratio(Timing([2.0, 8.0, 3.0]), Timing([1.0, 2.0, 3.0]))
    assert found == (2.0, 1.0, 4.0)


@pytest.mark.parametrize(("faster", "dtypes"), [(True, ["float32", "bfloat16"]), (False, ["float32"])])
def test_the_peak_is_the_best_of_the_sweep(monkeypatch, faster, dtypes):
    monkeypatch.setattr(timing, "bf16_is_faster", lambda: faster)
    monkeypatch.setattr(timing, "call_seconds", lambda call, *_, **__: [call()])

    def sweep(dtype, device):
        for seconds, flops in ((0.01, 1e6), (0.01, 3e6), (0.02, 4e6)):
            yield f"{flops:g}", flops, lambda seconds=seconds: seconds

    monkeypatch.setattr(timing, "_sweep", sweep)
    found = machine_peak(CPU)
    assert [peak.dtype for peak in found] == dtypes and {peak.of for peak in found} == {"3e+06"}
    assert found[0].flops == pytest.approx(3e8)


def test_operations_of_the_sweep_are_those_that_pytorch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    for _, flops, run in timing._sweep(torch.float32, CPU):
        with FlopCounterMode(display=False) as counter:
            run()
        assert counter.get_total_flops() == flops


def test_operations_of_a_convolution_in_closed_form():
    """Backward computes the gradient of the weights, and of the input where it is the output of another layer."""
    first, second = torch.nn.Conv3d(4, 8, 3, padding=1, device="meta"), torch.nn.Conv3d(8, 2, 1, device="meta")
    ours = [2 * 8 * 4 * 27 * 5 * 6 * 7, 2 * 2 * 8 * 5 * 6 * 7]
    network, shape = torch.nn.Sequential(first, second), (1, 4, 5, 6, 7)
    assert count_flops(network, shape) == sum(ours)
    assert count_flops(network, shape, backward=True) == 2 * ours[0] + 3 * ours[1]


@pytest.fixture
def measured():
    task = Task("training step", "step", [], units_per_run=2, flops=4e9, note="a note")
    timings = {
        "nnU-Net": Timing([4.0, 4.0], 100.0),
        "ours": Timing([2.0, 1.0], None),
        "MONAI": Timing([8.0, 8.0], 50.0),
    }
    return [Measured(task, timings, {"read": 0.25})]


PEAKS = [Peak("float32", 1e10, "matmul 8"), Peak("bfloat16", 4e10, "matmul 9")]


def test_results_as_json(measured):
    task = to_mapping(measured, PEAKS, {"hardware": "h"})["tasks"]["training step"]
    ours = task["forms"]["ours"]
    assert ours["units_per_second"] == pytest.approx(2 / 1.5)
    assert ours["times_as_fast_as_baseline"] == {"median": 3.0, "least": 2.0, "most": 4.0}
    assert ours["share_of_machine_peak"] == pytest.approx(4e9 / 1.5 / 4e10)
    assert task["forms"]["MONAI"]["share_of_machine_peak"] is None and task["stages_in_seconds"] == {"read": 0.25}
    json.dumps(to_mapping(measured, PEAKS, {}))


def test_results_as_markdown(measured):
    lines = list(markdown(measured, PEAKS, {"hardware": "h", "versions": {"torch": "2"}}))
    assert lines[:4] == [
        "- hardware: h", "- versions: torch 2", "- most in float32: 0.01 TFLOP/s (matmul 8)",
        "- most in bfloat16: 0.04 TFLOP/s (matmul 9)",
    ]  # fmt: skip
    assert "| training step | nnU-Net | step | 2 | 1 | 100 | 2% |" in lines
    assert "| training step | ours | step | 0.75 | 3.00, 2.00 to 4.00 | – | 7% |" in lines
    assert "- training step: a note" in lines and "- training step, ours: read 0.25 s" in lines


def test_a_task_that_failed_is_a_row_that_says_so(measured):
    results = [*measured, Failed("prediction", RuntimeError("no | device\nat all"))]
    lines = list(markdown(results, PEAKS, {}))
    (row,) = [line for line in lines if line.startswith("| prediction")]
    assert row == "| prediction | failed: RuntimeError: no / device | – | – | – | – | – |"
    assert row.count("|") == lines[lines.index(row) - 1].count("|")
    found = to_mapping(results, PEAKS, {})
    assert found["failed"] == {"prediction": "failed: RuntimeError: no | device"}
    assert list(found["tasks"]) == ["training step"]
    json.dumps(found)


def test_one_task_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    """Nor is its fault hidden: the command raises it when all others are done."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path))  # so that what the command sets is undone

    def broken(data):
        msg = "dictionary changed size during iteration"
        raise RuntimeError(msg)

    def task(name):
        return lambda data: Task(name, "run", [Form("ours", lambda: None)])

    monkeypatch.setattr(run_benchmark, "TASKS", {"first": task("first"), "second": broken, "third": task("third")})
    monkeypatch.setattr(run_benchmark, "make_files", lambda data: None)
    monkeypatch.setattr(run_benchmark, "machine_peak", lambda device: [])
    with pytest.raises(RuntimeError, match="dictionary changed size"):
        main(["benchmark", "-o", str(tmp_path / "b"), "-device", "cpu"])
    found = json.loads((tmp_path / "b.json").read_text())
    assert list(found["tasks"]) == ["first", "third"] and list(found["failed"]) == ["second"]
    assert "| second | failed: RuntimeError: dictionary changed size during iteration |" in capsys.readouterr().out


TINY = """
import sys
from pathlib import Path
from nnunet_resunet_ds.base.nnunet_folders import temporary_nnunet_folders
with temporary_nnunet_folders() as folder:
    from nnunet_resunet_ds.experiments.benchmark.benchmark_data import SIZES, Size
    from nnunet_resunet_ds.experiments.benchmark.run_benchmark import benchmark
    from nnunet_resunet_ds.demo.phantom import Anatomy
    SIZES["tiny"] = Size(Anatomy((36, 40, 36), (16, 18, 16), (30, 60)), (32, 32, 32), (4, 8, 8))
    benchmark(folder, Path(sys.argv[1]), size="tiny", rounds=1, device="cpu", precision="fp32")
"""


@pytest.mark.long
def test_every_task_runs_ours_beside_its_peers(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TINY, str(tmp_path / "bench")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "bench.json").read_text())
    forms = {name: list(task["forms"]) for name, task in found["tasks"].items()}
    assert forms == {
        "training step": ["nnU-Net", "ours", "MONAI"],
        "prediction": ["nnU-Net", "ours", "MONAI"],
        "loading and augmentation": ["nnU-Net"],
        "conversion": ["nnU-Net", "ours", "ours --no-validate", "ours --no-validate --copy"],
        "post-processing": ["nnU-Net", "ours"],
        "evaluation": ["ours"],
        "tuning": ["ours"],
    }
    for task in found["tasks"].values():
        assert all(of["units_per_second"] > 0 for of in task["forms"].values())
    stages = found["tasks"]["prediction"]["stages_in_seconds"]
    assert list(stages) == [
        "read", "preprocess", "network", "flips and averages", "back to the images", "post-process", "write"
    ]  # fmt: skip
    assert all(seconds >= 0 for seconds in stages.values())
    assert found["tasks"]["loading and augmentation"]["forms"]["nnU-Net"]["units_per_second"] < 1000
    assert (tmp_path / "bench.md").read_text().count("| ours |") == 6
    assert np.isfinite(found["tasks"]["training step"]["flops_per_run"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "trianing"], "a task must be one of training, prediction, loading"),
        (["--rounds", "0"], "the number of rounds must be a whole number of at least 1"),
        (["-device", "mps"], "no mps device here; use -device cpu"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, capsys, monkeypatch, flags, message):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path))  # so that what the command sets is undone
    assert main(["benchmark", "-o", str(tmp_path / "b"), *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
