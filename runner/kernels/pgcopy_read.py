"""Copied rows out of libpq in a compiled loop: no Python, and no lock of the interpreter, per row.

psycopg hands out one row a call, which costs as much as the server's making of it. This loop calls the very functions
of the very library that psycopg is using, at addresses that the caller has looked up, until a buffer is full.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from runner.kernels.loads import address_of
from runner.kernels.pgcopy_fields import copy_bytes

__all__ = ["AGAIN", "ENDED", "FAILED", "FULL", "LONG", "RowReader"]

FULL: Final = 1
"""The buffer holds as much as it may."""
AGAIN: Final = 2
"""Nothing has come for a while: look whether to go on, and call again."""
ENDED: Final = 3
"""The server has sent all, or ended with an error: the connection's results say which."""
FAILED: Final = 4
"""The connection failed; its error message says why."""
LONG: Final = 5
"""The next row does not fit: its length is in the state; come again with room for it."""

_WORD = ir.IntType(64)
_INT = ir.IntType(32)
_POINTER = ir.IntType(8).as_pointer()


def _call(builder: Any, address: Any, result: Any, kinds: list[Any], args: list[Any]) -> Any:
    function = ir.FunctionType(result, kinds)
    return builder.call(builder.inttoptr(address, function.as_pointer()), args)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _get_copy_data(_context: Any, address: Any, connection: Any, place: Any) -> Any:
    """int PQgetCopyData(PGconn *, char **buffer, int async); ``place`` is the address of the char *."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        pointers = [builder.inttoptr(args[1], _POINTER), builder.inttoptr(args[2], _POINTER.as_pointer())]
        got = _call(
            builder,
            args[0],
            _INT,
            [_POINTER, _POINTER.as_pointer(), _INT],
            [*pointers, ir.Constant(_INT, 1)],
        )
        return builder.sext(got, _WORD)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _call_pointer(_context: Any, address: Any, pointer: Any) -> Any:
    """int function(void *): PQconsumeInput, and PQfreemem whose result is nothing."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        got = _call(builder, args[0], _INT, [_POINTER], [builder.inttoptr(args[1], _POINTER)])
        return builder.sext(got, _WORD)

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def _poll(_context: Any, address: Any, entry: Any, milliseconds: Any) -> Any:
    """int poll(struct pollfd *, 1, milliseconds)."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        got = _call(
            builder,
            args[0],
            _INT,
            [_POINTER, _WORD, _INT],
            [builder.inttoptr(args[1], _POINTER), ir.Constant(_WORD, 1), builder.trunc(args[2], _INT)],
        )
        return builder.sext(got, _WORD)

    return types.int64(types.int64, types.int64, types.int64), generate


# Places of the state, int64 each: bytes in the buffer, rows in it, address and length of a row that is held because it
# did not fit, and a struct pollfd.
_USED, _ROWS, _HELD, _SIZE, _POLLFD = 0, 1, 2, 3, 4
_GET, _CONSUME, _FREE, _WAIT = 0, 1, 2, 3
_POLLIN: Final = 1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _gather(library: Any, connection: Any, out: Any, room: Any, rows: Any, state: Any, at: Any, patience: Any) -> Any:
    get, consume, free, wait = library[_GET], library[_CONSUME], library[_FREE], library[_WAIT]
    waited = True
    while True:
        if state[_HELD] == 0:
            got = _get_copy_data(get, connection, at + 8 * _HELD)
            if got == 0:
                # Nothing whole is here. Look again before waiting: what TLS has read ahead, poll does not see.
                if not waited:
                    ready = _poll(wait, at + 8 * _POLLFD, patience)
                    if ready <= 0:
                        return AGAIN
                if _call_pointer(consume, connection) == 0:
                    return FAILED
                waited = not waited
                continue
            if got == -1:
                return ENDED
            if got < 0:
                return FAILED
            waited = True
            state[_SIZE] = got
        size = state[_SIZE]
        if state[_USED] + size > room:
            return LONG if state[_USED] == 0 else FULL
        copy_bytes(state[_HELD], out + state[_USED], size)
        _call_pointer(free, state[_HELD])
        state[_HELD] = 0
        state[_USED] += size
        state[_ROWS] += 1
        if state[_ROWS] >= rows:
            return FULL


class RowReader:
    """Reads the rows of one COPY TO STDOUT. For one thread at a time.

    library: the addresses of PQgetCopyData, PQconsumeInput, PQfreemem and poll. connection: the address of the PGconn,
    which is in a COPY and lives as long as this does. socket: its file descriptor.
    """

    def __init__(self, library: tuple[int, int, int, int], connection: int, socket: int) -> None:
        self._library = np.array(library, np.int64)
        self._connection = np.int64(connection)
        self._state = np.zeros(5, np.int64)
        self._state[_POLLFD] = socket | _POLLIN << 32

    def gather(self, buffer: npt.NDArray[np.uint8], rows: int, patience: int) -> tuple[int, int]:
        """Copy whole messages into ``buffer`` until it is full or has ``rows`` of them: (status, bytes in it).

        patience: milliseconds until AGAIN is answered, if nothing comes. LONG: the bytes that are needed. After AGAIN
        go on with the same buffer, after FULL and LONG with another.
        """
        state = self._state
        status = int(
            _gather(
                self._library,
                self._connection,
                address_of(buffer),
                len(buffer),
                rows,
                state,
                address_of(state),
                patience,
            )
        )
        used = int(state[_SIZE] if status == LONG else state[_USED])
        if status != AGAIN:
            state[_USED] = state[_ROWS] = 0
        return status, used

    def close(self) -> None:
        """Let go of a row that was held."""
        if self._state[_HELD]:
            _free(self._library[_FREE], self._state[_HELD])
            self._state[_HELD] = 0


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _free(function: Any, address: Any) -> None:
    _call_pointer(function, address)
