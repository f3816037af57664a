"""Work on many machines, through Dask; needs the extra ``cluster``, and a file system that all of them see."""

from nnunet_resunet_ds.cluster.connection import connected

__all__ = ["connected"]
