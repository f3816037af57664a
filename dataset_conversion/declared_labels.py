"""Find out what the values of label maps mean from what lies next to them.

It is never told from the values themselves: it stands in the ``run.json`` that we write with label maps, for those that
it lists; else in nnU-Net's ``dataset.json``. Every command that reads or writes label maps asks here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_conversion.custom_edition import CUSTOM, custom_edition
from dataset_conversion.editions import NNUNET_KEY
from dataset_conversion.label_conventions import (
    NNUNET_CONVENTION,
    LabelConvention,
    convention_named,
    convention_of_names,
    convention_of_regions,
    nnunet_convention,
)
from nnunet_resunet_ds.base.dataset_json import check_class_order, check_regions
from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import FOLD
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.run_file import CUSTOM_EDITION, LABEL_REGIONS, LABELS, WRITTEN, Runs, read_runs

_DATASET_FOLDERS = ("labelsTr", "labelsTs", "gt_segmentations")
"""Of nnU-Net, one below dataset.json."""
_SETTINGS = "postprocessing.json"
"""Of ``resunet-ds postprocess``, which an earlier version left without run.json."""


@dataclass(frozen=True)
class Declared:
    """A convention, and what says so."""

    convention: LabelConvention
    reason: str
    """For the user, after the convention's title."""
    made_by: Mapping[str, Any] | None = None
    """The run of ours that made the label maps, where run.json says so."""


def declared_convention(files: Iterable[Path]) -> Declared | None:
    """Return what label maps of one folder mean by what lies next to them; None where nothing says it.

    Args:
        files: of the label maps.

    Raises:
        InputError: they are of different conventions, or run.json lists only some of them; or a dataset.json
            contradicts itself.
    """
    files = sorted(files)
    folder = files[0].parent
    runs = read_runs(folder)
    if runs is not None:
        return _declared_by_runs(runs, files)
    for file in _dataset_jsons(folder):
        convention = _convention_of_dataset(file) if file.is_file() else None
        if convention is not None:
            return Declared(convention, f"as {file} says")
    if (folder / _SETTINGS).is_file():
        return Declared(NNUNET_CONVENTION, f"as resunet-ds postprocess wrote them, which left {_SETTINGS} there")
    return None


def check_said(convention: LabelConvention, files: Iterable[Path], remedy: str) -> None:
    """Refuse what a user, or a file's name, says of label maps that a run of ours wrote in other values.

    Args:
        convention: what is said.
        files: of the label maps; of those that have changed since, or that nothing lists, anything may be said.
        remedy: for the message.

    Raises:
        InputError: naming the first, and what its ``run.json`` says.
    """
    files = list(files)
    runs = {folder: read_runs(folder) for folder in {file.parent for file in files}}
    for file in files:
        of_folder = runs[file.parent]
        run = None if of_folder is None else of_folder.of_file(file.name)
        if of_folder is None or run is None or not (of_folder.as_written(file.name) or {}).get(WRITTEN):
            continue
        written = _convention_of(run)
        if written is not None and contradicts(convention, written):
            msg = (
                f"{file}: has the label values of {written.title}, as {of_folder.path} says and as it was written, and "
                f"not those of {convention.title}; {remedy}"
            )
            raise InputError(msg)


def contradicts(said: LabelConvention, written: LabelConvention) -> bool:
    """Tell whether a value would be read as something else than what was written."""
    if written.regions is not None and not written.tissues:
        return said.regions != written.regions
    return any(said.tissues.get(value, tissue) != tissue for value, tissue in written.tissues.items())


def _declared_by_runs(runs: Runs, files: Iterable[Path]) -> Declared | None:
    """Return what run.json says of the label maps that it lists."""
    made_by = {file: runs.of_file(file.name) for file in files}
    with said_of(runs.path):
        conventions = {file: None if run is None else _convention_of(run) for file, run in made_by.items()}
    first, *others = conventions
    for other in others:
        if conventions[other] != conventions[first]:
            names = [f"{_titled(conventions[file])} of {file.name}" for file in (first, other)]
            msg = (
                f"{runs.path}: says {names[0]}, and {names[1]}; put label maps of different values into folders of "
                "their own, or say what all of them are (--pred-labels, --ref-labels, --labels)"
            )
            raise InputError(msg)
    convention = conventions[first]
    if convention is not None:
        _check_as_written(runs, conventions, convention)
    return None if convention is None else Declared(convention, f"as {runs.path} says", made_by[first])


def _check_as_written(runs: Runs, files: Collection[Path], convention: LabelConvention) -> None:
    """Refuse label maps that something else has changed or replaced: what their values mean is not known any more.

    In nnU-Net's values they are taken with a warning, for ``nnUNetv2_predict`` writes there without a note.

    Raises:
        InputError: naming the first.
    """
    changed = [file for file in files if runs.of_file(file.name) and runs.as_written(file.name) is None]
    if not changed:
        return
    say = "say what they are (--pred-labels, --ref-labels, --labels)"
    if convention == NNUNET_CONVENTION:
        LOG.warning(
            "%s: %d of %d label maps, such as %s, have changed since it was written: what it notes of them does not "
            "count, and they are read as nnU-Net's; where they have other values, %s",
            runs.path, len(changed), len(files), changed[0].name, say,
        )  # fmt: skip
        return
    msg = f"{changed[0]}: has changed since {runs.path} was written, so it may have other label values; {say}"
    raise InputError(msg)


def _convention_of(run: Mapping[str, Any]) -> LabelConvention | None:
    """Return what a run wrote; None where it says nothing of that.

    Raises:
        InputError: this version does not know it.
    """
    key = run.get(LABELS)
    regions = run.get(LABEL_REGIONS)
    if key == NNUNET_KEY and isinstance(regions, dict):
        return convention_of_regions(regions)
    if key == CUSTOM:
        return LabelConvention.of(custom_edition(run.get(CUSTOM_EDITION)))
    return None if key is None else convention_named(str(key))


def _titled(convention: LabelConvention | None) -> str:
    return f"the label values of {convention.title}" if convention else "nothing"


def _dataset_jsons(folder: Path) -> Iterator[Path]:
    """Yield where nnU-Net keeps the dataset.json of a folder of label maps."""
    yield folder / DATASET_JSON  # of predictions
    real = folder.resolve()
    if real.name in _DATASET_FOLDERS:
        yield real.parent / DATASET_JSON
    if real.name == "validation" and real.parent.name.startswith(FOLD):
        yield real.parent.parent / DATASET_JSON  # of the model


def _convention_of_dataset(file: Path) -> LabelConvention | None:
    """Return what a dataset.json says that values mean, by its regions or the names of plain labels; None otherwise.

    Raises:
        InputError: the order in which it paints contradicts its regions.
    """
    content = read_json(file)
    labels = content.get("labels") if isinstance(content, Mapping) else None
    if isinstance(labels, Mapping) and labels and all(name.isdecimal() for name in labels):  # as the MSD has it
        return convention_of_names({str(name): int(value) for value, name in labels.items()})
    with said_of(file):
        check_class_order(content)
    try:
        check_regions(content)
    except InputError:
        return convention_of_names(labels) if isinstance(labels, Mapping) else None
    return nnunet_convention(content)
