"""Export a trained model: an ONNX file for each fold and one JSON file, all of them or none."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_file, digest, read_json, replacing, write_json
from nnunet_resunet_ds.export.description import MADE_BY, description_of
from nnunet_resunet_ds.export.onnx_graph import check_packages, write_graph
from nnunet_resunet_ds.export.parity import check_parity
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.model_checks import check_models
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings, config_of_models

ONNX = ".onnx"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    """An ONNX file a fold."""
    description: Path
    """The JSON file."""
    max_difference: float
    """Largest difference of a probability between onnxruntime and PyTorch, over all files."""


def check_export(output: Path) -> None:
    """Check, before a model is read, that it can be exported to this file.

    Raises:
        InputError: a package of the extra is missing, or the name does not end in ``.onnx``.
    """
    check_packages()
    check_output_file(output, ONNX)


def export_model(model: Model, output: Path) -> Exported:
    """Write the network of each fold, compare it with PyTorch, and describe what belongs around it.

    Args:
        model: with the folds to export.
        output: ``NAME.onnx``; with several folds the files are ``NAME_fold_0.onnx`` … . ``NAME.json`` describes them.

    Raises:
        InputError: see `check_export`; or the network cannot be translated, or does not agree with PyTorch. Then no
            file is written.
    """
    check_export(output)
    config = config_of_models([model])
    check_models(PredictionSettings.of([model], postprocessing=config), [model])
    output.parent.mkdir(parents=True, exist_ok=True)
    files, described = _files(model, output), output.with_suffix(".json")
    _check_is_ours(described)
    entries = []
    with ExitStack() as all_or_none:
        for fold, path in tqdm(files.items(), desc="export", unit="fold"):
            temporary = all_or_none.enter_context(replacing(path))
            difference = _export_fold(model, fold, temporary, path.name)
            entries.append(_entry(model, fold, path, temporary, difference))
        write_json(description_of(model, config, entries), all_or_none.enter_context(replacing(described)))
    return Exported(tuple(files.values()), described, max(entry["max_difference"] for entry in entries))


def _check_is_ours(described: Path) -> None:
    """Refuse to replace a JSON file that an export did not write.

    Raises:
        InputError: it is there.
    """
    if not described.exists():
        return
    try:
        content = read_json(described)
    except InputError:
        content = None
    if not isinstance(content, dict) or content.get("made_by") != MADE_BY:
        msg = f"{described}: is there, and no export wrote it; choose another name with --onnx"
        raise InputError(msg)


def _files(model: Model, output: Path) -> dict[str, Path]:
    """Return the ONNX file of each fold."""
    folds = list(model.weights)
    if len(folds) == 1:
        return {folds[0]: output}
    return {fold: output.with_name(f"{output.stem}_fold_{fold}{ONNX}") for fold in folds}


def _export_fold(model: Model, fold: str, path: Path, name: str) -> float:
    """Write the network of a fold, and return how far its probabilities are from PyTorch's."""
    network = model.build_network()
    network.load_state_dict(model.weights[fold])
    shape = (len(model.channels), *model.patch_size)
    write_graph(network, shape, path)
    return check_parity(path, network, shape, name)


def _entry(model: Model, fold: str, path: Path, written: Path, difference: float) -> dict[str, Any]:
    return {
        "file": path.name,
        "fold": fold,
        "weights": model.identities[fold],
        "bytes": written.stat().st_size,
        "sha256": digest(written),
        "max_difference": difference,
    }
