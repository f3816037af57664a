"""Finding label maps, and what their values mean: as told, or as a file beside them declares. Never from the values."""

import filecmp
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataset_conversion.detect import AUTO, edition_by_case_ids
from dataset_conversion.edition import RAW_ENDINGS
from dataset_conversion.editions import EDITIONS
from dataset_conversion.scan import cases_below
from nnunet_resunet_ds.dataset_json import check_class_order, check_regions
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.evaluation.label_values import LABELS, NNUNET_LABELS, PROTOCOL_LABELS
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.files import read_json
from nnunet_resunet_ds.nnunet_folders import DATASET_JSON
from postprocessing.folder import RUN
from postprocessing.model_config import SETTINGS

_DATASET_FOLDERS = ("labelsTr", "labelsTs", "gt_segmentations")
"""Of nnU-Net, one below dataset.json."""
_GTV = "_gtv"
_MENRT_CASE = re.compile(r"BraTS-MEN-RT-\d{4}-\d")
"""Of MEN-RT, which has label maps to evaluate by its own protocol, and no edition to convert."""
_RELEASES = [edition for edition in EDITIONS.values() if edition.segmentation_suffix]


@dataclass(frozen=True)
class LabelMaps:
    """Label maps of one convention."""

    source: Path
    """Where they were looked for."""
    files: dict[str, Path]
    """Case → file."""
    labels: str
    """One of `LABELS`."""
    reason: str
    """How that is known, for the user."""
    is_declared: bool
    """Whether anything said so."""

    def described(self, protocol: Protocol) -> str:
        """Say how the values are read."""
        n = f"{len(self.files)} label map{'s' if len(self.files) > 1 else ''}"
        labels = {PROTOCOL_LABELS: protocol.title, NNUNET_LABELS: "nnU-Net"}.get(self.labels, f"edition {self.labels}")
        return f"{n} with the values of {labels}, {self.reason}"


def find_label_maps(source: Path, labels: str | None = None) -> LabelMaps:
    """Find label maps by a release's file names at any depth, or all ``CASE.nii.gz`` of a folder; or take the one file.

    Args:
        source: file or folder.
        labels: what their values are, one of `LABELS`; None: as a file beside them or the release's file names declare,
            else the protocol's own.

    Raises:
        InputError: there are none, or the file names are of releases with different label values.
    """
    if labels is not None and labels not in LABELS:
        msg = f"label values {labels!r} are not known; choose from {', '.join(LABELS)}"
        raise InputError(msg)
    if not source.exists():
        msg = f"{source}: no such file or folder"
        raise InputError(msg)
    if source.is_file() and not source.name.endswith(RAW_ENDINGS):
        msg = f"{source}: is no NIfTI file by its name ({' or '.join(RAW_ENDINGS)})"
        raise InputError(msg)
    of_release = _release_file(source) if source.is_file() else _release_files(source)
    files = of_release or ({_plain_name(source): source} if source.is_file() else _plain_files(source))
    if not files:
        msg = f"{source}: no label maps here; expected CASE.nii.gz, or files such as BraTS2021_00000_seg.nii.gz"
        raise InputError(msg)
    if labels is not None:
        return LabelMaps(source, files, labels, "as you said", is_declared=True)
    declared = _declared(source.parent if source.is_file() else source)
    if declared is None and of_release and not _are_gtv(of_release):
        declared = _by_case_ids(source, of_release)
    if declared is None:
        return LabelMaps(source, files, PROTOCOL_LABELS, "as nothing beside them says what they are", is_declared=False)
    return LabelMaps(source, files, *declared, is_declared=True)


def _release_file(path: Path) -> dict[str, Path]:
    """Return the file by its case id, if it has a release's file name."""
    stem = _plain_name(path)
    ids = {stem.removesuffix(suffix) for suffix in (_GTV, *(edition.segmentation_suffix for edition in _RELEASES))}
    return {case: path for case in ids - {stem} if _is_release_case(case)}


def _release_files(folder: Path) -> dict[str, Path]:
    """Return the segmentations below a folder that have a release's file name, by case id.

    Raises:
        InputError: two different files are of the same case.
    """
    found = [
        (case.case_id, path)
        for edition in {edition.layout: edition for edition in _RELEASES}.values()
        for case in cases_below(folder, edition)
        for path in ([case.segmentation] if case.segmentation else []) + list(case.rivals)
        if _plain_name(path).lower().endswith(edition.segmentation_suffix)
    ]
    found += [(_plain_name(path).removesuffix(_GTV), path) for path in sorted(folder.rglob(f"*{_GTV}.nii*"))]
    files: dict[str, Path] = {}
    for case, path in found:
        if _is_release_case(case) and not filecmp.cmp(files.setdefault(case, path), path, shallow=False):
            msg = f"{path}: differs from {files[case]}, which is of the same case; remove one of them"
            raise InputError(msg)
    return dict(sorted(files.items()))


def _is_release_case(case: str) -> bool:
    return bool(_MENRT_CASE.fullmatch(case)) or any(edition.case_id.fullmatch(case) for edition in _RELEASES)


def _are_gtv(files: Iterable[str]) -> bool:
    return all(_MENRT_CASE.fullmatch(case) for case in files)


def _plain_files(folder: Path) -> dict[str, Path]:
    """Return the label maps right in a folder, by case."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(RAW_ENDINGS):
            continue
        case = _plain_name(path)
        if case in files:
            msg = f"{path}: {files[case].name} is of the same case; remove one of them"
            raise InputError(msg)
        files[case] = path
    return files


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _declared(folder: Path) -> tuple[str, str] | None:
    """Return what label values a folder has by what lies beside them, and how that is known, if it is."""
    run = folder / RUN
    content = read_json(run) if run.is_file() else {}
    if isinstance(content, dict) and content.get("labels") in (NNUNET_LABELS, *EDITIONS):
        return content["labels"], f"as {run} says"
    for file in _dataset_jsons(folder):
        if file.is_file() and _has_regions(file):
            return NNUNET_LABELS, f"as {file} says"
    if (folder / SETTINGS).is_file():
        return NNUNET_LABELS, f"as resunet-ds postprocess wrote them, which left {SETTINGS} there"
    return None


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
        InputError: its regions_class_order contradicts its regions, so what its label maps mean is not known.
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


def _by_case_ids(source: Path, files: Iterable[str]) -> tuple[str, str]:
    try:
        decision = edition_by_case_ids(AUTO, files)
    except InputError as error:
        options = "--ref-labels or --pred-labels"
        msg = f"{source}: {str(error).replace('--edition', options)}"
        raise InputError(msg) from error
    return decision.edition.key, decision.reason
