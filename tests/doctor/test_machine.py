"""Hardware: speed, the form of the network, GPU, worker processes and their shared memory."""

import os
import shutil
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from nnunet_resunet_ds.compute import format_choice
from nnunet_resunet_ds.doctor import FAIL, OK, WARN, machine
from nnunet_resunet_ds.network import forms
from nnunet_resunet_ds.plans import MAX_HEADS, PAPER_BATCH_SIZE, PAPER_PATCH_SIZE


def test_speed_names_every_format_and_what_auto_takes(monkeypatch):
    monkeypatch.setattr(machine, "convolution_rate", lambda dtype, device, seconds: {torch.float32: 0.5}.get(dtype, 4))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(format_choice, "bf16_slowdown", lambda: 0.5)
    monkeypatch.setattr(format_choice, "bf16_gradients_are_right", lambda: True)
    monkeypatch.setattr(format_choice, "kept_choice", lambda asked: None)
    monkeypatch.setattr(format_choice, "keep_choice", lambda asked, choice: None)
    timed = iter([{"fp32": 3.0, "bf16": 2.6}, {"fp32": 3.0, "bf16": 0.5}, *[{"fp32": 1.0, "bf16": 1.0}] * 2])
    monkeypatch.setattr(format_choice, "format_seconds", lambda runs: next(timed))
    speed, training, prediction = machine.speed()
    assert "fp32 0.50, bf16 4.00" in speed.text
    assert training.text.startswith("Convolutions in torch.float32: a training step of this network, 1×4×128×64×64, ")
    assert "takes 3 s in fp32 and 2.6 s in bf16 (measured on 20" in training.text
    assert prediction.text.startswith("Convolutions in torch.bfloat16: a forward pass of this network, 1×4×128×64×64, ")
    assert (prediction.level, "0.7 minutes" in prediction.text) == (OK, True)  # 64 × 2.78 / 4 s
    speed, training, prediction = machine.speed()
    assert "torch.float32" in prediction.text
    assert (prediction.level, "--no-tta" in prediction.remedy) == (WARN, True)  # 5.9 minutes


def test_the_form_of_the_network_on_a_gpu_is_timed_against_the_plain_one(monkeypatch):
    device, was_plain = torch.device("cpu"), []

    def seconds(run, device):
        run()
        return [0.5, 0.23 if was_plain[-1] else 0.1]

    monkeypatch.setattr(machine, "call_seconds", seconds)
    monkeypatch.setattr(machine, "PAPER_PATCH_SIZE", (2, 2, 2))
    monkeypatch.setattr(machine, "autocast", lambda dtype, device: nullcontext())
    monkeypatch.setattr(machine, "why_not_fused", lambda device: None)
    finding = machine.network_form(lambda tile: was_plain.append(forms.form_of(tile) is forms.PLAIN), device)
    assert finding.text == "fused kernels, 2.3 times as fast as plain PyTorch on this GPU" and finding.level == OK
    assert sorted(was_plain) == [False, True]
    monkeypatch.setattr(machine, "why_not_fused", lambda device: "Triton is not installed")
    finding = machine.network_form(None, device)
    assert finding.level == WARN and "plain PyTorch on this GPU" in finding.text and "not installed" in finding.text


def test_a_convolution_is_timed_for_as_long_as_was_said(monkeypatch):
    """The rate is the operations of one run by the seconds that the clock says: 0.25 here."""
    clock = iter(0.25 * number for number in range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    rate = machine.convolution_rate(torch.float32, torch.device("cpu"), seconds=2.0)
    assert rate == pytest.approx(2 * 27 * 64 * 64 * 48**3 / 0.25 / 1e12)
    assert 2.0 <= next(clock) <= 3.0


@pytest.mark.parametrize(("cuda", "said"), [(None, "built without CUDA"), ("12.8", "built for CUDA 12.8")])
def test_no_gpu_is_a_warning_that_says_why(cuda, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = machine.gpu()
    assert (found.level, said in found.text) == (WARN, True)


def test_more_workers_than_the_machine_has_room_for_are_a_warning_with_the_numbers(monkeypatch):
    monkeypatch.setattr(machine, "n_cores", lambda: 4)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 3.1 * 2**30)
    monkeypatch.setenv("nnUNet_def_n_proc", "2")
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    assert machine.processes().level == OK
    monkeypatch.delenv("nnUNet_def_n_proc")
    found = machine.processes()
    assert (found.level, found.remedy) == (WARN, "export nnUNet_def_n_proc=2 nnUNet_n_proc_DA=1")
    assert "nnUNet_def_n_proc not set (8)" in found.text
    monkeypatch.setenv("nnUNet_def_n_proc", "many")
    assert (machine.processes().level, machine.processes().text) == (FAIL, "nnUNet_def_n_proc is 'many'")


def test_memory_is_that_of_the_container_where_it_has_a_limit(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_MEMORY_LIMITS", (str(limit),))
    whole = machine.memory_bytes()
    assert whole == pytest.approx(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit.write_text("max\n")
    assert machine.memory_bytes() == whole
    limit.write_text("1073741824\n")
    assert machine.memory_bytes() == 2**30


def test_a_batch_is_as_large_as_the_paper_s():
    data = torch.empty((PAPER_BATCH_SIZE, 4, *PAPER_PATCH_SIZE), device="meta")
    shapes = [[axis >> head for axis in PAPER_PATCH_SIZE] for head in range(MAX_HEADS)]
    targets = [torch.empty((PAPER_BATCH_SIZE, 3, *shape), dtype=torch.bool, device="meta") for shape in shapes]
    assert sum(tensor.nbytes for tensor in (data, *targets)) == machine.BATCH_BYTES


@pytest.mark.parametrize(("free", "n_workers", "level"), [(64, "12", FAIL), (64, "0", OK), (8192, "12", OK)])
def test_shared_memory_of_a_container_is_compared_with_the_queues(free, n_workers, level, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free * 2**20))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setenv("nnUNet_n_proc_DA", n_workers)
    found = machine.shared_memory()
    assert (found.level, "--shm-size" in (found.remedy or "--shm-size")) == (level, True)
