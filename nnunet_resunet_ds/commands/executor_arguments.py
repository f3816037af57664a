"""Who works on the cases of a command: threads here, or the workers of a Dask scheduler."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError


def add_executor_arguments(parser: argparse.ArgumentParser, *, takes_threads: bool = True) -> None:
    """Add the arguments that say who works.

    Args:
        parser: of the subcommand.
        takes_threads: whether the number of cases at a time in this process can be chosen.
    """
    who = parser.add_mutually_exclusive_group()
    if takes_threads:
        who.add_argument("-np", dest="n_threads", type=int, metavar="N", help="cases at a time (default: all cores)")
    who.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="have the workers of a Dask scheduler do it, tcp://HOST:8786, or local:N to start N processes here; see "
        "docs/cluster.md",
    )


def with_absolute_paths(options: argparse.Namespace) -> argparse.Namespace:
    """Return options that mean the same in the working folder of any worker."""
    return argparse.Namespace(**{name: _absolute(value) for name, value in vars(options).items()})


def _absolute(value: Any) -> Any:  # noqa: ANN401 (whatever argparse makes)
    if isinstance(value, list):
        return [_absolute(entry) for entry in value]
    return value.absolute() if isinstance(value, Path) else value


@contextmanager
def chosen_executor(
    options: argparse.Namespace, reads: Iterable[Path], writes: Iterable[Path] = ()
) -> Iterator[Executor | None]:
    """Yield who was chosen to work; None where nobody was: then the function called has its own way.

    Args:
        options: of the subcommand.
        reads: files and folders that every worker must see.
        writes: folders in which every worker must be able to write, or those above them.

    Raises:
        InputError: a number of threads that is none, no such scheduler, or workers that cannot do the work.
    """
    if options.scheduler:
        with connected_or_refused(options, reads, writes) as executor:
            yield executor
    elif getattr(options, "n_threads", None) is not None:
        from nnunet_resunet_ds.base.parallel import threads

        with threads(options.n_threads) as executor:
            yield executor
    else:
        yield None


def connected_or_refused(
    options: argparse.Namespace,
    reads: Iterable[Path],
    writes: Iterable[Path],
    resources: Mapping[str, float] | None = None,
) -> AbstractContextManager[Executor]:
    """Return `nnunet_resunet_ds.cluster.connected` for the scheduler that was given.

    Raises:
        InputError: Dask is not installed.
    """
    try:
        from nnunet_resunet_ds.cluster import connected
    except ModuleNotFoundError as error:
        msg = "--scheduler needs Dask, which is not installed: pip install 'nnunet-resunet-ds[cluster]'"
        raise InputError(msg) from error
    return connected(options.scheduler, reads=reads, writes=writes, resources=resources, verbose=options.verbose)
