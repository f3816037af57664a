"""Read every file of a case, each once, and say what is wrong with the files as such and as a set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.editions import Edition
from dataset_conversion.find_cases import RawCase
from dataset_conversion.intensity import Values, background_fill, is_empty, same_image_warnings, without_fill
from dataset_conversion.labels import label_counts, unknown_labels
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import is_same
from nnunet_resunet_ds.base.images import (
    add_note,
    geometry_difference,
    has_place,
    label_values,
    notes_of,
    read_image,
    read_labels,
    shortened,
)
from nnunet_resunet_ds.base.nifti_check import is_gzip, read_bytes, read_with_identity, unpacked
from nnunet_resunet_ds.base.orientation import contradictory_forms
from nnunet_resunet_ds.base.reader_space import orientation, turned_onto

_LOST = "look which step lost the image (registration, skull-stripping), and repeat it"
_SCALE = "write the image again without the scale (scl_slope) of its header"


@dataclass(frozen=True)
class SourceFile:
    """A raw file as it was when it was read."""

    path: Path
    identity: Mapping[str, Any]
    """What `identity_of` returns of it."""
    is_gzip: bool

    def to_manifest(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {"file": str(self.path.resolve()), **self.identity}

    def read_again(self) -> bytes:
        """Return its bytes.

        Raises:
            InputError: they have changed.
        """
        content, identity = read_with_identity(self.path)
        if identity["sha256"] != self.identity["sha256"]:
            raise has_changed(self.path)
        return content

    def check_unchanged(self) -> None:
        """Refuse a file that is not the one that was read.

        Raises:
            InputError: it has other bytes now, or is gone.
        """
        if not is_same(self.identity, self.path):
            raise has_changed(self.path)


def has_changed(path: Path) -> InputError:
    """Return what to raise where a file is not what it was when it was checked."""
    return InputError(f"{path}: has changed since it was checked; convert again")


@dataclass
class OpenedCase:
    """What the files of a case hold, as far as they can be read."""

    values: dict[str, Values] = field(default_factory=dict)
    """Channel name → voxels (Z, Y, X) whose background is 0."""
    fills: dict[str, float] = field(default_factory=dict)
    """Channel name → the value that its background had instead of 0, where it had."""
    labels: NDArray[np.integer] | None = None
    counts: dict[int, int] = field(default_factory=dict)
    """Voxels of each raw label value."""
    grids: dict[Path, sitk.Image] = field(default_factory=dict)
    """One 3-D image a file, as turned."""
    noted: dict[Path, list[str]] = field(default_factory=dict)
    """File → ``KIND: detail`` of what was corrected as it was read."""
    turned: dict[Path, str] = field(default_factory=dict)
    """File whose axes were stored in another order or direction than those of most files → how, in words."""
    images: dict[str, sitk.Image] = field(default_factory=dict)
    """Channel name → what the voxels are a view of: they are gone when it is."""
    sources: dict[Path, SourceFile] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    """Channels that may be absent and are: they have no values."""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """``KIND: detail`` of what is odd about the files as a set."""

    @property
    def notes(self) -> list[str]:
        """``KIND: detail`` of what was corrected in the files as they were read."""
        read = [note for notes in self.noted.values() for note in notes]
        return [*read, *(f"turned: {path.name} had its {how}" for path, how in self.turned.items())]


class GridComparison(NamedTuple):
    """How the voxel grids of a case's files lie to each other."""

    reference: sitk.Image
    """Of the grid that most files have."""
    differences: list[str]
    """A line for each file that lies elsewhere."""
    misplaced: dict[Path, str]
    """What must be corrected: files whose header does not say where they lie, or whose spacing is off by less than
    matters, which nnU-Net would refuse."""


