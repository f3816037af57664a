"""List the packages that run here with their versions, so that a container has the same."""

from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

_OF_PYTORCH = ("nvidia-", "cuda-", "triton")
"""Begin the names of packages that PyTorch pins itself, other ones for each kind of GPU."""


def pins(installed: Distribution) -> list[str]:
    """Return ``NAME==VERSION`` of all that a package needs, directly or not, as it is installed here; sorted.

    A local version, such as ``2.9.0+cpu``, is given without what follows the plus: package indexes do not have it.
    """
    found: dict[str, str] = {}
    waiting = [*_requirements(installed, frozenset())]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, key := frozenset(requirement.extras)) in seen or name.startswith(_OF_PYTORCH):
            continue
        seen.add((name, key))
        try:
            needed = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform
        found[name] = Version(needed.version).public
        waiting += _requirements(needed, key)
    return [f"{name}=={found[name]}" for name in sorted(found)]


def _requirements(installed: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    """Yield what a package needs here, with some of its extras."""
    for line in installed.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement
