"""Run the benchmark: make its data, measure each task, and write the results as JSON and Markdown."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nnunet_resunet_ds.base.errors import first_line, forget_locals
from nnunet_resunet_ds.base.files import write_json, write_text
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.setting_checks import check_choice, check_whole_number
from nnunet_resunet_ds.base.text_table import MISSING, markdown_rows
from nnunet_resunet_ds.compute.device import chosen_device
from nnunet_resunet_ds.compute.environment import machine, versions
from nnunet_resunet_ds.experiments.benchmark.benchmark_data import SIZES, BenchmarkData, make_files
from nnunet_resunet_ds.experiments.benchmark.data_tasks import (
    conversion_task,
    evaluation_task,
    loading_task,
    postprocessing_task,
    tuning_task,
)
from nnunet_resunet_ds.experiments.benchmark.network_tasks import prediction_task, training_task
from nnunet_resunet_ds.experiments.benchmark.timing import (
    MONAI,
    STOCK,
    Peak,
    Task,
    Timing,
    machine_peak,
    ratio,
    take_turns,
)

PEERS = {"nnunet": STOCK, "monai": MONAI}
"""Forms of others, by the names of the flag ``--against``."""
TASKS: Mapping[str, Callable[[BenchmarkData], Task]] = {
    "training": training_task,
    "prediction": prediction_task,
    "loading": loading_task,
    "conversion": conversion_task,
    "postprocessing": postprocessing_task,
    "evaluation": evaluation_task,
    "tuning": tuning_task,
}

_HEADER = ("task", "form", "a unit", "median s", "times as fast, least to most", "MiB more", "of the peak")
SECONDS_ON_GPU = 15.0
"""Of the rounds of a task on a GPU, after which no other round begins: all of ``--full`` is to take five minutes."""


@dataclass(frozen=True)
class Measured:
    """A task and the timings of its forms."""

    task: Task
    timings: Mapping[str, Timing]
    """By name, the baseline first."""
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def baseline(self) -> str:
        """Name of the form that others are compared with."""
        return next(iter(self.timings))


@dataclass(frozen=True)
class Failed:
    """A task that ended in an error."""

    task: str
    error: Exception

    @property
    def reason(self) -> str:
        """Say it in one line."""
        return f"failed: {type(self.error).__name__}: {first_line(self.error)}"


Result = Measured | Failed


def benchmark(
    folder: Path,
    output: Path,
    *,
    size: str,
    tasks: Sequence[str] = tuple(TASKS),
    against: Sequence[str] = tuple(PEERS),
    rounds: int = 3,
    device: str | None = None,
    precision: str = "auto",
    use_mirroring: bool = True,
) -> list[Result]:
    """Measure, and write ``OUTPUT.json`` and ``OUTPUT.md`` after each task; one that fails does not stop the others.

    Args:
        folder: of `temporary_nnunet_folders`, for the data.
        output: without an ending.
        size: one of `SIZES`.
        tasks: of `TASKS`.
        against: of `PEERS`.
        rounds: in which forms take turns.
        device: None is a GPU where there is one.
        precision: of our convolutions.
        use_mirroring: average over eight flips in prediction.

    Raises:
        InputError: a setting is not valid, or there is no such device.
    """
    for task in tasks:
        check_choice("a task", task, tuple(TASKS))
    check_whole_number("the number of rounds", rounds, at_least=1)
    chosen = chosen_device(device)
    data = BenchmarkData(folder, SIZES[size], chosen, precision, use_mirroring)
    facts = _facts(size, data)
    torch.backends.cudnn.benchmark = True  # as nnUNetv2_train and nnU-Net's predictor set it, for all tasks alike
    LOG.info("measuring what this machine can do at most")
    peaks = machine_peak(chosen)
    make_files(data)
    results: list[Result] = []
    for name in tasks:
        results.append(_result(name, data, against, rounds))
        write_json(to_mapping(results, peaks, facts), output.with_suffix(".json"))
        write_text("\n".join([*markdown(results, peaks, facts), ""]), output.with_suffix(".md"))
    return results


def _result(name: str, data: BenchmarkData, against: Sequence[str], rounds: int) -> Result:
    try:
        return _measure(TASKS[name](data), against, rounds, data.device)
    except Exception as error:  # the other tasks go on
        forget_locals(error)
        failed = Failed(name, error)
        LOG.warning("%s %s", name, failed.reason)
        return failed


def _measure(task: Task, against: Sequence[str], rounds: int, device: torch.device) -> Measured:
    left_out = {name for peer, name in PEERS.items() if peer not in against}
    forms = [form for form in task.forms if form.name not in left_out] or task.forms
    seconds = SECONDS_ON_GPU if device.type == "cuda" else math.inf
    with tqdm(total=len(forms) * (rounds + 1), desc=task.name, unit="run") as bar:

        def advance(form: str) -> None:
            bar.set_postfix_str(form)
            bar.update()

        timings = take_turns(forms, rounds, device, advance, seconds=seconds)
    stages = task.stages() if task.stages else {}
    return Measured(replace(task, forms=[], stages=None), timings, stages)  # their networks would stay on the GPU


def _facts(size: str, data: BenchmarkData) -> dict[str, Any]:
    """Return the machine, versions and sizes of a benchmark."""
    chosen = data.size
    return {
        "hardware": machine(data.device),
        "versions": {**versions(), **_monai_version()},
        "size": f"{size}: patch {_by(chosen.patch_size)}, images {_by(chosen.anatomy.shape)}, "
        f"channels {', '.join(map(str, chosen.features))}",
        "flips in prediction": "eight" if data.use_mirroring else "none",
        "precision of ours": data.precision,
    }


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _monai_version() -> Mapping[str, str]:
    try:
        import monai  # noqa: PLC0415 (an extra)
    except ImportError:
        return {}
    return {"monai": monai.__version__}


def to_mapping(results: Sequence[Result], peaks: Sequence[Peak], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return all results in a form that JSON can hold."""
    return {
        **facts,
        "machine_peak": [asdict(peak) for peak in peaks],
        "tasks": {of.task.name: _task_mapping(of, peaks) for of in _measured(results)},
        "failed": {of.task: of.reason for of in results if isinstance(of, Failed)},
    }