def open_case(case: RawCase, edition: Edition) -> OpenedCase:
    """Read every file of a case, complete or not; a background of another value becomes 0.

    Files whose axes are stored otherwise than those of most files are turned onto their grid, where that is exact.
    """
    opened = OpenedCase()
    for path in case.files:
        try:
            content = _read(path, opened)
            if path == case.segmentation:
                _open_labels(path, content, edition, opened)
            else:
                _open_images(path, content, case, edition, opened)
        except InputError as error:
            opened.problems.append(str(error))
    _turn_axes(opened, case)
    _clear_backgrounds(opened)
    _leave_out_absent(opened, case)
    opened.problems += _value_problems(case, opened.values)
    opened.warnings += same_image_warnings(opened.values, case.images)
    return opened


def open_labels_only(case: RawCase, edition: Edition) -> OpenedCase:
    """Read the label map of a case, if any; of its images, read the bytes and unpack none.

    Raises:
        InputError: a file cannot be read.
    """
    opened = OpenedCase()
    for path in case.files:
        content = _read(path, opened)
        if path == case.segmentation:
            _open_labels(path, content, edition, opened)
    return opened


def _read(path: Path, opened: OpenedCase) -> bytes:
    """Return the bytes of a file, and keep what tells it from others."""
    content, identity = read_with_identity(path)
    opened.sources[path] = SourceFile(path, identity, is_gzip(content))
    return content


def _open_labels(path: Path, content: bytes, edition: Edition, opened: OpenedCase) -> None:
    opened.grids[path], opened.labels = read_labels(path, content)
    opened.counts = label_counts(opened.labels, edition)
    opened.problems += unknown_labels(path, opened.labels, opened.counts, edition)
    _keep_notes(path, opened)


def _open_images(path: Path, content: bytes, case: RawCase, edition: Edition, opened: OpenedCase) -> None:
    channels = read_channels(path, case, edition, content)
    opened.grids[path] = next(iter(channels.values()))
    opened.images |= channels
    opened.values |= {name: sitk.GetArrayViewFromImage(image) for name, image in channels.items()}
    _keep_notes(path, opened)


def _keep_notes(path: Path, opened: OpenedCase) -> None:
    if notes := notes_of(opened.grids[path]):
        opened.noted[path] = notes


def read_channels(path: Path, case: RawCase, edition: Edition, content: bytes | None = None) -> dict[str, sitk.Image]:
    """Read one image file of a case and return the 3-D image of every channel that it holds.

    Args:
        path: of the file.
        case: whose file it is.
        edition: of the case.
        content: the bytes of the file, where they have been read already.

    Raises:
        InputError: it cannot be read, or has not the dimensions that the edition's files have.
    """
    image = read_image(path, content)
    channels = [channel for channel, file in case.images.items() if file == path]
    n_dimensions = 4 if edition.volumes else 3
    if image.GetDimension() != n_dimensions:
        advice = "expected all channels in one 4-D file" if edition.volumes else "give one 3-D file a modality"
        msg = f"{path}: has {image.GetDimension()} dimensions instead of {n_dimensions}; {advice}"
        raise InputError(msg)
    if not edition.volumes:
        return dict.fromkeys(channels, image)
    if image.GetSize()[3] != len(edition.volumes):
        msg = f"{path}: has {image.GetSize()[3]} volumes; expected {', '.join(edition.volumes)} in this order"
        raise InputError(msg)
    volumes = {channel: image[:, :, :, edition.volumes[channel]] for channel in channels}
    for note in notes_of(image):
        for volume in volumes.values():
            add_note(volume, note)
    return volumes


def compare_grids(grids: Mapping[Path, sitk.Image], *, voxels_only: bool = False) -> GridComparison:
    """Compare the voxel grids of a case's files, of which there is at least one, with the one that most of them have.

    Args:
        grids: one 3-D image a file.
        voxels_only: compare size and spacing alone.
    """
    placeless = _placeless(grids)
    reference = reference_of(grids, voxels_only=voxels_only)
    differences = [
        f"{path}: {found} as in {reference.name}; co-register all images of the case on one grid"
        for path in grids
        if (found := _difference(grids, path, reference, placeless, voxels_only=voxels_only))
    ]
    spacing = grids[reference].GetSpacing()
    misplaced = {
        path: f"spacing {shortened(grids[path].GetSpacing())}"
        for path in grids
        if not np.allclose(grids[path].GetSpacing(), spacing)
    }
    misplaced |= dict.fromkeys(placeless, "neither qform nor sform")
    return GridComparison(grids[reference], differences, misplaced)


