"""Write one case, and ``dataset.json``, in nnU-Net's raw format: link or copy a file where it is fit for it."""

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import SimpleITK as sitk

from dataset_conversion.editions import SEGMENTATION, Edition
from dataset_conversion.find_cases import RawCase
from dataset_conversion.inspect_case import CaseReport, inspect_labels_only
from dataset_conversion.intensity import without_fill
from dataset_conversion.read_case import SourceFile, has_changed, read_channels
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.files import (
    FILE_ENDING,
    identity_of,
    identity_of_content,
    is_same,
    link_or_copy,
    replacing,
    write_json,
)
from nnunet_resunet_ds.base.images import read_image, write_image
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, IDENTITY
from nnunet_resunet_ds.base.reader_space import turned_onto
from nnunet_resunet_ds.base.regions import Tissue, regions_class_order
from nnunet_resunet_ds.base.setting_checks import check_choice

LinkMode = Literal["hardlink", "symlink", "copy"]
"""What is done with image files that nnU-Net can take as they are."""
IMAGES_TRAINING, LABELS_TRAINING, IMAGES_TEST = FOLDERS = ("imagesTr", "labelsTr", "imagesTs")
"""nnU-Net's names."""
WRITTEN = "written"
"""Entry of a case in the manifest: role → identity of its file in the dataset."""
ABSENT = "absent"
"""Entry of a case in the manifest that lacks channels: their names. Images of zeros stand for them."""


def check_link_mode(link_mode: str) -> None:
    """Refuse anything but a `LinkMode`.

    Raises:
        InputError: with what was got and what is valid.
    """
    check_choice("the link mode of images", link_mode, get_args(LinkMode))


def write_case(
    case: RawCase, edition: Edition, dataset: Path, link_mode: LinkMode, report: CaseReport | None = None
) -> dict[str, Any]:
    """Place the images of a case and write its labels; a case without segmentation goes to ``imagesTs``.

    Args:
        case: complete and, as far as it was inspected, valid.
        edition: of its labels.
        dataset: the dataset folder; ``imagesTr``, ``labelsTr`` and ``imagesTs`` are there.
        link_mode: for images that nnU-Net can take as they are.
        report: of the inspection; None where there was none: then the images are taken as they are.

    Returns:
        What the manifest holds of the case: its source files and those of the dataset with size and SHA-256, absent
            channels, voxels of each tissue, what was repaired and what is odd.

    Raises:
        InputError: a file has changed since it was inspected, or cannot be read; or the label map has values of
            another edition.
    """
    report = report or inspect_labels_only(case, edition)
    files = {role: dataset / file for role, file in case_files(case, edition).items()}
    labels = report.label_file
    written: dict[str, Any] = {}
    if labels and case.segmentation:
        report.sources[case.segmentation].check_unchanged()
        written[SEGMENTATION] = _write_bytes(labels.content, files.pop(SEGMENTATION))
    written |= write_images(case, edition, report, files, link_mode)
    written |= write_zeros(case, edition, report, files)
    return {
        "images": {channel: report.sources[path].to_manifest() for channel, path in case.images.items()},
        "segmentation": report.sources[case.segmentation].to_manifest() if case.segmentation else None,
        WRITTEN: {role: written[role] for role in case_files(case, edition)},
        **({ABSENT: list(report.absent)} if report.absent else {}),
        "orientation": report.orientation,
        "voxels": report.voxels,
        "repairs": [*_repairs(case, edition, report), *(labels.repairs if labels else [])],
        "warnings": report.warnings,
    }


