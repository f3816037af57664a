"""The canary: what we rely on inside nnU-Net is as it was, and the table of it is complete."""

import ast
import inspect
from pathlib import Path

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_resunet_ds.doctor.nnunet_internals import RELIED_ON, changed_internals
from nnunet_resunet_ds.nnunet_trainers import resunet_ds_trainers

PACKAGE = Path(__file__).parents[2] / "nnunet_resunet_ds"
TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer.nnUNetTrainer"


def test_nnunet_is_as_we_know_it():
    assert not changed_internals(), "nnU-Net has changed what we rely on; adapt the code, then nnunet_internals.py"


def test_a_change_is_named():
    collate = "nnunetv2.utilities.collate_outputs.collate_outputs"
    lines = changed_internals({"nnunetv2.utilities.gone": "x", collate: "x"})
    assert lines == [
        "nnunetv2.utilities.gone is gone",
        f"{collate} takes (outputs) instead of (x)",
    ]


def test_every_method_of_nnunet_s_trainer_that_ours_override_is_in_the_table():
    for name in resunet_ds_trainers.__all__:
        for cls in getattr(resunet_ds_trainers, name).__mro__:
            if not cls.__module__.startswith("nnunet_resunet_ds."):
                continue
            overridden = {
                f"{TRAINER}.{name}" for name in vars(cls) if inspect.isfunction(vars(nnUNetTrainer).get(name))
            }
            assert overridden <= set(RELIED_ON), (cls, overridden - set(RELIED_ON))


def imported_functions():
    """Yield what our modules, apart from the benchmark of nnU-Net itself and the demo, import of nnU-Net by name."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name in ("benchmark", "demo"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nnunetv2."):
                for alias in node.names:
                    yield f"{node.module}.{alias.name}"


def test_every_function_of_nnunet_that_we_import_is_in_the_table():
    import pydoc

    functions = {name for name in imported_functions() if inspect.isfunction(pydoc.locate(name))}
    assert functions
    assert functions <= set(RELIED_ON), functions - set(RELIED_ON)