def reference_of(grids: Mapping[Path, sitk.Image], *, voxels_only: bool = False) -> Path:
    """Return the first file of the grid that most files have; one that says where it lies, if any does."""
    placeless = _placeless(grids)

    def n_alike(path: Path) -> int:
        return sum(not _difference(grids, other, path, placeless, voxels_only=voxels_only) for other in grids)

    return max((path for path in grids if path not in placeless), key=n_alike)


def _placeless(grids: Mapping[Path, sitk.Image]) -> frozenset[Path]:
    """Return the files that do not say where they lie, unless none does: then they all lie in the same nowhere."""
    placeless = frozenset(path for path, grid in grids.items() if not has_place(grid))
    return frozenset() if placeless == set(grids) else placeless


def _difference(
    grids: Mapping[Path, sitk.Image], path: Path, other: Path, placeless: frozenset[Path], *, voxels_only: bool
) -> str | None:
    only_voxels = voxels_only or bool({path, other} & placeless)
    return geometry_difference(grids[path], grids[other], voxels_only=only_voxels)


def _turn_axes(opened: OpenedCase, case: RawCase) -> None:
    """Turn each file that lies in the place of the others, and whose axes are stored in another way."""
    if not opened.grids:
        return
    reference = opened.grids[reference_of(opened.grids)]
    for path, grid in opened.grids.items():
        is_turned = has_place(grid) and geometry_difference(grid, reference)
        turned = turned_onto(grid, reference) if is_turned else None
        if turned is None:
            continue
        if forms := contradictory_forms(unpacked(read_bytes(path))):
            opened.problems.append(
                f"{path}: its sform says that its axes are {forms[0]}, and its qform {forms[1]}, so one of them is "
                "wrong and the voxels could be mirrored: make both alike, with the one that fits the other images"
            )
            continue
        opened.turned[path] = f"axes stored as {orientation(grid)} instead of {orientation(reference)}"
        opened.grids[path] = turned
        if path == case.segmentation:
            opened.labels = label_values(turned, path)
        for name in [name for name in opened.images if case.images[name] == path]:
            opened.images[name] = turned_onto(opened.images[name], reference)
            opened.values[name] = sitk.GetArrayViewFromImage(opened.images[name])


def _clear_backgrounds(opened: OpenedCase) -> None:
    for channel, values in opened.values.items():
        fill = background_fill(values)
        if fill is not None:
            opened.fills[channel] = fill
    opened.values |= {channel: without_fill(opened.values[channel], fill) for channel, fill in opened.fills.items()}


def _leave_out_absent(opened: OpenedCase, case: RawCase) -> None:
    """Drop images of zeros that stand for absent channels; at least one other image must be there."""
    zero = [name for name in case.optional if name in opened.values and is_empty(opened.values[name])]
    if zero and len(zero) == len(opened.values):
        opened.problems.append(f"{case.folder}: all images of case {case.case_id} are zero everywhere; {_LOST}")
    for name in zero:
        del opened.values[name]
    opened.absent = tuple(name for name in case.optional if name in zero or name not in case.images)


def _value_problems(case: RawCase, values: Mapping[str, Values]) -> list[str]:
    """Name the images that hold nothing, or values that the header's scale makes infinite."""
    empty = [channel for channel in values if is_empty(values[channel])]
    floats = [channel for channel in values if np.issubdtype(values[channel].dtype, np.floating)]
    infinite = [channel for channel in floats if not np.isfinite([values[channel].min(), values[channel].max()]).all()]
    return [
        *(f"{case.images[channel]}: {channel} is zero everywhere; {_LOST}" for channel in empty),
        *(f"{case.images[channel]}: {channel} has infinite values; {_SCALE}" for channel in infinite),
    ]
