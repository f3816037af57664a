"""Which room may import which: the arrows of docs/understand/architecture.md, held against every file's imports."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PROJECT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("nnunet_resunet_ds", "dataset_conversion", "postprocessing")
    for path in (PROJECT / package).rglob("*.py")
}


def imports(module: str) -> set[str]:
    """Return the modules of ours that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (named & FILES.keys()) or {node.module}
    return (found & FILES.keys()) - {module}


IMPORTS = {module: imports(module) for module in FILES}

FLOORS = (
    ("base",),
    ("dataset_conversion", "postprocessing", "network", "uncertainty"),
    ("compute", "evaluation"),
    ("plans", "loss", "training", "trainer", "nnunet_trainers", "experiments.comparison", "comparison"),
    ("inference",),
    ("models", "ensembles", "tuning", "report", "cluster", "export"),
    ("demo", "doctor", "experiments", "container"),
    ("commands",),
    ("cli",),
)
"""Rooms of docs/understand/architecture.md from the ground up; a room imports rooms of its own floor and below."""


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(IMPORTS).prepare()


def test_base_imports_nothing_above_it():
    base = "nnunet_resunet_ds.base"
    assert {f"{a} -> {b}" for a, b in arrows(base) if not b.startswith(base)} == set()


def test_conversion_and_postprocessing_import_base_alone():
    for room in ("dataset_conversion", "postprocessing"):
        allowed = (room, "nnunet_resunet_ds.base")
        others = {f"{a} -> {b}" for a, b in arrows(room) if not b.startswith(allowed) and b != "nnunet_resunet_ds"}
        assert others == set()  # but the version, which nnunet_resunet_ds itself holds


def test_no_room_imports_one_above_it():
    assert {f"{a} -> {b}" for a, targets in IMPORTS.items() for b in targets if floor(b) > floor(a)} == set()


def floor(module: str) -> int:
    """Return the floor of a module by the longest room name that fits; the root, with the version, is the ground."""
    name = module.removeprefix("nnunet_resunet_ds.")
    fits = [(len(room), n) for n, rooms in enumerate(FLOORS) for room in rooms if f"{name}.".startswith(f"{room}.")]
    return max(fits, default=(0, 0))[1]


def arrows(room: str) -> set[tuple[str, str]]:
    return {(a, b) for a, targets in IMPORTS.items() if a.startswith(room) for b in targets}