def _repairs(case: RawCase, edition: Edition, report: CaseReport) -> list[str]:
    """Return a line for each thing that is not as nnU-Net or the edition has it, and is corrected."""
    fixes = report.fixes
    repairs = [f"{path} was ignored, a copy is there" for path in case.ignored]
    for role, path in case.roles.items():
        repairs += [f"{other} was passed over for {path}" for other in case.superseded.get(role, ())]
        if path.name != edition.file_name(case.case_id, role):
            repairs.append(f"{path.name} was taken for {edition.file_name(case.case_id, role)}")
    for path in case.files:
        if not report.sources[path].is_gzip:
            repairs.append(f"{path.name} was not compressed")
        if path in fixes.misplaced:
            repairs.append(f"{path.name} had {fixes.misplaced[path]}; it got the geometry of the other files")
        repairs += fixes.noted.get(path, [])
        if path in fixes.turned:
            repairs.append(f"{path.name} had its {fixes.turned[path]}; it was turned onto the grid of the other files")
    repairs += [f"{channel} had a background of {fill:g}, which became 0" for channel, fill in fixes.fills.items()]
    return repairs


def write_images(
    case: RawCase, edition: Edition, report: CaseReport, destinations: Mapping[str, Path], link_mode: LinkMode
) -> dict[str, dict[str, Any]]:
    """Bring the images that a case has to their destinations.

    Args:
        case: whose images.
        edition: of the case.
        report: of the inspection.
        destinations: channel name → file to be made.
        link_mode: for files that are fit; a hard link that the file system refuses becomes a copy.

    Returns:
        Channel name → what `identity_of` returns of its new file.

    Raises:
        InputError: a file is not what it was when it was inspected.
    """
    fixes = report.fixes
    written: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(case.images.values()):
        source = report.sources[path]
        channels = [channel for channel in destinations if case.images.get(channel) == path]
        if not edition.volumes and fixes.is_fit(path) and not any(name in fixes.fills for name in channels):
            written |= {
                channel: _link_copy_or_compress(source, destinations[channel], link_mode) for channel in channels
            }
            continue
        images = read_channels(path, case, edition, source.read_again())
        geometry = images[channels[0]] if fixes.has_own_grid(path) else read_geometry(case, edition, report)
        for channel in channels:
            image = turned_as_found(images[channel], geometry, path) if path in fixes.turned else images[channel]
            write_image(_corrected(image, geometry, fixes.fills.get(channel)), destinations[channel])
            written[channel] = identity_of(destinations[channel])
    return written


