"""Write the folder that a container is built from: Dockerfile, Apptainer definition, entry point, models, code."""

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

from jinja2 import Environment, StrictUndefined

from dataset_conversion.editions import Edition
from dataset_conversion.labels import LabelConvention
from dataset_conversion.sequences import brats_channels, optional_channels
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_folder, write_json, write_text
from nnunet_resunet_ds.container.contract import (
    APPTAINER,
    DOCKERFILE,
    ENTRY_POINT,
    INSIDE,
    MODELS,
    README,
    REQUIREMENTS,
    SETTINGS,
    ContainerSettings,
    edition_of_container,
    flags_of,
)
from nnunet_resunet_ds.container.model_copy import copy_model
from nnunet_resunet_ds.container.pins import pins
from nnunet_resunet_ds.container.wheel import installation, write_wheel
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.output import check_labels
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings, check_models, config_of_models


def write_container(
    folder: Path, models: Sequence[Model], edition: str, *, absent: Sequence[str] = (), no_tta: bool = False
) -> ContainerSettings:
    """Write all files of a container, or none; an earlier container in the folder is replaced.

    Args:
        folder: to write to.
        models: the mean of their probabilities counts.
        edition: key of the edition of the cases.
        absent: sequences that a case may lack, beyond those that the edition does not guarantee.
        no_tta: predict without flips.

    Raises:
        InputError: no such edition, or the models do not fit it; or the folder holds other things.
    """
    chosen = edition_of_container(edition)
    _check_folder(folder)
    lacking = _check_models_fit(models, chosen, absent)
    names = tuple(f"{MODELS}/{number}" for number in range(1, len(models) + 1))
    settings = ContainerSettings(
        edition=chosen.key,
        suffix=chosen.submission_suffix,
        models=names,
        flags=flags_of(lacking, no_tta=no_tta),
        absent=lacking,
    )
    with _replacing_folder(folder) as new:
        for model, name in zip(models, names, strict=True):
            copy_model(model, new / name)
        _write_files(new, models, chosen, settings)
    return settings


def _check_models_fit(models: Sequence[Model], edition: Edition, absent: Sequence[str]) -> tuple[str, ...]:
    """Return the sequences that a case may lack.

    Raises:
        InputError: the models do not fit each other, paint what the edition has no label for, or read what it lacks.
    """
    files = tuple(model.files for model in models)
    check_models(PredictionSettings(models=files, postprocessing=config_of_models(models)), models)
    try:
        check_labels(LabelConvention.of(edition), models)
    except InputError as error:
        raise InputError(str(error).replace("with --labels, or nnunet", "with --edition")) from error
    channels = brats_channels(models[0].channels)
    lacking = optional_channels((*edition.not_guaranteed, *absent), channels)
    missing = [name for name in channels if name not in (*edition.channels, *lacking)]
    if missing:
        msg = f"{models[0].folder}: reads {', '.join(missing)}, which {edition.title} does not have; give another model"
        raise InputError(msg)
    return lacking


def _check_folder(folder: Path) -> None:
    check_output_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS).is_file():
        msg = f"{folder}: holds other files than those of a container; give an empty folder, or one that is not there"
        raise InputError(msg)


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder that gets this name at the end, and is removed where something fails."""
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.absolute().with_name(f".{uuid4().hex[:8]}.{folder.name}") for _ in range(2))
    new.mkdir()
    try:
        yield new
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    finally:
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)


def _write_files(folder: Path, models: Sequence[Model], edition: Edition, settings: ContainerSettings) -> None:
    """Write all but the models."""
    write_json(settings.to_mapping(), folder / SETTINGS)
    shutil.copyfile(str(files(__package__) / "entry_point.py"), folder / ENTRY_POINT)
    write_text("\n".join(pins(installation())) + "\n", folder / REQUIREMENTS)
    wheel = write_wheel(folder)
    example = next(iter(edition.channels))
    content = {
        "title": edition.title,
        "version": __version__,
        "tag": f"resunet-ds-{edition.key}",
        "python": platform.python_version(),
        "wheel": wheel.name,
        "inside": INSIDE,
        "suffix": edition.submission_suffix,
        "values": ", ".join(f"{raw} {edition.tissue_name(one)}" for raw, one in edition.tissues.items() if one),
        "models": [f"`{model.folder.name}`, fold {', '.join(model.weights)}, {model.checkpoint}" for model in models],
        "absent": " or ".join(settings.absent),
        "example": edition.file_name("CASE", example),
    }
    for name in (DOCKERFILE, APPTAINER, README):
        write_text(_filled(f"{name}.j2", content), folder / name)


def _filled(template: str, content: Mapping[str, object]) -> str:
    """Return a file of the folder ``assets`` with its gaps filled; nothing in it is HTML."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)
    text = (files(__package__) / "assets" / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(content)
