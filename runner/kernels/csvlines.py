"""Where the records of CSV text end: line ends inside quotes belong to their field.

A quote opens a quoted field only at the field's start; inside, a doubled quote is one quote, and behind the closing
quote the field goes on unquoted. That is how Arrow's CSV reader takes it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

from runner.kernels.loads import address_of, load_byte

if TYPE_CHECKING:
    from runner.kernels.jsonscan import Bytes, Int64s

__all__ = ["LONE_RETURN", "OPEN_QUOTE", "CsvRecords", "cut_records"]


class CsvRecords:
    """The complete records of a text.

    starts, stops: int64[n], without the line end. lines: int64[n], how many line ends stand before each.
    fields: int64[n], how many fields each has, 0 for an empty line, or LONE_RETURN. end: behind the last complete
    record. ends: line ends before ``end``.
    """

    def __init__(self, starts: Int64s, stops: Int64s, lines: Int64s, fields: Int64s, state: Int64s) -> None:
        self.starts, self.stops, self.lines, self.fields = starts, stops, lines, fields
        self.end, self.ends = int(state[0]), int(state[1])

    def __len__(self) -> int:
        return len(self.starts)


_FIELD_START, _PLAIN, _QUOTED, _QUOTE_SEEN = 0, 1, 2, 3
_NO_BYTE: Final = -1

OPEN_QUOTE: Final = -1
"""In the place of the number of fields: the file ends inside a quoted one."""
LONE_RETURN: Final = -2
"""In the place of the number of fields: a carriage return outside quotes, without a line feed behind it."""


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _cut(
    data: Any,
    size: Any,
    delimiter: Any,
    quote: Any,
    escape: Any,
    starts: Any,
    stops: Any,
    lines: Any,
    fields: Any,
    state: Any,
) -> Any:
    count = 0
    ends = 0
    begin = 0
    begin_ends = 0
    commas = 0
    lone = False
    mode = _FIELD_START
    i = 0
    while i < size:
        c = load_byte(data, i)
        if c == escape and mode != _QUOTE_SEEN:
            if mode == _FIELD_START:
                mode = _PLAIN
            i += 1
            if i < size and load_byte(data, i) == 10:
                ends += 1
        elif mode == _QUOTED:
            if c == quote:
                mode = _QUOTE_SEEN
            elif c == 10:
                ends += 1
        elif (c == quote and mode == _FIELD_START) or (c == quote and mode == _QUOTE_SEEN):
            mode = _QUOTED
        elif c == 13 and (i + 1 == size or load_byte(data, i + 1) != 10):
            lone = True
        elif c == delimiter:
            commas += 1
            mode = _FIELD_START
        elif c == 10:
            stop = i
            if stop > begin and load_byte(data, stop - 1) == 13:
                stop -= 1
            starts[count], stops[count], lines[count] = begin, stop, begin_ends
            fields[count] = LONE_RETURN if lone else (commas + 1 if stop > begin else 0)
            count += 1
            ends += 1
            begin, begin_ends, commas, lone = i + 1, ends, 0, False
            mode = _FIELD_START
        else:
            mode = _PLAIN
        i += 1
    state[0], state[1] = begin, begin_ends
    return count


def cut_records(data: Bytes, delimiter: str, quote: str, escape: str) -> CsvRecords:
    """The records of ``data``, which begins with one. quote and escape may be "": there is none."""
    most = int(np.count_nonzero(data == 10))
    columns = [np.empty(most, np.int64) for _ in range(4)]
    state = np.zeros(2, np.int64)
    signs = [ord(sign) if sign else _NO_BYTE for sign in (delimiter, quote, escape)]
    count = _cut(address_of(data), len(data), *signs, *columns, state)
    starts, stops, lines, fields = (column[:count] for column in columns)
    return CsvRecords(starts, stops, lines, fields, state)
