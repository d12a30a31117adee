"""`cluster`: an executor on a Dask cluster (an extra), so that work goes on any machine that Dask reaches.

Dask brings the scheduler, the workers and the dashboard.  If a worker is lost, Dask gives its work to another one; so pieces of
work may run twice, and must be functions of their arguments alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from typing import TYPE_CHECKING, Any, Final

from coalloc._imports import needs_extra
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.experiments.sweeps import Load

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

__all__ = ["DaskExecutor", "cluster"]

_SECONDS: Final = 20
"""How long a scheduler may take to answer."""


class _Call(Future[Any]):
    """A call on a worker.

    Dask's own adapter takes a result for an error where the worker that had it is lost at this moment; here the result is asked
    for again, which waits until another worker has made it.
    """

    def __init__(self, task: DaskFuture[Any]) -> None:
        super().__init__()
        self._task = task
        task.add_done_callback(self._finish)

    def _finish(self, task: DaskFuture[Any]) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(task.result())
        except BaseException as error:
            self.set_exception(error)

    def cancel(self) -> bool:
        """Cancel the call, unless it is done."""
        cancelled = super().cancel()
        if cancelled:
            self._task.cancel()
        return cancelled


class DaskExecutor(Executor):
    """Run calls on the workers of a Dask client; a program is sent to the workers once.

    Args:
        client: A client of Dask; whoever made it closes it.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._sent: dict[str, Any] = {}
        self._running: set[_Call] = set()

    @property
    def dashboard(self) -> str:
        """The address of Dask's dashboard; empty if there is none."""
        return str(self.client.dashboard_link or "")

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Run a call on some worker."""
        sent = [self._on_workers(argument) if isinstance(argument, Load) else argument for argument in args]
        call = _Call(self.client.submit(fn, *sent, pure=False, **kwargs))
        self._running.add(call)
        call.add_done_callback(self._running.discard)
        return call

    def _on_workers(self, load: Load) -> object:
        if load.digest not in self._sent:
            self._sent[load.digest] = self.client.scatter(load, broadcast=True, hash=False)
        return self._sent[load.digest]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget the programs on the workers; wait for what runs there, or cancel it."""
        running = list(self._running)
        for call in running if cancel_futures else ():
            call.cancel()
        wait_for(running if wait else ())
        self._sent.clear()


@contextlib.contextmanager
def cluster(where: str) -> Iterator[DaskExecutor]:
    """Yield an executor on a Dask cluster.

    Args:
        where: The address of a scheduler, such as ``tcp://host:8786``, or ``local:4`` for four processes on this machine, which
            end with the block.

    Raises:
        InvalidRequestError: If it is neither.
        MissingExtraError: If Dask is not installed.
        CoallocError: If no scheduler answers, or it has no worker.
    """
    local = re.fullmatch(r"local:(\d{1,4})", where)
    if (local is None or not int(local[1])) and not re.fullmatch(r"(tcp|tls|ws|wss|inproc|ucx)://.+", where):
        raise InvalidRequestError(
            "--cluster", where, "must be the address of a scheduler such as tcp://host:8786, or local:4"
        )
    with needs_extra("cluster"):
        import dask
        from distributed import Client, LocalCluster
    with contextlib.ExitStack() as stack:
        # The kit runs allocators in child processes, which daemons may not have.  Dask's profiler looks at every worker a
        # hundred times a second; without it a sweep takes less time.
        stack.enter_context(
            dask.config.set({"distributed.worker.daemon": False, "distributed.worker.profile.enabled": False})
        )
        try:
            if local is not None:
                workers = stack.enter_context(
                    LocalCluster(n_workers=int(local[1]), threads_per_worker=1, dashboard_address=":0", silence_logs=50)
                )
                client = stack.enter_context(Client(workers, timeout=_SECONDS))
            else:
                client = stack.enter_context(Client(where, timeout=_SECONDS))
                client.wait_for_workers(1, timeout=_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise CoallocError(f"no cluster at {where}: {error}") from error
        executor = DaskExecutor(client)
        stack.callback(executor.shutdown, cancel_futures=True)
        yield executor
