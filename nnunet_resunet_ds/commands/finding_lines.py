"""Lay out findings of an examination, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict

from nnunet_resunet_ds.doctor import Finding, worst


def findings_content(findings: Sequence[Finding]) -> dict[str, object]:
    """Return findings for programs."""
    return {"worst": worst(findings), "findings": list(map(asdict, findings))}


def lines_of(finding: Finding) -> list[str]:
    """Return a finding as text, its remedy on a line of its own."""
    lines = [f"{finding.level:5} {finding.subject}: {finding.text}"]
    return [*lines, f"      → {finding.remedy}"] if finding.remedy else lines
