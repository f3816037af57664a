"""Read what nnU-Net's reader noted of the images of a case, without running code in it."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROPERTIES_ENDING = ".pkl"
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
