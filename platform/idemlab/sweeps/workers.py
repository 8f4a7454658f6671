"""Worker processes of a sweep. If one dies, another takes its job."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from ..catalog.catalog import Catalog
from ..errors import Failure, Interrupted
from ..system.heap import keep_freed_memory
from ..system.neighbours import own_cores
from ..system.threads import rest_while_waiting, shared_out
from ..wording import AGAIN, counted, plural
from .jobs import Job, Outcome, Passing
from .portable import portable

__all__ = ["Workers"]

_SPAWN = get_context("spawn")
_PATIENCE = 10
"""Number of workers that may die on the same trial before it counts as failed."""


@dataclass
class _Worker:
    """One worker.

    Args:
        process: the worker process.
        place: its number among the workers.
        ready: whether it has begun to listen.
        job: the job it runs.
        told: trials of that job that it has reported.
    """

    process: BaseProcess
    place: int
    ready: bool = False
    job: Job | None = None
    told: set[int] = field(default_factory=set)


class Workers:
    """Processes that run jobs side by side.

    Args:
        count: number of processes; each gets an equal share of the cores, or fewer threads if OMP_NUM_THREADS says so.
        stopped: polled; as soon as it returns True, the workers are stopped.
        say: called with each line of progress.
        catalog: sent to each worker, without the entries that cannot be sent.
        remark: called with each line that a run says at its start.

    Attributes:
        threads: of each process.
    """

    def __init__(
        self,
        count: int,
        stopped: Callable[[], bool],
        say: Callable[[str], None],
        catalog: Catalog,
        remark: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._count, self._stopped, self._say, self._remark = count, stopped, say, remark
        self._catalog = portable(catalog)
        self.threads = shared_out(len(own_cores()), count)
        self._running: dict[Connection, _Worker] = {}
        self._deaths: dict[int, int] = {}

    def __enter__(self) -> Self:
        for place in range(self._count):
            self._start(place)
        return self

    def __exit__(self, *_: object) -> None:
        for connection, worker in self._running.items():
            connection.close()
            worker.process.terminate()
        for process in self.processes:
            process.join(timeout=30)
            if process.is_alive():
                process.kill()

    @property
    def processes(self) -> list[BaseProcess]:
        """The processes that are alive now."""
        return [worker.process for worker in self._running.values()]

    def run(
        self,
        next_job: Callable[[int], Job | None],
        passing: Passing = lambda number, step, measured, verdict: False,
        waited_for: Callable[[], bool] = lambda: False,
    ) -> Iterator[Outcome]:
        """The outcome of each trial, as soon as it has ended.

        Args:
            next_job: gives the next job for the worker at a place; None if there is none now.
            passing: says whether to prune a running trial.
            waited_for: whether to wait although there is nothing to do now.

        Raises:
            Interrupted: if it was asked to stop.
        """
        again: list[Job] = []
        while True:
            for connection, worker in self._running.items():
                if worker.job is None:
                    worker.job, worker.told = again.pop() if again else next_job(worker.place), set()
                    if worker.job is not None:
                        self._send(connection, worker.job)
            if not any(worker.job for worker in self._running.values()) and not waited_for():
                return
            heard = set(wait(list(self._running), timeout=0.5))
            for connection in [each for each in self._running if each in heard]:
                yield from self._received(connection, passing, again)
            if self._stopped():
                raise Interrupted("stopped; finished trials are kept", next_step=AGAIN)

    def _start(self, place: int) -> None:
        rest_while_waiting()
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs, self.threads, self._catalog), daemon=True)
        process.start()
        theirs.close()
        self._running[ours] = _Worker(process, place)

    def _send(self, connection: Connection, content: Job | bool) -> None:
        try:
            connection.send(content)
        except OSError:
            return  # it has died: the next read from it notices

    def _received(self, connection: Connection, passing: Passing, again: list[Job]) -> Iterator[Outcome]:
        worker = self._running[connection]
        try:
            kind, content = connection.recv()
        except (EOFError, OSError):
            yield from self._bury(connection, again)
            return
        if kind == "ready":
            worker.ready = True
        elif kind == "say":
            self._say((worker.job.label if worker.job else "") + content)
        elif kind == "remark":
            self._remark(content)
        elif kind == "passing":
            self._send(connection, passing(*content))
        elif kind == "outcome":
            worker.told.add(content.number)
            yield content
        elif kind == "done":
            worker.job = None
        else:
            raise Failure(f"a worker process raised {content}", next_step="run it again with `jobs = 1`")

    def _bury(self, connection: Connection, again: list[Job]) -> Iterator[Outcome]:
        """Replace a dead worker, and put its unfinished trials back.

        Raises:
            Failure: if it ended by itself before it was ready, as every other worker would.
        """
        worker = self._running.pop(connection)
        connection.close()
        process, job = worker.process, worker.job
        process.join()
        if not worker.ready and (process.exitcode or 0) > 0:
            raise Failure(
                f"a worker process could not start (exit code {process.exitcode}); its own message is above",
                expected="in a script of your own, the call under: if __name__ == '__main__':",
                next_step="or use one process: `jobs = 1`",
            )
        left = [task for task in (job.tasks if job else []) if task.number not in worker.told]
        told = f"{counted(len(left), 'trial')} {plural(len(left), 'is', 'are')} run again"
        self._say(f"a worker process ended (exit code {process.exitcode}); {told}")
        rest = []
        for task in left:
            self._deaths[task.number] = (
                self._deaths.get(task.number, 0) + worker.ready
            )  # one that was not ready never got the trial
            if self._deaths[task.number] < _PATIENCE:
                rest.append(task)
            else:
                yield Outcome(
                    task.number, f"{_PATIENCE} worker processes died on this trial, exit code {process.exitcode}"
                )
        if job is not None and rest:
            again.append(replace(job, tasks=rest))
        self._start(worker.place)


def _serve(connection: Connection, threads: int, catalog: Catalog) -> None:
    """The worker's main loop: run the jobs that arrive until the parent has gone."""
    import torch

    from ..system.signals import stop_signals
    from .jobs import work

    torch.set_num_threads(threads)
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(kind: str, content: Any = None) -> None:
        connection.send((kind, content))

    def passing(*content: Any) -> bool:
        tell("passing", content)
        return bool(connection.recv())

    with stop_signals() as stopped:
        tell("ready")
        while True:
            try:
                job = connection.recv()
                say, remark = (partial(tell, kind) for kind in ("say", "remark"))
                for outcome in work(job, catalog, stopped, say, passing, remark):
                    tell("outcome", outcome)
                tell("done")
            except (EOFError, OSError, Interrupted, KeyboardInterrupt):
                return
            except Exception as error:
                tell("raised", f"{type(error).__name__}: {error}")
                return


def _end_with_parent() -> None:
    """End this worker as soon as its parent is gone, so that a resumed sweep meets no run that is still training."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
