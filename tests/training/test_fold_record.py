"""run.json of a training: versions, hardware, time and memory."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunet_resunet_ds.cli import _parser
from nnunet_resunet_ds.compute import PRECISIONS, environment
from nnunet_resunet_ds.training.augmentation import AUGMENTATIONS
from nnunet_resunet_ds.training.fold import fold_record
from nnunet_resunet_ds.training.fold.fold_record import read_record, write_record
from nnunet_resunet_ds.training.planning.recipe import Recipe
from nnunet_resunet_ds.training.planning.recipe_flags import chosen_recipe, recipe_words

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_that_of_this_program_and_stays_after_it_is_freed():
    code = (
        "import json, numpy, torch; from nnunet_resunet_ds.compute.environment import peak_memory_mib as peak\n"
        "before = peak(torch.device('cpu'))['process']\n"
        "a = numpy.ones(2**26); del a\n"  # 512 MiB
        "print(json.dumps([before, peak(torch.device('cpu'))]))"
    )
    heavy = f"import numpy, subprocess, sys; a = numpy.ones(2**28); subprocess.run([sys.executable, '-c', {code!r}])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert before < 1500, "the memory of what started it is counted"
    assert 480 < after["process"] - before < 560 and after["gpu"] is None


def test_hardware_is_named_and_unknown_memory_is_null(monkeypatch, tmp_path):
    assert re.fullmatch(rf"{os.cpu_count()} cores of \w.+", environment.machine(CPU))
    monkeypatch.setattr(environment, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(environment, "_CPU_INFO", tmp_path / "none")
    assert environment.peak_memory_mib(CPU) == {"process": None, "gpu": None}
    assert " cores of " in environment.machine(CPU)


def test_the_record_has_the_median_epoch_and_the_most_memory_of_all_sessions(tmp_path, monkeypatch):
    memory = {"process": 700.0, "gpu": None}
    monkeypatch.setattr(fold_record, "peak_memory_mib", lambda device: dict(memory))
    write_record(tmp_path, CPU, [])
    assert read_record(tmp_path)["epochs"] == 0 and read_record(tmp_path)["seconds_per_epoch"] is None
    write_record(tmp_path, CPU, [3.0, 1.0, 9.0])
    memory["process"] = 500.0  # of the process that goes on
    write_record(tmp_path, CPU, [3.0, 1.0, 9.0, 2.0])
    record = read_record(tmp_path)
    assert (record["epochs"], record["seconds_per_epoch"]) == (4, 2.5)
    assert record["peak_memory_mib"] == {"process": 700.0, "gpu": None}
    assert record["versions"]["torch"] == torch.__version__ and "cores of" in record["machine"]
    write_record(tmp_path, CPU, [])  # a new training in the same folder
    assert read_record(tmp_path)["peak_memory_mib"]["process"] == 500.0


@pytest.mark.parametrize("content", [None, "", "[1]", "{"])
def test_a_record_that_cannot_be_read_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert read_record(tmp_path) == {}


positive = st.floats(1e-6, 1e3, allow_nan=False)
RECIPES = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 1000),
        "iterations_per_epoch": st.integers(1, 1000),
        "val_iterations_per_epoch": st.integers(1, 1000),
        "initial_lr": positive,
        "weight_decay": positive,
        "plateau_factor": st.floats(0.01, 0.99),
        "plateau_patience": st.integers(0, 99),
        "stopping_patience": st.integers(1, 99),
        "keep_weights": st.integers(0, 99),
        "dice_weight": st.floats(0, 1),
        "gamma": positive,
        "region_weights": st.lists(positive, min_size=1, max_size=4),
        "precision": st.sampled_from(PRECISIONS),
        "augmentation": st.sampled_from(AUGMENTATIONS),
        "seed": st.integers(0, 2**31),
    },
)


@given(RECIPES)
def test_every_recipe_has_flags_that_give_it_back(recipe):
    options = _parser().parse_args(["plan", "-d", "1", *recipe_words(recipe)])
    assert chosen_recipe(options) == recipe


def test_the_flags_know_every_setting_of_the_recipe():
    options = vars(_parser().parse_args(["plan", "-d", "1"]))
    assert set(vars(Recipe())) <= set(options)