def _measured(results: Sequence[Result]) -> list[Measured]:
    return [of for of in results if isinstance(of, Measured)]


def _task_mapping(of: Measured, peaks: Sequence[Peak]) -> dict[str, Any]:
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
    """Return the share of the machine's most operations a second; None where operations are not counted."""
    if of.task.flops is None or form == MONAI:  # whose network is not quite ours
        return None
    return of.task.flops / of.timings[form].median / max(peak.flops for peak in peaks)


def markdown(results: Sequence[Result], peaks: Sequence[Peak], facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a page with all results."""
    for name, value in facts.items():
        yield f"- {name}: {', '.join(f'{k} {v}' for k, v in value.items()) if isinstance(value, dict) else value}"
    for peak in peaks:
        yield f"- most in {peak.dtype}: {peak.flops / 1e12:.3g} TFLOP/s ({peak.of})"
    yield ""
    yield from markdown_rows(_HEADER, [row for of in results for row in _rows(of, peaks)])
    yield ""
    for of in _measured(results):
        if of.task.note:
            yield f"- {of.task.name}: {of.task.note}"
        if of.stages:
            yield f"- {of.task.name}, ours: " + ", ".join(f"{name} {value:.2f} s" for name, value in of.stages.items())


def _rows(of: Result, peaks: Sequence[Peak]) -> list[list[str]]:
    if isinstance(of, Failed):
        return [[of.task, of.reason.replace("|", "/"), *[MISSING] * (len(_HEADER) - 2)]]
    return [_cells(of, name, timing, peaks) for name, timing in of.timings.items()]


def _cells(of: Measured, name: str, timing: Timing, peaks: Sequence[Peak]) -> list[str]:
    times = ratio(of.timings[of.baseline], timing)
    share = share_of_peak(of, name, peaks)
    return [
        of.task.name,
        name,
        of.task.unit,
        f"{timing.median / of.task.units_per_run:.3g}",
        "1" if name == of.baseline else f"{times.median:.2f}, {times.least:.2f} to {times.most:.2f}",
        MISSING if timing.peak_mib is None else f"{timing.peak_mib:.0f}",
        MISSING if share is None else f"{share:.0%}",
    ]
