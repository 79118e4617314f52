"""Ends queries whose client is gone: from a thread of its own, so that no full pool and no cancelled task can prevent it."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from driftwheel.store.embedded.failure import Failure

log = logging.getLogger(__name__)

AGAIN_S = 0.05
"""A statement of several queries (types first, then the rows) may be between two of them: ask again until it has ended."""


class Gone(Exception):
    """Nobody waits for the answer any more."""


@dataclass(slots=True, eq=False)
class Job:
    """One request at work. *mark* is how its queries are known to the engine, *late* what its client is told when time is up."""

    mark: int = 0
    late: Failure | None = None
    gone: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises `Gone` once the client has hung up, and `Failure` once time is up: nothing new is to begin."""
        if self.gone.is_set():
            raise Gone
        if self.late:
            raise self.late


class Killer:
    """A thread that kills the queries of jobs until they are done. *kill* takes marks and may raise `Failure`."""

    def __init__(self, kill: Callable[[list[int]], None]) -> None:
        self._kill = kill
        self._jobs: set[Job] = set()
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-kill", daemon=True)
        self._thread.start()

    def end(self, job: Job, late: Failure | None = None) -> None:
        """Have *job* ended, because it is *late* or its client has gone; returns at once."""
        job.late = late
        if not late:
            job.gone.set()
        with self._change:
            self._jobs.add(job)
            self._change.notify()

    def close(self) -> None:
        """No more."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                self._jobs = {job for job in self._jobs if not job.done.is_set()}
                waiting = list(self._jobs)
            try:
                if marks := [job.mark for job in waiting if job.mark]:
                    self._kill(marks)
            except Failure as refused:
                log.warning("a query could not be killed, tried again: %s", refused)
            if waiting:
                waiting[0].done.wait(AGAIN_S)
