"""Read and write the probabilities that nnU-Net and our ``predict`` save next to a label map."""

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.files import read_json, replacing
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.base.nnunet_properties import PROPERTIES_ENDING, read_properties
from nnunet_resunet_ds.base.npz import DamagedError, read_arrays
from nnunet_resunet_ds.base.reader_space import (
    SIMPLE_ITK,
    Turn,
    reader_properties,
    turn_of_properties,
    turn_of_reader,
)
from nnunet_resunet_ds.base.regions import REGIONS, Region

PROBABILITIES_KEY = "probabilities"
"""Of nnU-Net's .npz files; axes (R, Z, Y, X) as the model's reader gives them."""
PROBABILITIES_ENDING = ".npz"
_FAST_COMPRESSION = 1
"""A third of the time of the usual 6, for a tenth more bytes."""
_READER = "image_reader_writer"
"""Of plans.json."""


def probabilities_on_grid(path: Path, grid: sitk.Image, plans_folder: Path | None = None) -> NDArray[np.floating]:
    """Read region probabilities (R, Z, Y, X) on the voxels of an image of the case, as SimpleITK reads it.

    How the model's reader had turned the axes is taken from the ``.pkl`` next to the file, else from ``plans.json``;
    where neither is there, they are taken to be as stored, as nnU-Net's usual reader leaves them.

    Args:
        path: the ``.npz``.
        grid: of an image of the case.
        plans_folder: where ``plans.json`` is; None is the folder of the file.

    Raises:
        InputError: the file is damaged, or of an image of another size.
    """
    probabilities = read_probabilities(path)
    if probabilities.ndim != 4:
        msg = f"{path}: probabilities must be (R, Z, Y, X); got shape {probabilities.shape}; predict this case again"
        raise InputError(msg)
    turned = _turn(path, grid, plans_folder or path.parent).to_file(probabilities)
    shape = grid.GetSize()[::-1]
    if turned.shape[1:] != shape:
        msg = (
            f"{path}: has shape {turned.shape[1:]} on the axes of its image, which has {shape}; is it of another "
            "image? Predict this case again"
        )
        raise InputError(msg)
    return np.ascontiguousarray(turned)


def read_probabilities(path: Path) -> NDArray[np.floating]:
    """Read the region probabilities (R, Z, Y, X) that nnU-Net saved, on the axes that the model's reader gave.

    Raises:
        InputError: the file is damaged, or holds no floating-point array under ``probabilities``.
    """
    try:
        probabilities: NDArray[np.floating] = read_arrays(path, [PROBABILITIES_KEY])[0]
    except KeyError as error:
        msg = f"{path}: has no array {PROBABILITIES_KEY!r}; predict with nnUNetv2_predict --save_probabilities"
        raise InputError(msg) from error
    except DamagedError as error:
        msg = f"{path}: damaged ({error}); predict this case again"
        raise InputError(msg) from error
    if not np.issubdtype(probabilities.dtype, np.floating):
        msg = f"{path}: probabilities must be floating-point; got {probabilities.dtype}"
        raise InputError(msg)
    return probabilities


def write_probabilities(probabilities: NDArray[np.floating], path: Path) -> None:
    """Write region probabilities (R, Z, Y, X) as nnU-Net does, on the axes that the reader of their images gives."""
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST_COMPRESSION) as archive,
        archive.open(f"{PROBABILITIES_KEY}.npy", "w", force_zip64=True) as stream,
    ):
        np.lib.format.write_array(stream, np.ascontiguousarray(probabilities), allow_pickle=False)


def files_of_probabilities(folder: Path, case: str) -> tuple[Path, Path]:
    """Return where the probabilities of a case are, and the properties that nnU-Net's commands read with them."""
    return folder / f"{case}{PROBABILITIES_ENDING}", folder / f"{case}{PROPERTIES_ENDING}"


def save_with_properties(
    folder: Path,
    case: str,
    probabilities: NDArray[np.floating],
    grid: sitk.Image,
    reader: str = SIMPLE_ITK,
    properties: Mapping[str, Any] | None = None,
) -> None:
    """Write probabilities next to a label map, and the properties that nnU-Net's commands read with them.

    Args:
        folder: of the label map.
        case: its name.
        probabilities: (R, Z, Y, X) on the axes of the label map.
        grid: where they lie.
        reader: of nnU-Net, on whose axes they are written.
        properties: what else nnU-Net notes of the case.
    """
    stored, with_it = files_of_probabilities(folder, case)
    write_probabilities(turn_of_reader(reader, grid).to_reader(probabilities), stored)
    with replacing(with_it) as temporary:
        temporary.write_bytes(pickle.dumps({**(properties or {}), **reader_properties(reader, grid)}))


def remove_with_properties(folder: Path, case: str) -> None:
    """Remove the probabilities next to a label map, with the properties: they are not of a new one."""
    for file in files_of_probabilities(folder, case):
        file.unlink(missing_ok=True)


def _turn(path: Path, grid: sitk.Image, plans_folder: Path) -> Turn:
    properties = read_properties(path.with_suffix(PROPERTIES_ENDING))
    turn = None if properties is None else turn_of_properties(properties)
    if turn is not None:
        return turn
    plans = plans_folder / PLANS_JSON
    content = read_json(plans) if plans.is_file() else {}
    reader = content.get(_READER, SIMPLE_ITK) if isinstance(content, dict) else SIMPLE_ITK
    with said_of(plans):
        return turn_of_reader(reader, grid)


def mean_probabilities(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], regions: Sequence[Region] = REGIONS
) -> dict[str, float]:
    """Return the mean probability of each region over the voxels that have it; of a region without any, nothing.

    Args:
        labels: (Z, Y, X) in nnU-Net's values.
        probabilities: (R, Z, Y, X).
        regions: of the first outputs, in their order.
    """
    masks = {region.name: region.mask(labels) for region in regions}
    return {
        name: float(values[mask].mean(dtype=np.float64))
        for (name, mask), values in zip(masks.items(), probabilities, strict=False)
        if mask.any()
    }
