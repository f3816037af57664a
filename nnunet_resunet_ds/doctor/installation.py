"""Examine Python, the packages that we need, and whether nnU-Net finds our trainers."""

import contextlib
import io
import multiprocessing
import os
import platform
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nnunet_resunet_ds.base.errors import first_line
from nnunet_resunet_ds.base.model_id import TRAINER
from nnunet_resunet_ds.discovery import OPT_OUT_VARIABLE, SEARCH_PATH_VARIABLE, trainer_folder
from nnunet_resunet_ds.doctor import FAIL, OK, WARN, Finding

DISTRIBUTION = "nnunet-resunet-ds"
_BRING_BACK = 'eval "$(resunet-ds env)"'
_FOR_DEVELOPERS = {"test", "dev"}


def software() -> Iterator[Finding]:
    """Yield a finding for Python and for each package that the installed distribution asks for, extras last."""
    found = metadata.metadata(DISTRIBUTION)
    yield Finding(OK, DISTRIBUTION, found["Version"])
    yield _python(SpecifierSet(found["Requires-Python"]))
    requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    always = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    yield from map(_package, always)
    base = {one.name for one in always}
    for extra in sorted(set(found.get_all("Provides-Extra") or []) - _FOR_DEVELOPERS):
        yield _extra(extra, [one for one in requirements if _belongs_to(one, extra)], base)


def trainer_search() -> Iterator[Finding]:
    """Check that nnU-Net's search path holds our folder and that a spawned worker finds the trainer there."""
    entries = [entry for entry in os.environ.get(SEARCH_PATH_VARIABLE, "").split(os.pathsep) if entry]
    if trainer_folder() not in entries:
        opted_out = f", as {OPT_OUT_VARIABLE} is set" if os.environ.get(OPT_OUT_VARIABLE) else ""
        text = f"{SEARCH_PATH_VARIABLE} does not hold our folder{opted_out}"
        yield Finding(FAIL, "trainer", text, f"{_BRING_BACK}, or unset {OPT_OUT_VARIABLE}")
        return
    missing = [entry for entry in entries if not os.path.isdir(entry)]  # noqa: PTH112 (as nnU-Net reads the variable)
    if missing:
        text = f"{SEARCH_PATH_VARIABLE} names {', '.join(missing)}, which is no folder"
        yield Finding(WARN, "trainer", text, "take it out of the variable")
    yield _as_spawned_worker()


def installed_version(name: str) -> str | None:
    """Return the version of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _python(wanted: SpecifierSet) -> Finding:
    version = platform.python_version()
    if wanted.contains(version, prereleases=True):
        return Finding(OK, "Python", version)
    return Finding(FAIL, "Python", f"{version}, and {wanted} is needed", "make an environment with another Python")


def _package(requirement: Requirement) -> Finding:
    problem = _problem(requirement)
    if problem is None:
        return Finding(OK, requirement.name, installed_version(requirement.name) or "")
    return Finding(FAIL, requirement.name, problem, f"pip install '{requirement.name}{requirement.specifier}'")


def _extra(extra: str, requirements: list[Requirement], base: Collection[str]) -> Finding:
    """Examine an extra; one of which nothing is there was not asked for.

    Args:
        extra: its name.
        requirements: of it.
        base: names of packages that are there without it.
    """
    subject = f"extra {extra}"
    problems = [f"{requirement.name} {problem}" for requirement in requirements if (problem := _problem(requirement))]
    if problems:
        level = OK if all(installed_version(one.name) is None for one in requirements if one.name not in base) else WARN
        return Finding(level, subject, "; ".join(problems), f"where you need it: pip install '{DISTRIBUTION}[{extra}]'")
    return Finding(OK, subject, ", ".join(f"{one.name} {installed_version(one.name)}" for one in requirements))


def _problem(requirement: Requirement) -> str | None:
    version = installed_version(requirement.name)
    if version is None:
        return "is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{version} is installed, and {requirement.specifier} is needed"
    return None


def _belongs_to(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def found_trainer(name: str) -> str:
    """Return the module of the trainer that nnU-Net's search finds; runs in a worker."""
    warnings.simplefilter("ignore")  # from modules that these modules import
    with contextlib.redirect_stdout(io.StringIO()):  # nnU-Net prints which variables are not set, and its search
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name  # noqa: PLC0415

        return str(recursive_find_trainer_class_by_name(name).__module__)


def _as_spawned_worker() -> Finding:
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers:
            module = workers.submit(found_trainer, TRAINER).result()
    except BrokenProcessPool:
        text = "a spawned worker died while it looked for the trainer; nnU-Net's own workers would, too"
        return Finding(FAIL, "trainer", text, "check the memory of this machine, or of its container")
    except Exception as error:  # a module of any folder in the search path may raise anything
        text = f"nnU-Net's search for {TRAINER} fails in a spawned worker ({first_line(error)})"
        remedy = f"check the folders in {SEARCH_PATH_VARIABLE}: {os.environ[SEARCH_PATH_VARIABLE]}"
        return Finding(FAIL, "trainer", text, remedy)
    if not module.startswith("nnunet_resunet_ds."):
        text = f"{TRAINER} is found in {module}, which comes before ours in {SEARCH_PATH_VARIABLE}"
        return Finding(WARN, "trainer", text, "rename that class, if you did not mean to replace ours")
    return Finding(OK, "trainer", f"a spawned worker finds {TRAINER}")
