"""The one thread that writes: all steps that wait go into one transaction, and one flush of the disk serves all.

An answer is given after the commit, so what was answered is durable.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import DuctapeError, StoreUnavailable
from ..handoff import Job, answer, fail
from .database import OpenFile, identify, is_busy, prepare, unavailable
from .doorbell import Doorbell
from .steps import Transaction, set_doorbell

#: How long a step waits for the write lock of other processes, in seconds, from when it was queued.  It may begin one
#: more attempt of `BUSY_MS` then, and the refusal has to be with the client within a second.
PATIENCE = 0.8

_LOCKED = "another process kept the session store locked; try again"

Step = Callable[[Transaction], Any]


def _at(point: str) -> None:
    """Called at each point where a process may die between a step and its answer.  Tests die here."""


class Writer:
    """Runs batches of steps on its own connection.  Belongs to one thread."""

    def __init__(self, file: OpenFile, doorbell: Doorbell) -> None:
        self._file = file
        self._doorbell = doorbell

    def begin(self) -> None:
        """Open the file, and set the doorbell right.

        Raises:
            ConfigurationError, StoreUnavailable: see `prepare`.
        """
        prepare(self._file.path)
        care = Job[Step](set_doorbell, awaited=False)
        self.run([care])

    def end(self) -> None:
        self._file.close()

    def run(self, jobs: Sequence[Job[Step]]) -> None:
        """Do all `jobs` in one transaction; if that fails, each in one of its own."""
        waiting = list(jobs)
        try:
            self._at_hand()
            self._lock(waiting)
        except (sqlite3.Error, DuctapeError) as error:
            self._give_up(waiting, error)
            return
        if waiting and self._commit(waiting) is not None:
            waiting = [job for job in waiting if self._alone(job)]
        _at("answering")
        answer(waiting)

    def _at_hand(self) -> None:
        """See that the open file is the one at our path, or open that."""
        if self._file.replaced():
            self._file.close()
            if identify(self._file.path) is None:
                raise StoreUnavailable(
                    "the session store's file is gone: put it back, or restart to begin with a new one"
                )
            prepare(self._file.path)

    def _lock(self, waiting: list[Job[Step]]) -> None:
        """Take the write lock, and while it is not to be had turn away who has waited for too long."""
        while waiting:
            try:
                self._file.connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                due = time.monotonic() - PATIENCE
                fail([job for job in waiting if job.queued_at <= due], _LOCKED, cause=error)
                waiting[:] = [job for job in waiting if job.queued_at > due]

    def _commit(self, jobs: Sequence[Job[Step]]) -> Exception | None:
        """Do `jobs` and commit, with the lock held.  Nothing has happened where it answers what went wrong."""
        try:
            _at("begun")
            tx = Transaction(self._file.connection)
            for job in jobs:
                _do(job, tx)
            tx.finish()
            _at("written")
            if tx.head is not None:
                self._doorbell.ring(tx.head)
            _at("announced")
            self._file.connection.execute("COMMIT")
            _at("committed")
        except Exception as error:
            self._roll_back()
            return error
        return None

    def _alone(self, job: Job[Step]) -> bool:
        """Do one job of a batch that failed.  False if that is refused, with its answer."""
        only = [job]
        try:
            self._lock(only)
            error = self._commit(only) if only else None
        except sqlite3.Error as refused:
            error = refused
        if error is not None:
            self._give_up(only, error)
        return bool(only) and error is None

    def _give_up(self, jobs: Sequence[Job[Step]], error: Exception) -> None:
        fail(jobs, str(error if isinstance(error, DuctapeError) else unavailable(error)), cause=error)

    def _roll_back(self) -> None:
        try:
            if self._file.connection.in_transaction:
                self._file.connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._file.close()  # opened anew for the next batch


def _do(job: Job[Step], tx: Transaction) -> None:
    job.value = job.error = None
    try:
        job.value = job.step(tx)
    except DuctapeError as error:  # raised before anything was written: the others' work is whole
        job.error = error
