"""How many epochs a trainer trains, ours or another of nnU-Net, before one is made."""

import ast
import contextlib
import inspect
import io
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any


def most_epochs(trainer: str, plans: Mapping[str, Any]) -> int | None:
    """Return the most epochs of a trainer; None where it cannot be told, or nnU-Net does not find the trainer.

    Args:
        trainer: name of the class, as nnU-Net's ``-tr``.
        plans: that it is to train.

    Raises:
        InputError: our trainers refuse the recipe in the plans.
    """
    kind = _found(trainer)
    for base in inspect.getmro(kind) if kind else ():
        if "recipe_from" in vars(base):
            epochs: int = kind.recipe_from(plans).epochs
            return epochs
        try:
            assigned = _assigned(base)
        except (OSError, TypeError, SyntaxError):
            return None
        if assigned:
            return _number(assigned[-1])
    return None


def _found(trainer: str) -> Any:  # noqa: ANN401 (a class of nnU-Net's, which has no types)
    """Return the class that nnU-Net's search finds; None where it finds none, or breaks."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # nnU-Net tells of its search
        warnings.simplefilter("ignore")  # of what any of these modules imports
        try:
            from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name  # noqa: PLC0415 (seconds)

            return recursive_find_trainer_class_by_name(trainer)
        except Exception:  # a module of any folder in the search path may raise anything, and the training will say so
            return None


def _assigned(kind: type) -> list[ast.expr]:
    """Return what the source of a class, without its bases, assigns to ``self.num_epochs``.

    Raises:
        OSError, TypeError, SyntaxError: there is no source.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    assignments = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    return [node.value for node in assignments if any(map(_is_num_epochs, node.targets))]


def _is_num_epochs(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == "num_epochs"


def _number(value: ast.expr) -> int | None:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, int) else None
