"""A Dask client as an executor that says in our words what becomes of workers and scheduler."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from distributed import Client
from distributed.cfexecutor import ClientExecutor
from distributed.scheduler import KilledWorker

from nnunet_resunet_ds.base.errors import SchedulerLostError, WorkerDiedError


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
