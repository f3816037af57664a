"""One thing that the doctor looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

OK, WARN, FAIL = LEVELS = ("ok", "warn", "fail")
"""Works; works, but slowly or not in every command; does not work."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, what it is like, and what to do where it is not as it should be."""

    level: str
    """One of `LEVELS`."""
    subject: str
    text: str
    remedy: str | None = None


def worst(findings: Sequence[Finding]) -> str:
    """Return the gravest level among the findings."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)
