"""A C fold, compiled here with ``cc -O3 -march=native``: unchecked, one thread, on the very batches of the log.

Three forms: on the batches as they are (wavefront order) with one switch for each event, with a loop for each run of
one type, and, with one switch, on the same batches brought into position order before. As in the runner's fold, the
rows of a partition's first dictionary are its entries as they stand; further ones go through a hash table.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from runner.batch import Batch

__all__ = ["CFold", "compiler", "in_position_order"]

FIELDS = ("balance", "deposits", "withdrawals", "largest", "last_at", "open")
KINDS = {"account.opened": 0, "money.deposited": 1, "money.withdrawn": 2, "fee.charged": 3}
_int64s = npt.NDArray[np.int64]


def compiler() -> str | None:
    """The C compiler of this machine."""
    return shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")


def compiled() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="runner-bench-c-") as directory:
        library = Path(directory) / "fold.so"
        source = Path(__file__).with_name("fold.c")
        options = ["-O3", "-march=native", "-shared", "-fPIC", "-Wall", "-Werror"]
        subprocess.run([str(compiler()), *options, "-o", str(library), str(source)], check=True)
        return ctypes.CDLL(str(library))


@dataclass
class _Partition:
    """One partition's states, ids and, where it has more than one dictionary, its hash table."""

    ids: list[pa.Array]
    count: int = 0
    hi: npt.NDArray[np.uint64] | None = None
    lo: npt.NDArray[np.uint64] | None = None
    slots: npt.NDArray[np.uint32] | None = None


class CFold:
    """partitions: the batches of each. form: "switch" or "runs". types: the log's type names by code."""

    def __init__(self, partitions: list[list[Batch]], types: tuple[str, ...], form: str) -> None:
        self._c = compiled()
        self._c.enter.restype = ctypes.c_int64
        self._fold = getattr(self._c, f"fold_{form}")
        self._partitions = partitions
        self._kind_of = np.array([KINDS[name] for name in types], np.int8)
        most = max((sum(len(b.aggregates) for b in batches) for batches in partitions), default=0)
        self._states = np.zeros((most, len(FIELDS)), np.int64)

    def fold(self) -> list[tuple[pa.Array, list[_int64s]]]:
        """(ids, the six fields as columns) of each partition."""
        return [self._partition(batches) for batches in self._partitions]

    def _partition(self, batches: list[Batch]) -> tuple[pa.Array, list[_int64s]]:
        room = sum(len(b.aggregates) for b in batches)
        self._states[:room] = 0
        known = _Partition([])
        for batch in batches:
            rows = self._rows(known, batch, room)
            amounts = (ctypes.c_void_p * len(KINDS))()
            for column, payload in batch.payload.items():
                amounts[KINDS[column.event_type]] = payload.values.ctypes.data
            assert batch.recorded_at is not None
            self._fold(
                ctypes.c_int64(len(batch)),
                _address(batch.types),
                _address(batch.aggregate),
                None if rows is None else _address(rows),
                _address(batch.recorded_at),
                amounts,
                _address(self._kind_of),
                _address(self._states),
            )
        columns = [np.empty(known.count, np.int64) for _ in FIELDS]
        out = (ctypes.c_void_p * len(FIELDS))(*(column.ctypes.data for column in columns))
        self._c.columns(ctypes.c_int64(known.count), _address(self._states), out)
        ids = known.ids[0] if len(known.ids) == 1 else pa.concat_arrays(known.ids)
        return ids, columns

    def _rows(self, known: _Partition, batch: Batch, room: int) -> npt.NDArray[np.int32] | None:
        """The row of each entry of the batch's dictionary; None where they are 0, 1, 2 and so on."""
        dictionary = batch.aggregates
        if not known.ids and room == len(dictionary):
            known.ids.append(dictionary.texts)
            known.count = room
            return None
        if known.slots is None:
            size = 1 << (2 * room).bit_length()
            known.slots = np.zeros(size, np.uint32)
            known.hi, known.lo = np.empty(room, np.uint64), np.empty(room, np.uint64)
        assert known.hi is not None and known.lo is not None  # noqa: PT018 - made together
        rows = np.empty(len(dictionary), np.int32)
        before = known.count
        known.count = self._c.enter(
            ctypes.c_int64(len(dictionary)),
            _address(dictionary.hi),
            _address(dictionary.lo),
            _address(known.slots),
            ctypes.c_uint64(len(known.slots) - 1),
            _address(known.hi),
            _address(known.lo),
            ctypes.c_int64(before),
            _address(rows),
        )
        known.ids.append(dictionary.texts.take(pa.array(np.flatnonzero(rows >= before))))
        return rows


def _address(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def in_position_order(batch: Batch, types: tuple[str, ...]) -> Batch:
    """The same events ordered by position, as copies. types: the log's type names by code."""
    assert batch.position is not None
    assert batch.recorded_at is not None
    order = np.argsort(batch.position, kind="stable")
    payload = {}
    for column, array in batch.payload.items():
        mine = batch.position[batch.types == types.index(column.event_type)]
        moved = np.argsort(mine, kind="stable")
        payload[column] = replace(array, values=np.ascontiguousarray(array.values[moved]))
    return replace(
        batch,
        types=batch.types[order],
        aggregate=batch.aggregate[order],
        position=batch.position[order],
        recorded_at=batch.recorded_at[order],
        payload=payload,
    )
