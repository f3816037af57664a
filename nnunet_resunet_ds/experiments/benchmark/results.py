"""What came of a benchmark, as JSON and Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nnunet_resunet_ds.experiments.benchmark.machine_peak import Peak
from nnunet_resunet_ds.experiments.benchmark.turns import MONAI, Task, Timing, ratio

MISSING = "–"


@dataclass(frozen=True)
class Measured:
    """A task, and what its forms took."""

    task: Task
    timings: Mapping[str, Timing]
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def baseline(self) -> str:
        """Name of the form that others are compared with."""
        return next(iter(self.timings))


def to_mapping(measured: Sequence[Measured], peaks: Sequence[Peak], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything as JSON can hold it."""
    return {
        **facts,
        "machine_peak": [asdict(peak) for peak in peaks],
        "tasks": {of.task.name: _task(of, peaks) for of in measured},
    }


def _task(of: Measured, peaks: Sequence[Peak]) -> dict[str, Any]:
    return {
        "unit": of.task.unit,
        "note": of.task.note,
        "flops_per_run": of.task.flops,
        "stages_in_seconds": dict(of.stages),
        "forms": {
            name: {
                "seconds": timing.seconds,
                "units_per_second": of.task.units_per_run / timing.median,
                "peak_mib": timing.peak_mib,
                "times_as_fast_as_baseline": ratio(of.timings[of.baseline], timing)._asdict(),
                "share_of_machine_peak": share_of_peak(of, name, peaks),
            }
            for name, timing in of.timings.items()
        },
    }


def share_of_peak(of: Measured, form: str, peaks: Sequence[Peak]) -> float | None:
    """Return the share of the machine's best operations a second; None where operations are not counted."""
    if of.task.flops is None or form == MONAI:  # whose network is not quite ours
        return None
    return of.task.flops / of.timings[form].median / max(peak.flops for peak in peaks)


def markdown(measured: Sequence[Measured], peaks: Sequence[Peak], facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines of a page."""
    for name, value in facts.items():
        yield f"- {name}: {', '.join(f'{k} {v}' for k, v in value.items()) if isinstance(value, dict) else value}"
    for peak in peaks:
        yield f"- most in {peak.dtype}: {peak.flops / 1e12:.3g} TFLOP/s ({peak.of})"
    yield ""
    header = ["task", "form", "a unit", "median s", "times as fast, least to most", "MiB more", "of the peak"]
    yield from (_line(header), _line(["---"] * len(header)))
    for of in measured:
        for name, timing in of.timings.items():
            yield _line(_cells(of, name, timing, peaks))
    yield ""
    for of in measured:
        if of.task.note:
            yield f"- {of.task.name}: {of.task.note}"
        if of.stages:
            yield f"- {of.task.name}, ours: " + ", ".join(f"{name} {value:.2f} s" for name, value in of.stages.items())


def _cells(of: Measured, name: str, timing: Timing, peaks: Sequence[Peak]) -> list[str]:
    times = ratio(of.timings[of.baseline], timing)
    share = share_of_peak(of, name, peaks)
    seconds = timing.median / of.task.units_per_run
    return [
        of.task.name,
        name,
        of.task.unit,
        f"{seconds:.3g}",
        "1" if name == of.baseline else f"{times.median:.2f}, {times.least:.2f} to {times.most:.2f}",
        MISSING if timing.peak_mib is None else f"{timing.peak_mib:.0f}",
        MISSING if share is None else f"{share:.0%}",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
