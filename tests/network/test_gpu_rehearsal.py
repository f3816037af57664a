"""Passes on GPUs that this machine lacks: that every kernel compiles for them, and what is copied on the way.

Triton's interpreter, by which the other tests run the kernels on a CPU, lets pass what its compiler refuses: a name
that has values of one type in one branch and of another type in the other, for instance.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds for Linux")

ROOT = Path(__file__).parents[2]
REHEARSAL = ROOT / "tests" / "helpers" / "gpu_rehearsal.py"
SOURCES = ("network/triton_kernels.py", "loss/region_sums_kernels.py")
HALF_PASSES = [["bfloat16", "autocast"], ["bfloat16", "converted"], ["float16", "autocast"], ["float16", "converted"]]
ALL_PASSES = [*HALF_PASSES, ["float32", "autocast"], ["float32", "converted"]]
WIDE = "ld.global.v4.b32"
"""16 bytes at once."""
ONE_BY_ONE = {"sums_of_parts", "gradient_of_logits"}
"""Kernels of the loss, which read one region of three."""


def rehearsed(tmp_path, target, passes, features):
    """What `gpu_rehearsal` finds, with nothing that was compiled before."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    environment["OMP_NUM_THREADS"] = "2"  # with one thread, some convolutions in fp32 do not keep the layout on a CPU
    environment.pop("TRITON_INTERPRET", None)
    wanted = json.dumps({"target": target, "passes": passes, "features": features})
    command = [sys.executable, REHEARSAL, wanted]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def layout_keeping_format():
    """A number format in which convolutions keep the layout on this CPU, where fake tensors lie, as on any GPU."""
    with FakeTensorMode():
        images, weight = torch.empty(1, 8, 4, 4, 4), torch.empty(8, 8, 3, 3, 3)
        images, weight = (each.to(torch.bfloat16, memory_format=torch.channels_last_3d) for each in (images, weight))
        keeps = functional.conv3d(images, weight).is_contiguous(memory_format=torch.channels_last_3d)
    return "bfloat16" if keeps else "float32"


def all_kernels():
    """The names of those that are launched."""
    texts = [(ROOT / "nnunet_resunet_ds" / source).read_text() for source in SOURCES]
    return set(re.findall(r"^@triton\.jit.*\ndef ([a-z]\w*)\(", "".join(texts), re.MULTILINE))


def assert_all_compiled(found):
    assert {kernel["name"] for kernel in found["kernels"]} == all_kernels() == set(found["launches"])


def test_kernels_compile_for_an_h100_and_use_it_well(tmp_path):
    """In both half formats, of a network of the paper's widths."""
    of_copies = [[layout_keeping_format(), weights] for weights in ("autocast", "converted")]
    passes = HALF_PASSES + [each for each in of_copies if each not in HALF_PASSES]
    found = rehearsed(tmp_path, ["cuda", 90, 32], passes, [64, 96])
    assert_all_compiled(found)
    for kernel in found["kernels"]:
        assert kernel["stack"] == 0, kernel  # all fits into registers
        assert kernel["name"] in ONE_BY_ONE or kernel["loads"] == [WIDE], kernel
    for names in of_copies:
        assert len(found["copies"][" ".join(names)]) == 1  # the images, once


@pytest.mark.long
@pytest.mark.parametrize("target", [("cuda", 70, 32), ("cuda", 80, 32), ("cuda", 120, 32), ("hip", "gfx942", 64)])
def test_kernels_compile_for_others(tmp_path, target):
    """From the oldest that Triton compiles for to the newest, and AMD's, in every number format."""
    assert_all_compiled(rehearsed(tmp_path, target, ALL_PASSES, [64, 96]))


@pytest.mark.long
@pytest.mark.parametrize("features", [[8, 24, 40], [5, 10, 20], [1, 2], [30, 64]])
def test_networks_of_other_widths_fit_into_registers(tmp_path, features):
    found = rehearsed(tmp_path, ["cuda", 90, 32], ALL_PASSES, features)
    assert_all_compiled(found)
    assert max(kernel["stack"] for kernel in found["kernels"]) <= 16
