"""Write one case, and ``dataset.json``, in nnU-Net's raw format: link or copy a file where it is fit for it."""

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import SimpleITK as sitk

from dataset_conversion.edition import CHANNEL_NAMES, FILE_ENDING, SEGMENTATION, Edition
from dataset_conversion.inspection import CaseReport, Fixes
from dataset_conversion.intensity import without_fill
from dataset_conversion.labels import label_counts, nnunet_labels, tissue_voxels, unknown_labels
from dataset_conversion.opening import read_channels
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import identity_of, is_same, link_or_copy, replacing, write_json
from nnunet_resunet_ds.base.images import label_values, notes_of, read_image, read_labels, write_image, write_labels
from nnunet_resunet_ds.base.nifti_check import is_gzip_file, unreadable
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, IDENTITY
from nnunet_resunet_ds.base.reader_space import turned_onto
from nnunet_resunet_ds.base.regions import Tissue, regions_class_order
from nnunet_resunet_ds.base.setting_checks import check_choice

Placement = Literal["hardlink", "symlink", "copy"]
"""What is done with image files that nnU-Net can take as they are."""


def check_placement(placement: str) -> None:
    """Refuse anything but a `Placement`.

    Raises:
        InputError: with what was got and what is valid.
    """
    check_choice("the placement of images", placement, get_args(Placement))


def place_images(
    case: RawCase, edition: Edition, fixes: Fixes, destinations: Mapping[str, Path], placement: Placement
) -> None:
    """Bring the images of a complete case to their destinations.

    Args:
        case: whose images.
        edition: of the case.
        fixes: what must be mended.
        destinations: channel name → file to be made.
        placement: of files that are fit; a hard link that the file system refuses becomes a copy.
    """
    for path in dict.fromkeys(case.images.values()):
        channels = [channel for channel in destinations if case.images[channel] == path]
        if not edition.volumes and fixes.is_fit(path) and not any(name in fixes.fills for name in channels):
            for channel in channels:
                _place(path, destinations[channel], placement)
            continue
        images = read_channels(path, case, edition)
        geometry = images[channels[0]] if fixes.has_own_grid(path) else read_geometry(case, edition, fixes)
        for channel in channels:
            image = turned_as_found(images[channel], geometry, path) if path in fixes.turned else images[channel]
            write_image(_mended(image, geometry, fixes.fills.get(channel)), destinations[channel])


def read_geometry(case: RawCase, edition: Edition, fixes: Fixes) -> sitk.Image:
    """Read a 3-D image of the case that lies on its grid and says so."""
    path = next(path for path in case.files if fixes.has_own_grid(path))
    if path == case.segmentation:
        return read_image(path)
    return next(iter(read_channels(path, case, edition).values()))


def turned_as_found(image: sitk.Image, geometry: sitk.Image, path: Path) -> sitk.Image:
    """Turn an image of a file that the inspection found to be turned.

    Raises:
        InputError: it is so no more.
    """
    turned = turned_onto(image, geometry)
    if turned is None:
        msg = f"{path}: has changed since it was checked; convert again"
        raise InputError(msg)
    return turned


def _mended(image: sitk.Image, geometry: sitk.Image, fill: float | None) -> sitk.Image:
    values = sitk.GetArrayViewFromImage(image)
    mended = sitk.GetImageFromArray(values if fill is None else without_fill(values, fill))
    mended.CopyInformation(geometry)
    return mended


def _place(source: Path, destination: Path, placement: Placement) -> None:
    with replacing(destination) as temporary:
        if not is_gzip_file(source):
            temporary.write_bytes(gzip.compress(source.read_bytes(), compresslevel=6, mtime=0))
        elif placement == "symlink":
            temporary.symlink_to(source.resolve())
        elif placement == "copy":
            shutil.copyfile(source, temporary)
        else:
            link_or_copy(source, temporary)


IMAGES_TRAINING, LABELS_TRAINING, IMAGES_TEST = FOLDERS = ("imagesTr", "labelsTr", "imagesTs")
"""nnU-Net's names."""
WRITTEN = "written"
"""Entry of a case in the manifest: role → identity of its file in the dataset."""


def write_case(
    case: RawCase, edition: Edition, dataset: Path, placement: Placement, report: CaseReport | None = None
) -> dict[str, Any]:
    """Place the images of a case and write its labels; a case without segmentation goes to ``imagesTs``.

    Args:
        case: complete and, as far as it was inspected, valid.
        edition: of its labels.
        dataset: the dataset folder; ``imagesTr``, ``labelsTr`` and ``imagesTs`` are there.
        placement: of images that nnU-Net can take as they are.
        report: of the inspection; None where there was none: then nothing is known to be mended.

    Returns:
        What the manifest holds of the case: its source files and those of the dataset with size and SHA-256, voxels of
            each tissue, what was repaired and what is odd.

    Raises:
        InputError: the label map, or an image that must be rewritten, cannot be read or has values of another edition.
    """
    report = report or CaseReport()
    sources = {path: _source(path) for path in case.files}  # before anything else, so that a later change is noticed
    destinations = {role: dataset / file for role, file in case_files(case).items()}
    repairs = _repairs(case, edition, report.fixes)
    voxels: dict[str, int] = {}
    if case.segmentation:
        label_file = destinations.pop(SEGMENTATION)
        voxels, notes = _write_labels(case, case.segmentation, edition, report.fixes, label_file)
        repairs += notes
    place_images(case, edition, report.fixes, destinations, placement)
    images = {channel: sources[path] for channel, path in case.images.items()}
    return {
        "images": images,
        "segmentation": sources[case.segmentation] if case.segmentation else None,
        WRITTEN: {role: _written(dataset / file, images.get(role)) for role, file in case_files(case).items()},
        "voxels": voxels,
        "repairs": repairs,
        "warnings": report.warnings,
    }


