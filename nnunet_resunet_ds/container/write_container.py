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
from dataset_conversion.label_conventions import LabelConvention
from dataset_conversion.sequences import brats_channels, optional_channels
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_folder, write_json, write_text
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.regions import REGIONS
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
from nnunet_resunet_ds.inference.model_checks import check_models
from nnunet_resunet_ds.inference.output import check_labels
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings

_TUMOUR = {region.name for region in REGIONS}
"""Regions that all models of tumours have, whatever dataset.json calls them."""


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
    folder = folder.resolve()
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
    check_models(PredictionSettings.of(models), models)
    try:
        check_labels(LabelConvention.of(edition), models)
    except InputError as error:
        raise InputError(str(error).replace("with --labels, or nnunet", "with --edition")) from error
    _check_regions_fit(models[0], edition)
    channels = brats_channels(models[0].channels)
    lacking = optional_channels((*edition.not_guaranteed, *absent), channels)
    missing = [name for name in channels if name not in (*edition.channels, *lacking)]
    if missing:
        msg = f"{models[0].folder}: reads {', '.join(missing)}, which {edition.title} does not have; give another model"
        raise InputError(msg)
    return lacking


def _check_regions_fit(model: Model, edition: Edition) -> None:
    """Refuse a model whose labels mean other things in the edition; say so where it never paints one of them.

    Raises:
        InputError: a region that the edition does not have, or whose tissues are others there.
    """
    theirs = {name for region in edition.regions for name in (region.name.lower(), region.long_name.lower())}
    own = {region.long_name.lower() for region in model.regions if region.name not in _TUMOUR}
    for name in sorted(own - theirs):
        msg = (
            f"{model.folder}: segments {name}, which {edition.title} does not have; give another --edition, or another "
            "model"
        )
        raise InputError(msg)
    asked = [region for region in edition.regions if region.name not in _TUMOUR]
    never = [region.long_name for region in asked if not own & {region.name.lower(), region.long_name.lower()}]
    if never:
        LOG.warning("%s: never paints %s, which %s asks for", model.folder, ", ".join(never), edition.title)


def _check_folder(folder: Path) -> None:
    check_output_folder(folder)
    ours = {APPTAINER, DOCKERFILE, ENTRY_POINT, MODELS, README, REQUIREMENTS, SETTINGS}
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    strangers = [name for name in there if name not in ours and not name.endswith(".whl")]
    if strangers or (there and SETTINGS not in there):
        what = strangers[0] if strangers else there[0]
        msg = (
            f"{folder}: holds other files than those of a container, such as {what}; move them, or give another folder"
        )
        raise InputError(msg)


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder that gets this name at the end, and is removed where something fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{uuid4().hex[:8]}.{folder.name}") for _ in range(2))
    new.mkdir()
    try:
        yield new
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    finally:
        if old.exists() and not folder.exists():
            old.replace(folder)  # the new one did not get its name
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
