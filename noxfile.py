"""The quick tests on other Pythons and with the oldest packages allowed: ``nox -s newest-3.13``, ``nox -s lowest``.

Each session makes an environment of its own, of several GB, and keeps it for the next run.
"""

import re
from pathlib import Path

import nox

nox.options.reuse_venv = "yes"
QUICK = ("-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not long")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def newest(session: nox.Session) -> None:
    """Test with the newest packages that pip chooses."""
    session.install(".[test]")
    run_tests(session)


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """Test with the oldest of each package that pyproject.toml allows."""
    constraints = Path(session.create_tmp(), "lowest.txt")
    constraints.write_text("\n".join(lowest_versions()), encoding="utf-8")
    session.install(".[test]", "--constraint", str(constraints))
    run_tests(session)


def run_tests(session: nox.Session) -> None:
    """Run pytest on the installed package: the quick tests, or the words after ``--``."""
    session.run("pytest", *(session.posargs or QUICK), env={"OMP_NUM_THREADS": "1"})  # a process a core


def lowest_versions() -> list[str]:
    """Return a pin for each lower bound among our dependencies."""
    dependencies = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    bounds = [re.match(r"([\w-]+)>=([\w.]+)", requirement) for requirement in dependencies]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]