def write_zeros(
    case: RawCase, edition: Edition, report: CaseReport, destinations: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """Write an image of zeros for each channel that has no file, on the grid of the other images.

    Args:
        case: which may lack these channels.
        edition: of the case.
        report: of the inspection.
        destinations: channel name → file to be made.

    Returns:
        Channel name → what `identity_of` returns of its new file.

    Raises:
        InputError: the file that the grid is read from is not what it was when it was inspected.
    """
    lacking = [channel for channel in destinations if channel not in case.images]
    if not lacking:
        return {}
    geometry = read_geometry(case, edition, report)
    zeros = sitk.Image(geometry.GetSize(), sitk.sitkUInt8)
    zeros.CopyInformation(geometry)
    for channel in lacking:
        write_image(zeros, destinations[channel])
    return {channel: identity_of(destinations[channel]) for channel in lacking}


def read_geometry(case: RawCase, edition: Edition, report: CaseReport) -> sitk.Image:
    """Read a 3-D image of the case that lies on its grid and says so.

    Raises:
        InputError: its file has changed since it was inspected.
    """
    path = next(path for path in case.files if report.fixes.has_own_grid(path))
    content = report.sources[path].read_again()
    if path == case.segmentation:
        return read_image(path, content)
    return next(iter(read_channels(path, case, edition, content).values()))


def turned_as_found(image: sitk.Image, geometry: sitk.Image, path: Path) -> sitk.Image:
    """Turn an image of a file that the inspection found to be turned.

    Raises:
        InputError: it is so no more.
    """
    turned = turned_onto(image, geometry)
    if turned is None:
        raise has_changed(path)
    return turned


def _corrected(image: sitk.Image, geometry: sitk.Image, fill: float | None) -> sitk.Image:
    values = sitk.GetArrayViewFromImage(image)
    changed = sitk.GetImageFromArray(values if fill is None else without_fill(values, fill))
    changed.CopyInformation(geometry)
    return changed


def _link_copy_or_compress(source: SourceFile, destination: Path, link_mode: LinkMode) -> dict[str, Any]:
    """Link, copy or compress a file; return what `identity_of` returns of the new one, without reading that."""
    if not source.is_gzip:
        packed = gzip.compress(source.read_again(), compresslevel=6, mtime=0)
        return _write_bytes(packed, destination)
    if not source.path.exists():
        raise has_changed(source.path)
    with replacing(destination) as temporary:
        if link_mode == "symlink":
            temporary.symlink_to(source.path.resolve())
        elif link_mode == "copy":
            shutil.copyfile(source.path, temporary)
        else:
            link_or_copy(source.path, temporary)
        source.check_unchanged()
    return {**source.identity, "modified_ns": destination.stat().st_mtime_ns}


def _write_bytes(content: bytes, destination: Path) -> dict[str, Any]:
    """Write a file, atomically; return what `identity_of` returns of it."""
    with replacing(destination) as temporary:
        temporary.write_bytes(content)
    LOG.debug("wrote %s", destination)
    return identity_of_content(content, destination.stat())


def case_files(case: RawCase, edition: Edition) -> dict[str, Path]:
    """Return where the channels of a case go and its segmentation, if any, relative to the dataset."""
    folder = Path(IMAGES_TRAINING if case.segmentation else IMAGES_TEST)
    names = image_names(case.case_id, len(edition.channels))
    files = {channel: folder / name for channel, name in zip(edition.channels, names, strict=True)}
    if case.segmentation:
        files[SEGMENTATION] = Path(LABELS_TRAINING, label_name(case.case_id))
    return files


def is_written(case: RawCase, edition: Edition, dataset: Path, entry: Mapping[str, Any]) -> bool:
    """Tell whether every file of a case is in a dataset as it was written.

    Args:
        case: of the dataset.
        edition: of the case.
        dataset: its folder.
        entry: what `write_case` returned; where an earlier version did, files of any content count.
    """
    files = {role: dataset / file for role, file in case_files(case, edition).items()}
    written = entry.get(WRITTEN)
    if written is None:
        return all(file.is_file() for file in files.values())
    return isinstance(written, dict) and all(is_same(written.get(role), file) for role, file in files.items())


def image_names(case_id: str, n_channels: int) -> list[str]:
    """Return nnU-Net's file names of a case's channels, in their order."""
    return [f"{case_id}_{index:04d}{FILE_ENDING}" for index in range(n_channels)]


def label_name(case_id: str) -> str:
    """Return nnU-Net's file name of a case's label map."""
    return f"{case_id}{FILE_ENDING}"


def write_dataset_json(dataset: Path, edition: Edition, n_training: int, identity: str | None = None) -> None:
    """Write nnU-Net's ``dataset.json`` with the edition's channels and regions.

    The regions are WT, TC and ET (decision D5) with the further ones of the edition, or GTV.

    Args:
        dataset: the folder to write it to.
        edition: of the cases.
        n_training: number of training cases.
        identity: of the training cases; nnU-Net copies it to the preprocessed dataset and to the models.
    """
    labels: dict[str, int | list[int]] = {"background": int(Tissue.BACKGROUND)}
    labels |= {region.long_name: [int(tissue) for tissue in region.tissues] for region in edition.regions}
    if len(labels) == 2:  # nnU-Net takes a label as a region only where one lists two values
        labels |= {region.long_name: [int(region.tissues[0])] * 2 for region in edition.regions}
    content = {
        "channel_names": {str(channel): name for channel, name in enumerate(edition.channels)},
        "labels": labels,
        "regions_class_order": list(regions_class_order(edition.regions)),
        "numTraining": n_training,
        "file_ending": FILE_ENDING,
        "description": f"{edition.title}, converted by nnunet-resunet-ds {__version__}",
        **({IDENTITY: identity} if identity else {}),
    }
    write_json(content, dataset / DATASET_JSON)
