"""Writing one case, and the files that describe the dataset, in nnU-Net's raw format."""

import gzip
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.editions import CHANNEL_NAMES, FILE_ENDING, Edition
from dataset_conversion.scan import SEGMENTATION, RawCase
from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.files import replacing, write_json
from nnunet_resunet_ds.images import is_gzip, read_labels, write_labels
from nnunet_resunet_ds.regions import Tissue, regions_class_order

MANIFEST = "conversion.json"
IMAGES_TRAINING, LABELS_TRAINING, IMAGES_TEST = FOLDERS = ("imagesTr", "labelsTr", "imagesTs")
"""nnU-Net's names."""


def write_case(case: RawCase, edition: Edition, dataset: Path, *, copy: bool) -> dict[str, Any]:
    """Place the images of a case and write its labels; a case without segmentation goes to ``imagesTs``.

    Args:
        case: complete and valid.
        edition: of its labels.
        dataset: the dataset folder; ``imagesTr``, ``labelsTr`` and ``imagesTs`` are there.
        copy: copy the images instead of hard-linking them.

    Returns:
        What the manifest holds of the case: its source files with size and SHA-256, voxels of each tissue, and what was
            repaired.
    """
    census: dict[str, int] = {}
    images, label_file = case_files(case)
    for name, destination in zip(CHANNEL_NAMES, images, strict=True):
        _place(case.images[name], dataset / destination, copy=copy)
    if case.segmentation and label_file:
        geometry, values = read_labels(case.segmentation)
        labels = nnunet_labels(values, edition.tissues)
        write_labels(labels, geometry, dataset / label_file)
        census = {tissue.name: int((labels == tissue).sum()) for tissue in edition.tissues.values() if tissue}
    return {
        "images": {channel: _source(path) for channel, path in case.images.items()},
        "segmentation": _source(case.segmentation) if case.segmentation else None,
        "voxels": census,
        "repairs": _repairs(case, edition),
    }


def case_files(case: RawCase) -> tuple[list[Path], Path | None]:
    """Return where the images of a case go, in channel order, and its labels, relative to the dataset."""
    folder = Path(IMAGES_TRAINING if case.segmentation else IMAGES_TEST)
    images = [folder / f"{case.case_id}_{channel:04d}{FILE_ENDING}" for channel in range(len(CHANNEL_NAMES))]
    return images, Path(LABELS_TRAINING, f"{case.case_id}{FILE_ENDING}") if case.segmentation else None


def nnunet_labels(values: NDArray[np.integer], tissues: Mapping[int, Tissue]) -> NDArray[np.uint8]:
    """Translate raw label values (any shape) to nnU-Net's; every value must be a key of ``tissues``."""
    table = np.zeros(max(tissues) + 1, dtype=np.uint8)
    for raw, tissue in tissues.items():
        table[raw] = tissue
    labels: NDArray[np.uint8] = table[values]
    return labels


def write_dataset_json(dataset: Path, edition: Edition, n_training: int) -> None:
    """Write nnU-Net's ``dataset.json`` with the edition's regions: WT, TC, ET (decision D5), and what it has beside."""
    labels: dict[str, int | list[int]] = {"background": int(Tissue.BACKGROUND)}
    labels |= {region.long_name: [int(tissue) for tissue in region.tissues] for region in edition.regions}
    content = {
        "channel_names": {str(channel): name for channel, name in enumerate(CHANNEL_NAMES)},
        "labels": labels,
        "regions_class_order": list(regions_class_order(edition.regions)),
        "numTraining": n_training,
        "file_ending": FILE_ENDING,
        "description": f"{edition.title}, converted by nnunet-resunet-ds {__version__}",
    }
    write_json(content, dataset / "dataset.json")


def write_manifest(dataset: Path, edition: Edition, cases: Mapping[str, Any], *, copy: bool) -> None:
    """Write ``conversion.json``: which files each case was made of.

    Args:
        dataset: the dataset folder.
        edition: what the files were read as.
        cases: case id → what `write_case` returned.
        copy: whether images were copied.
    """
    options = {"edition": edition.key, "copy": copy}
    write_json({"version": __version__, **options, "cases": cases}, dataset / MANIFEST)


def _repairs(case: RawCase, edition: Edition) -> list[str]:
    """Say what is not as the edition has it, and was put right on the way."""
    repairs = []
    suffixes = {**edition.image_suffixes, SEGMENTATION: edition.segmentation_suffix}
    for role, path in {**case.images, SEGMENTATION: case.segmentation}.items():
        expected = f"{case.case_id}{suffixes[role]}{FILE_ENDING}"
        if path and path.name != expected:
            repairs.append(f"{path.name} was taken for {expected}")
        if path and not is_gzip(path):
            repairs.append(f"{path.name} was not compressed")
    return repairs


def _source(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"file": str(path.resolve()), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _place(source: Path, destination: Path, *, copy: bool) -> None:
    """Hard-link a file; copy it where asked or where linking is impossible (another disk); compress a plain one."""
    with replacing(destination) as temporary:
        if not is_gzip(source):
            temporary.write_bytes(gzip.compress(source.read_bytes(), compresslevel=6, mtime=0))
            return
        if not copy:
            try:
                os.link(source.resolve(), temporary)
            except OSError:
                copy = True
        if copy:
            shutil.copyfile(source, temporary)