def _write_labels(
    case: RawCase, path: Path, edition: Edition, fixes: Fixes, destination: Path
) -> tuple[dict[str, int], list[str]]:
    """Translate a label map; return its census and what was repaired."""
    image, values = read_labels(path)
    counts = label_counts(values, edition)
    unknown = unknown_labels(path, values, counts, edition)
    if unknown:
        raise InputError(*unknown)
    geometry = image if fixes.has_own_grid(path) else read_geometry(case, edition, fixes)
    if path in fixes.turned:
        values = label_values(turned_as_found(image, geometry, path), path)
    write_labels(nnunet_labels(values, edition.tissues), geometry, destination)
    stored_type = image.GetPixelIDTypeAsString()
    repairs = [f"{path.name} held labels as {stored_type}"] if "float" in stored_type else []
    return tissue_voxels(counts, edition), [*repairs, *notes_of(image)]


def case_files(case: RawCase) -> dict[str, Path]:
    """Return where the channels of a case go and its segmentation, if any, relative to the dataset."""
    folder = Path(IMAGES_TRAINING if case.segmentation else IMAGES_TEST)
    files = {name: folder / file for name, file in zip(CHANNEL_NAMES, image_names(case.case_id), strict=True)}
    if case.segmentation:
        files[SEGMENTATION] = Path(LABELS_TRAINING, label_name(case.case_id))
    return files


def is_written(case: RawCase, dataset: Path, entry: Mapping[str, Any]) -> bool:
    """Tell whether every file of a case is in a dataset as it was written.

    Args:
        case: of the dataset.
        dataset: its folder.
        entry: what `write_case` returned; where an earlier version did, files of any content count.
    """
    files = {role: dataset / file for role, file in case_files(case).items()}
    written = entry.get(WRITTEN)
    if written is None:
        return all(file.is_file() for file in files.values())
    return isinstance(written, dict) and all(is_same(written.get(role), file) for role, file in files.items())


def image_names(case_id: str) -> list[str]:
    """Return nnU-Net's file names of a case's channels, in their order."""
    return [f"{case_id}_{index:04d}{FILE_ENDING}" for index in range(len(CHANNEL_NAMES))]


def label_name(case_id: str) -> str:
    """Return nnU-Net's file name of a case's label map."""
    return f"{case_id}{FILE_ENDING}"


def write_dataset_json(dataset: Path, edition: Edition, n_training: int, identity: str | None = None) -> None:
    """Write nnU-Net's ``dataset.json`` with the edition's regions: WT, TC, ET (decision D5), and its further ones.

    Args:
        dataset: the folder to write it to.
        edition: of the cases.
        n_training: number of training cases.
        identity: of the training cases; nnU-Net copies it to the preprocessed dataset and to the models.
    """
    labels: dict[str, int | list[int]] = {"background": int(Tissue.BACKGROUND)}
    labels |= {region.long_name: [int(tissue) for tissue in region.tissues] for region in edition.regions}
    content = {
        "channel_names": {str(channel): name for channel, name in enumerate(CHANNEL_NAMES)},
        "labels": labels,
        "regions_class_order": list(regions_class_order(edition.regions)),
        "numTraining": n_training,
        "file_ending": FILE_ENDING,
        "description": f"{edition.title}, converted by nnunet-resunet-ds {__version__}",
        **({IDENTITY: identity} if identity else {}),
    }
    write_json(content, dataset / DATASET_JSON)


def _repairs(case: RawCase, edition: Edition, fixes: Fixes) -> list[str]:
    """Say what is not as nnU-Net or the edition has it, and was put right on the way."""
    roles: Mapping[str, Path | None] = {**case.images, SEGMENTATION: case.segmentation}
    repairs = [f"{path} was ignored, a copy is there" for path in case.ignored]
    for role, path in roles.items():
        if path and path.name != edition.file_name(case.case_id, role):
            repairs.append(f"{path.name} was taken for {edition.file_name(case.case_id, role)}")
    for path in case.files:
        if not is_gzip_file(path):
            repairs.append(f"{path.name} was not compressed")
        if path in fixes.misplaced:
            repairs.append(f"{path.name} had {fixes.misplaced[path]}; it got the geometry of the other files")
        repairs += fixes.noted.get(path, [])
        if path in fixes.turned:
            repairs.append(f"{path.name} had its {fixes.turned[path]}; it was turned onto the grid of the other files")
    repairs += [f"{channel} had a background of {fill:g}, which became 0" for channel, fill in fixes.fills.items()]
    return repairs


def _source(path: Path) -> dict[str, Any]:
    try:
        identity = identity_of(path)  # first, for resolving links that go in a circle raises RuntimeError
        return {"file": str(path.resolve()), **identity}
    except OSError as error:
        raise unreadable(path, error) from error


def _written(file: Path, source: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the identity of a file of the dataset; one that is a link to its source is not read again."""
    if source is not None and file.samefile(source["file"]):
        return {key: source[key] for key in ("bytes", "modified_ns", "sha256")}
    return identity_of(file)
