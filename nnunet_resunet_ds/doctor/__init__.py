"""What is installed, found, fast and wrong on this machine (``resunet-ds doctor``), told as findings."""

from collections.abc import Sequence
from dataclasses import dataclass

OK, WARN, FAIL = LEVELS = ("ok", "warn", "fail")
"""It works; it works, but slowly or not in every command; it does not work."""


@dataclass(frozen=True)
class Finding:
    """What was examined, how it is, and what to do where something is wrong."""

    level: str
    """One of `LEVELS`."""
    subject: str
    text: str
    remedy: str | None = None


def worst(findings: Sequence[Finding]) -> str:
    """Return the worst level among the findings."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)
