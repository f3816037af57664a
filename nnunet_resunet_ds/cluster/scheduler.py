"""Connect to a Dask scheduler, check its workers, and turn its errors into ours."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster
from distributed import TimeoutError as NoAnswerError
from distributed.cfexecutor import ClientExecutor
from distributed.scheduler import KilledWorker

from nnunet_resunet_ds.base.errors import InputError, SchedulerLostError, WorkerDiedError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.cluster.worker_checks import check_paths, check_resources, check_versions

LOCAL = re.compile(r"local:([1-9]\d*)")
"""Starts that many processes here instead."""
_ADDRESS = re.compile(r"[a-z]+://.+")
SECONDS_TO_ANSWER = 20
"""For a scheduler, and then for its first worker."""


@contextmanager
def connected(
    scheduler: str,
    *,
    reads: Iterable[Path] = (),
    writes: Iterable[Path] = (),
    resources: Mapping[str, float] | None = None,
    verbose: bool = False,
) -> "Iterator[ClusterExecutor]":
    """Connect to a Dask scheduler, look whether its workers can do the work, and yield them as one executor.

    Args:
        scheduler: ``tcp://HOST:8786``, or ``local:N`` to start one with N processes here, for as long as this lasts.
        reads: files and folders that every worker must see.
        writes: folders in which every worker must be able to write.
        resources: that a worker must offer for each task, by name.
        verbose: show here what workers log of each case.

    Raises:
        InputError: no scheduler answers, it has no worker, none that offers the resources, or one with other versions
            or that does not see the files.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said in our words
    with _client(scheduler) as client:
        check_resources(client, scheduler, resources or {})
        check_versions(client)
        check_paths(client, reads, writes)
        if verbose:
            client.forward_logging(LOG.name, logging.DEBUG)
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        LOG.info("%s: %d worker%s", scheduler, n_workers, "s" * (n_workers > 1))
        yield ClusterExecutor(client, scheduler, resources)


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    """Yield the client of a scheduler that has a worker."""
    local = LOCAL.fullmatch(scheduler)
    if local is None:
        with _remote_client(scheduler) as client:
            yield client
        return
    n = int(local[1])
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=n, threads_per_worker=1, **quiet) as cluster, Client(cluster) as client:
        yield client


def _remote_client(scheduler: str) -> Client:
    if not _ADDRESS.fullmatch(scheduler):
        msg = f"--scheduler {scheduler}: is no address such as tcp://HOST:8786, nor local:N"
        raise InputError(msg)
    try:
        client = Client(scheduler, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError, NoAnswerError) as error:
        msg = f"--scheduler {scheduler}: no Dask scheduler answers there; start it with: dask scheduler"
        raise InputError(msg) from error
    try:
        client.wait_for_workers(1, timeout=SECONDS_TO_ANSWER)
    except NoAnswerError as error:
        client.close()
        msg = f"--scheduler {scheduler}: has no worker; start some, on any machine: dask worker {scheduler}"
        raise InputError(msg) from error
    return client


class ClusterExecutor(ClientExecutor):
    """Runs tasks on the workers of a client.

    Where a worker dies, Dask gives its task to another; one whose workers all died, four by default, raises
    `WorkerDiedError`. Without the scheduler every task raises `SchedulerLostError`.

    Args:
        client: connected.
        address: of the scheduler, for messages.
        resources: that a worker must offer for each task, by name, such as ``GPU=1``.
    """

    map = Executor.map  # Dask's own would raise its own errors

    def __init__(self, client: Client, address: str, resources: Mapping[str, float] | None = None) -> None:
        super().__init__(client, pure=False, resources=dict(resources or {}))
        self.client = client
        self.address = address

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 (as Executor's)
        """Have a worker call a function, by reference to its module, with arguments that are pickled."""
        theirs = super().submit(partial(task, *args, **kwargs))
        ours: Future[Any] = Future()
        ours.add_done_callback(lambda done: theirs.cancel() if done.cancelled() else None)
        theirs.add_done_callback(partial(self._settle, ours))
        return ours

    def _settle(self, ours: Future[Any], theirs: Future[Any]) -> None:
        if not ours.set_running_or_notify_cancel():
            return
        if theirs.cancelled():
            msg = f"the scheduler {self.address} is gone; start it again and run this again: finished cases are kept"
            ours.set_exception(SchedulerLostError(msg))
            return
        error = theirs.exception()
        if isinstance(error, KilledWorker):
            msg = "each worker that took it died; see the workers' logs, and whether their memory is enough"
            ours.set_exception(WorkerDiedError(msg))
        elif error is not None:
            ours.set_exception(error)
        else:
            ours.set_result(theirs.result())
