"""What the values of label maps mean, and how that is known: never from the values themselves.

The one place that every command asks which reads or writes label maps. What a folder's label maps mean stands in the
``run.json`` that we write with them, for those that it lists; else in nnU-Net's ``dataset.json``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_conversion.custom import CUSTOM, custom_edition
from dataset_conversion.edition import NNUNET as NNUNET_SCHEME
from dataset_conversion.edition import Edition, LabelScheme
from dataset_conversion.editions import EDITIONS
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.region_checks import check_class_order, check_regions
from nnunet_resunet_ds.base.run_file import CUSTOM_EDITION, LABELS, Runs, read_runs

_DATASET_FOLDERS = ("labelsTr", "labelsTs", "gt_segmentations")
"""Of nnU-Net, one below dataset.json."""
_SETTINGS = "postprocessing.json"
"""Of ``resunet-ds postprocess``, which an earlier version left without run.json."""


@dataclass(frozen=True)
class LabelConvention:
    """What each value of a label map means."""

    key: str
    """What ``--labels``, ``--ref-labels``, ``--pred-labels`` and run.json call it."""
    title: str
    tissues: LabelScheme
    description: Mapping[str, object] | None = None
    """What the user's file said of a custom edition."""

    @classmethod
    def of(cls, edition: Edition) -> "LabelConvention":
        """Return an edition's."""
        return cls(edition.key, edition.title, edition.tissues, edition.description)

    def to_settings(self) -> dict[str, Any]:
        """Return what run.json says of it."""
        return {LABELS: self.key, CUSTOM_EDITION: self.description}


NNUNET = LabelConvention("nnunet", "nnU-Net", NNUNET_SCHEME)
CONVENTIONS: Mapping[str, LabelConvention] = {
    NNUNET.key: NNUNET,
    **{key: LabelConvention.of(edition) for key, edition in EDITIONS.items()},
}
"""All that have a name."""


def convention_named(key: str) -> LabelConvention:
    """Return one of `CONVENTIONS`.

    Raises:
        InputError: there is none of that name.
    """
    if key not in CONVENTIONS:
        msg = f"label values {key!r} are not known; choose from {', '.join(CONVENTIONS)}"
        raise InputError(msg)
    return CONVENTIONS[key]


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
        if file.is_file() and _has_regions(file):
            return Declared(NNUNET, f"as {file} says")
    if (folder / _SETTINGS).is_file():
        return Declared(NNUNET, f"as resunet-ds postprocess wrote them, which left {_SETTINGS} there")
    return None


def _declared_by_runs(runs: Runs, files: Iterable[Path]) -> Declared | None:
    """Return what run.json says of the label maps that it lists."""
    made_by = {file: runs.of_file(file.name) for file in files}
    try:
        conventions = {file: None if run is None else _convention_of(run) for file, run in made_by.items()}
    except InputError as error:
        msg = f"{runs.path}: {error}"
        raise InputError(msg) from error
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
    if convention not in (None, NNUNET):  # what else writes label maps here, writes them in nnU-Net's values
        _check_as_written(runs, conventions)
    return None if convention is None else Declared(convention, f"as {runs.path} says", made_by[first])


def _check_as_written(runs: Runs, files: Iterable[Path]) -> None:
    """Refuse label maps that something else has changed or replaced: what their values mean is not known any more.

    Raises:
        InputError: naming the first.
    """
    for file in files:
        case = runs.case_of_file(file.name)
        if case is not None and not runs.is_as_written(case):
            msg = (
                f"{file}: has changed since {runs.path} was written, so it may have other label values; say what they "
                "are (--pred-labels, --ref-labels, --labels)"
            )
            raise InputError(msg)


def _convention_of(run: Mapping[str, Any]) -> LabelConvention | None:
    """Return what a run wrote; None where it says nothing of that.

    Raises:
        InputError: this version does not know it.
    """
    key = run.get(LABELS)
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
    if real.name == "validation" and real.parent.name.startswith("fold_"):
        yield real.parent.parent / DATASET_JSON  # of the model


def _has_regions(file: Path) -> bool:
    """Tell whether a dataset.json declares the regions that we convert to.

    Raises:
        InputError: the order in which it paints contradicts its regions.
    """
    content = read_json(file)
    try:
        check_class_order(content)
    except InputError as error:
        msg = f"{file}: {error}"
        raise InputError(msg) from error
    try:
        check_regions(content)
    except InputError:
        return False
    return True
