"""The benchmark from its material to its tables."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from nnunet_resunet_ds.base.files import replacing, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.setting_checks import check_choice, check_whole_number
from nnunet_resunet_ds.compute.environment import machine, versions
from nnunet_resunet_ds.compute.precision import autocast_dtype
from nnunet_resunet_ds.experiments.benchmark.data_tasks import (
    conversion_task,
    evaluation_task,
    loading_task,
    postprocessing_task,
)
from nnunet_resunet_ds.experiments.benchmark.machine_peak import machine_peak
from nnunet_resunet_ds.experiments.benchmark.material import SIZES, Material, make_files
from nnunet_resunet_ds.experiments.benchmark.prediction_task import prediction_task
from nnunet_resunet_ds.experiments.benchmark.results import Measured, markdown, to_mapping
from nnunet_resunet_ds.experiments.benchmark.training_task import training_task
from nnunet_resunet_ds.experiments.benchmark.turns import MONAI, NNUNET, OURS, Task, take_turns
from nnunet_resunet_ds.inference.predictor import chosen_device

PEERS = {"nnunet": NNUNET, "monai": MONAI}
MAKERS: Mapping[str, Callable[[Material], Task]] = {
    "training": training_task,
    "prediction": prediction_task,
    "loading": loading_task,
    "conversion": conversion_task,
    "postprocessing": postprocessing_task,
    "evaluation": evaluation_task,
}


def benchmark(
    folder: Path,
    output: Path,
    *,
    size: str,
    tasks: Sequence[str] = tuple(MAKERS),
    against: Sequence[str] = tuple(PEERS),
    rounds: int = 3,
    device: str | None = None,
    precision: str = "auto",
    use_mirroring: bool = True,
) -> list[Measured]:
    """Measure and write ``OUTPUT.json`` and ``OUTPUT.md`` after each task.

    Args:
        folder: of `temporary_nnunet_folders`, for what is made.
        output: without an ending.
        size: one of `SIZES`.
        tasks: of `MAKERS`.
        against: of `PEERS`.
        rounds: in which forms take turns.
        device: None is a GPU where there is one.
        precision: of our convolutions.
        use_mirroring: average over eight flips in prediction.

    Raises:
        InputError: a setting that cannot be, or no such device.
    """
    for task in tasks:
        check_choice("a task", task, tuple(MAKERS))
    check_whole_number("the number of rounds", rounds, at_least=1)
    chosen = chosen_device(device)
    material = Material(folder, SIZES[size], chosen, precision, use_mirroring)
    facts = _facts(size, material)
    LOG.info("measuring what this machine can do at most")
    peaks = machine_peak(chosen)
    make_files(material)
    measured: list[Measured] = []
    for name in tasks:
        measured.append(_measure(MAKERS[name](material), against, rounds, chosen))
        write_json(to_mapping(measured, peaks, facts), output.with_suffix(".json"))
        _write_text("\n".join([*markdown(measured, peaks, facts), ""]), output.with_suffix(".md"))
    return measured


def _measure(task: Task, against: Sequence[str], rounds: int, device: torch.device) -> Measured:
    names = {OURS, *(PEERS[peer] for peer in against)}
    forms = [form for form in task.forms if form.name in names] or task.forms
    with tqdm(total=len(forms) * (rounds + 1), desc=task.name, unit="run") as bar:
        timings = take_turns(forms, rounds, device, lambda name: (bar.set_postfix_str(name), bar.update()))
    return Measured(task, timings, task.stages() if task.stages else {})


def _facts(size: str, material: Material) -> dict[str, Any]:
    dtype = autocast_dtype(material.precision, material.device) or torch.float32
    chosen = material.size
    return {
        "hardware": machine(material.device),
        "versions": {**versions(), **_monai_version()},
        "size": f"{size}: patch {_by(chosen.patch_size)}, images {_by(chosen.anatomy.shape)}, "
        f"channels {', '.join(map(str, chosen.features))}",
        "flips in prediction": "eight" if material.use_mirroring else "none",
        "ours in": str(dtype).removeprefix("torch."),
    }


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _monai_version() -> Mapping[str, str]:
    try:
        import monai  # noqa: PLC0415 (an extra)
    except ImportError:
        return {}
    return {"monai": monai.__version__}


def _write_text(text: str, path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
