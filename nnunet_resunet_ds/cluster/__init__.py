"""Run long commands, and work on many cases, on many machines: as jobs here, through Dask, or as a SLURM array.

`connected` needs the extra ``cluster``, and a file system that all machines see.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunet_resunet_ds.cluster.scheduler import connected

__all__ = ["connected"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
    """Import Dask when `connected` is asked for, and not before: jobs run without the extra."""
    if name == "connected":
        from nnunet_resunet_ds.cluster.scheduler import connected  # noqa: PLC0415

        return connected
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
