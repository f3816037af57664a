"""Read the probabilities that nnU-Net and our ``predict`` save, and check them against the label map of the case."""

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, replacing
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.base.npz import DamagedError, read_arrays
from nnunet_resunet_ds.base.reader_space import SIMPLE_ITK, Turn, turn_of_properties, turn_of_reader
from nnunet_resunet_ds.base.regions import REGIONS, Region
from nnunet_resunet_ds.base.run_file import Runs
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig

PROBABILITIES_KEY = "probabilities"
"""Of nnU-Net's .npz files; axes (R, Z, Y, X) as the model's reader gives them."""
PROBABILITIES, PROPERTIES = ".npz", ".pkl"
"""nnU-Net's endings of probabilities, and of what its reader noted of the images."""
_FAST_COMPRESSION = 1
"""A third of the time of the usual 6, for a tenth more bytes."""
_READER = "image_reader_writer"
"""Of plans.json."""
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
"""One module, before and since NumPy 2."""
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((module, name) for module in _MULTIARRAY for name in ("_reconstruct", "scalar")),
    *((module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")),
}
"""What pickled arrays and numbers of NumPy refer to; nothing of it runs code of the file."""
_AS_NNUNET = PostprocessingConfig.preset("nnunet")


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


def read_properties(path: Path) -> Mapping[str, Any] | None:
    """Read what nnU-Net pickled of a case, without running anything of it; None where that cannot be done."""
    try:
        properties = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except Exception:  # damaged bytes make pickle raise anything
        return None
    return properties if isinstance(properties, Mapping) else None


class _Unpickler(pickle.Unpickler):
    """Takes plain values and arrays of NumPy."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 (a class or a function)
        if (module, name) not in _HARMLESS:
            msg = f"{module}.{name} is not read from a file"
            raise pickle.UnpicklingError(msg)
        return super().find_class(module, name)


def _turn(path: Path, grid: sitk.Image, plans_folder: Path) -> Turn:
    properties = read_properties(path.with_suffix(PROPERTIES))
    turn = None if properties is None else turn_of_properties(properties)
    if turn is not None:
        return turn
    plans = plans_folder / PLANS_JSON
    content = read_json(plans) if plans.is_file() else {}
    reader = content.get(_READER, SIMPLE_ITK) if isinstance(content, dict) else SIMPLE_ITK
    try:
        return turn_of_reader(reader, grid)
    except InputError as error:
        msg = f"{plans}: {error}"
        raise InputError(msg) from error


def check_of_label_map(
    probabilities: NDArray[np.floating],
    file: Path,
    labels: NDArray[np.integer],
    runs: Runs | None,
    as_nnunet: PostprocessingConfig = _AS_NNUNET,
) -> None:
    """Refuse probabilities that are not of the label map next to them; earlier ones may be left there.

    They are of it where a run of ours wrote both. Else nnU-Net must have painted it from them.

    Args:
        probabilities: (R, Z, Y, X) on the grid of the label map.
        file: that they are from, ``CASE.npz``.
        labels: (Z, Y, X) of the label map, in nnU-Net's values.
        runs: what ``run.json`` next to them says; None where there is none.
        as_nnunet: see `check_painted`.

    Raises:
        InputError: they are of another prediction.
    """
    if runs is None or not runs.has_probabilities(file.name.removesuffix(PROBABILITIES)):
        check_painted(probabilities, file, labels, as_nnunet)


def check_painted(
    probabilities: NDArray[np.floating],
    file: Path,
    labels: NDArray[np.integer],
    as_nnunet: PostprocessingConfig = _AS_NNUNET,
) -> None:
    """Refuse probabilities that nnU-Net would have painted as another label map, such as those of another model.

    Args:
        probabilities: (R, Z, Y, X) on the grid of the label map.
        file: that they are from, for the message.
        labels: (Z, Y, X) of the label map that nnU-Net wrote, in its values.
        as_nnunet: what nnU-Net does for the regions of the model, see `postprocessing.model_config.nnunet_config`.

    Raises:
        InputError: they are of another prediction, or none.
    """
    try:
        differing = int((postprocess(probabilities, as_nnunet) != labels).sum())
    except InputError as error:
        msg = f"{file}: {error}"
        raise InputError(msg) from error
    if differing:
        msg = (
            f"{file}: is not of the label map next to it, which differs from it in {differing} voxels, so one of them "
            "is of another prediction; predict this case again, with probabilities"
        )
        raise InputError(msg)


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
