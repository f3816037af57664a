"""Python and the packages that we stand on: whether their versions are among those that we were made for."""

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nnunet_resunet_ds.doctor.finding import FAIL, OK, WARN, Finding

DISTRIBUTION = "nnunet-resunet-ds"
_FOR_DEVELOPERS = {"test", "dev"}


def software() -> Iterator[Finding]:
    """Yield a finding for Python and for each package that the installed distribution asks for, extras last."""
    found = metadata.metadata(DISTRIBUTION)
    yield Finding(OK, DISTRIBUTION, found["Version"])
    yield _python(SpecifierSet(found["Requires-Python"]))
    requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement)
    for extra in sorted(set(found.get_all("Provides-Extra") or []) - _FOR_DEVELOPERS):
        yield _extra(extra, [one for one in requirements if _belongs_to(one, extra)])


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
    return Finding(FAIL, "Python", f"{version}, and {wanted} is needed", "make an environment of another Python")


def _package(requirement: Requirement) -> Finding:
    problem = _problem(requirement)
    if problem is None:
        return Finding(OK, requirement.name, installed_version(requirement.name) or "")
    return Finding(FAIL, requirement.name, problem, f"pip install '{requirement.name}{requirement.specifier}'")


def _extra(extra: str, requirements: list[Requirement]) -> Finding:
    subject = f"extra {extra}"
    problems = [f"{requirement.name} {problem}" for requirement in requirements if (problem := _problem(requirement))]
    if problems:
        return Finding(WARN, subject, "; ".join(problems), f"where you need it: pip install '{DISTRIBUTION}[{extra}]'")
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
