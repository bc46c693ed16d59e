"""The bytes of one COPY TO STDOUT, read by a thread of its own into a few buffers that go round.

The server makes rows one after another, so it must never wait for us: while one buffer is decoded and its rows are
used, the thread fills the next.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from psycopg import Error, OperationalError, errors, pq

from runner.kernels.pgcopy_read import AGAIN, ENDED, FULL, LONG, RowReader
from runner.postgres.libpq import copy_functions

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection, Copy, sql

    from runner.kernels.pgcopy_fields import Bytes

__all__ = ["SPARE", "Filled", "Reading"]

SPARE = 8
"""Bytes behind the last that a buffer is filled with: kernels load whole words."""

_BUFFERS = 3
"""One that is filled, one that is decoded, one between them."""
_PATIENCE = 50
"""Milliseconds in which the thread looks whether it is to end."""


@dataclass(frozen=True)
class Filled:
    """A buffer with ``used`` bytes."""

    buffer: Bytes
    used: int


class Reading:
    """A thread that runs a COPY and reads it; a context manager, and the connection is the thread's until its end.

    octets: of one buffer, more where one row needs it. rows: about how many in one buffer.
    """

    def __init__(self, connection: Connection[Any], statement: sql.Composed, *, octets: int, rows: int) -> None:
        self._connection, self._statement, self._octets, self._rows = connection, statement, octets, rows
        self._free: queue.SimpleQueue[Bytes] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[Filled | BaseException | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._begun = False
        for _ in range(_BUFFERS):
            self._free.put(np.empty(0, np.uint8))
        self._thread = threading.Thread(target=self._run, name="postgres copy", daemon=True)

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while True:
            # The thread looks for the end itself, but for the time until the server's first answer.
            self._thread.join(_PATIENCE * 4 / 1000)
            if not self._thread.is_alive():
                return
            if not self._begun:
                with suppress(Error):
                    self._connection.cancel_safe(timeout=5)

    def take(self, cancelled: Callable[[], None]) -> Filled | None:
        """The next buffer, to be given back; None behind the last. Raises what the thread met."""
        while True:
            cancelled()
            try:
                found = self._full.get(timeout=_PATIENCE / 1000)
            except queue.Empty:
                continue
            if isinstance(found, BaseException):
                raise found
            return found

    def give_back(self, filled: Filled) -> None:
        """The buffer is needed no longer."""
        # One that was made for a long row is not kept.
        usual = len(filled.buffer) == self._octets + SPARE
        self._free.put(filled.buffer if usual else filled.buffer[:0])

    def _run(self) -> None:
        try:
            # Left with an error, psycopg cancels what the server is still sending.
            with self._connection.cursor() as cursor, cursor.copy(self._statement) as copy:
                self._begun = True
                functions = copy_functions()
                if functions is None:
                    self._by_psycopg(copy)
                else:
                    self._by_libpq(functions)
            self._full.put(None)
        except _Stopped:
            pass
        except BaseException as error:  # the other thread raises it
            self._full.put(error)

    def _buffer(self, octets: int = 0) -> Bytes:
        """A free buffer, with room for so many bytes."""
        while True:
            try:
                buffer = self._free.get(timeout=_PATIENCE / 1000)
                break
            except queue.Empty:
                self._go_on()
        wanted = max(octets, self._octets) + SPARE
        return buffer if len(buffer) == wanted else np.empty(wanted, np.uint8)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _by_libpq(self, functions: tuple[int, int, int, int]) -> None:
        pgconn = self._connection.pgconn
        # Every implementation of psycopg documents it, the protocol class that they share does not declare it.
        pointer: int = cast("Any", pgconn).pgconn_ptr
        reader = RowReader(functions, pointer, pgconn.socket)
        buffer = self._buffer()
        try:
            while True:
                self._go_on()
                status, used = reader.gather(buffer[: len(buffer) - SPARE], self._rows, _PATIENCE)
                if status == AGAIN:
                    continue
                if status == LONG:
                    buffer = np.empty(used + SPARE, np.uint8)
                    continue
                if status not in (FULL, ENDED):
                    raise OperationalError(pgconn.get_error_message())
                self._full.put(Filled(buffer, used))
                if status == ENDED:
                    break
                buffer = self._buffer()
        finally:
            reader.close()
        failed = None
        while (result := pgconn.get_result()) is not None:
            if result.status != pq.ExecStatus.COMMAND_OK:
                failed = failed or result
        # What was notified meanwhile is handed on as psycopg's own reading does; it would wait for the socket for it.
        while (notice := pgconn.notifies()) is not None:
            if pgconn.notify_handler is not None:
                pgconn.notify_handler(notice)
        if failed is not None:
            raise errors.error_from_result(failed)

    def _by_psycopg(self, copy: Copy) -> None:
        """The same with psycopg's own reading."""
        used, rows, buffer = 0, 0, self._buffer()
        for block in copy:
            self._go_on()
            data = np.frombuffer(block, np.uint8)
            if used and (used + len(data) > self._octets or rows >= self._rows):
                self._full.put(Filled(buffer, used))
                used, rows, buffer = 0, 0, self._buffer(len(data))
            elif used + len(data) + SPARE > len(buffer):
                buffer = np.empty(len(data) + SPARE, np.uint8)
            buffer[used : used + len(data)] = data
            used, rows = used + len(data), rows + 1
        self._full.put(Filled(buffer, used))


class _Stopped(Exception):
    """The reader of the rows has gone."""
