"""Where the values lie in JSON texts: a strict scanner that checks the whole text and notes the spans of wanted paths.

Nothing is turned into numbers or strings here, so nothing is lost: a span is the value as it was written. Strict means
RFC 8259: no NaN, no trailing comma, no comment, no control character in a string. Of an object's equal keys the last
one counts, as in ``json.loads``. UTF-8 is not checked here; whoever made the Arrow array has done so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from runner.kernels.jsontokens import key_equals, number_end, skip_space, string_end, unescape
from runner.kernels.loads import address_of, load_byte, load_int, store_byte, store_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.values import Path

__all__ = [
    "ABSENT",
    "ARRAY",
    "ESCAPED",
    "FALSE",
    "INTEGER",
    "MAX_DEPTH",
    "NULL",
    "NUMBER",
    "OBJECT",
    "TEXT",
    "TRUE",
    "PathTrie",
    "Spans",
    "literal_end",
    "path_trie",
    "scan_paths",
]

ABSENT: Final = 0
NULL: Final = 1
FALSE: Final = 2
TRUE: Final = 3
INTEGER: Final = 4
"""A number without fraction and exponent."""
NUMBER: Final = 5
"""A number with a fraction or an exponent."""
TEXT: Final = 6
"""A string without backslashes; its span is what stands between the quotes."""
ESCAPED: Final = 7
"""A string with backslashes; its span is what stands between the quotes."""
OBJECT: Final = 8
ARRAY: Final = 9

MAX_DEPTH: Final = 500
"""Deeper nesting is refused, before Python's own parser would be at the end of its stack."""

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

# A node of the tree is a row of these.
_KEY, _KEY_LENGTH, _CHILD, _SIBLING, _LEAF, _BELOW, _BELOW_END, _WIDTH = 0, 1, 2, 3, 4, 5, 6, 7


@dataclass(frozen=True)
class PathTrie:
    """Paths as a tree of keys, in preorder, so that what lies below a node is a range of leaves; the root is node 0.

    keys: uint8, all keys one after the other. nodes: int64[nodes, 7]: the key's place and length, first child, next
    sibling and leaf (-1: none), first and end of the leaves at and below it. leaf_of: the leaf of each path asked for.
    """

    keys: Bytes
    nodes: Int64s
    leaf_of: tuple[int, ...]

    @property
    def leaves(self) -> int:
        """How many different paths there are."""
        return int(self.nodes[0, _BELOW_END])


@dataclass(frozen=True)
class Spans:
    """Where one path's value stands in each of n texts. kinds: uint8[n], ABSENT..ARRAY; starts, stops: int64[n] into
    the data.
    """

    kinds: npt.NDArray[np.uint8]
    starts: Int64s
    stops: Int64s

    def __len__(self) -> int:
        return len(self.kinds)

    def take(self, rows: npt.NDArray[np.intp]) -> Spans:
        """The spans of some rows."""
        return Spans(self.kinds[rows], self.starts[rows], self.stops[rows])


def path_trie(paths: Sequence[Path]) -> PathTrie:
    """The tree of these paths. The empty path is the whole text."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for key in path:
            node = node.setdefault(key, {})
    wanted = set(paths)
    leaves: dict[Path, int] = {}
    keys = bytearray()
    rows: list[list[int]] = []

    def walk(path: Path, node: dict[str, Any]) -> int:
        number = len(rows)
        key = path[-1].encode() if path else b""
        row = [len(keys), len(key), -1, -1, -1, len(leaves), 0]
        keys.extend(key)
        rows.append(row)
        if path in wanted:
            row[_LEAF] = leaves[path] = len(leaves)
        previous = -1
        for inner_key, inner in node.items():
            child = walk((*path, inner_key), inner)
            if previous < 0:
                row[_CHILD] = child
            else:
                rows[previous][_SIBLING] = child
            previous = child
        row[_BELOW_END] = len(leaves)
        return number

    walk((), tree)
    return PathTrie(
        np.frombuffer(bytes(keys) + bytes(8), np.uint8), np.array(rows, np.int64), tuple(leaves[p] for p in paths)
    )


@njit(forceinline=True)  # type: ignore[untyped-decorator]  # numba has no types
def _at(nodes: Any, node: Any, what: Any) -> Any:
    return load_int(nodes, node * _WIDTH + what)


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _child(data: Any, start: Any, stop: Any, escaped: Any, keys: Any, nodes: Any, parent: Any, scratch: Any) -> Any:
    # The node of a key below the node ``parent``, or -1.
    if escaped:
        stop = unescape(data, start, stop, scratch, 0)
        data, start = scratch, 0
        if stop < 0:
            return -1
    node = _at(nodes, parent, _CHILD)
    while node >= 0:
        length = _at(nodes, node, _KEY_LENGTH)
        if length == stop - start and key_equals(data, start, keys, _at(nodes, node, _KEY), length):
            break
        node = _at(nodes, node, _SIBLING)
    return node


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _key(data: Any, i: Any, end: Any, limit: Any, keys: Any, nodes: Any, parent: Any, scratch: Any) -> Any:
    # From a key's opening quote: (place behind the colon or -1, the node of that key or -1).
    if i >= end or load_byte(data, i) != 34:
        return -1, -1
    stop, escaped = string_end(data, i + 1, end, limit)
    if stop < 0:
        return -1, -1
    node = -1
    if parent >= 0:
        node = _child(data, i + 1, stop, escaped, keys, nodes, parent, scratch)
    i = skip_space(data, stop + 1, end)
    if i >= end or load_byte(data, i) != 58:
        return -1, -1
    return i + 1, node


@njit  # type: ignore[untyped-decorator]  # numba has no types
def literal_end(data: Any, i: Any, end: Any) -> Any:
    """From the first byte of true, false, null or a number: (place behind it or -1, kind)."""
    c = load_byte(data, i)
    if c == 116:
        good = (
            i + 4 <= end
            and load_byte(data, i + 1) == 114
            and load_byte(data, i + 2) == 117
            and load_byte(data, i + 3) == 101
        )
        return (i + 4 if good else -1), TRUE
    if c == 110:
        good = (
            i + 4 <= end
            and load_byte(data, i + 1) == 117
            and load_byte(data, i + 2) == 108
            and load_byte(data, i + 3) == 108
        )
        return (i + 4 if good else -1), NULL
    if c == 102:
        good = i + 5 <= end and load_byte(data, i + 1) == 97 and load_byte(data, i + 2) == 108
        good = good and load_byte(data, i + 3) == 115 and load_byte(data, i + 4) == 101
        return (i + 5 if good else -1), FALSE
    stop, plain = number_end(data, i, end)
    return stop, (INTEGER if plain else NUMBER)


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _scan(
    data: Any,
    i: Any,
    end: Any,
    limit: Any,
    keys: Any,
    nodes: Any,
    kinds: Any,
    starts: Any,
    stops: Any,
    row: Any,
    n: Any,
    stack: Any,
    scratch: Any,
) -> Any:
    # One text. Per open container the stack holds the node of an object (or -1) times two, plus 1 for an array.
    depth = 0
    node = 0
    while True:
        i = skip_space(data, i, end)
        if i >= end:
            return False
        slot = -1
        if node >= 0:
            below, leaf = _at(nodes, node, _BELOW), _at(nodes, node, _LEAF)
            if leaf >= 0:
                slot = leaf * n + row
            for k in range(below, _at(nodes, node, _BELOW_END)):
                store_byte(kinds, k * n + row, ABSENT)
        c = load_byte(data, i)
        begin = i
        kind = OBJECT
        opened = False
        if c == 34:
            begin = i + 1
            stop, escaped = string_end(data, begin, end, limit)
            if stop < 0:
                return False
            i = stop + 1
            kind = ESCAPED if escaped else TEXT
        elif c == 123:
            stop = skip_space(data, i + 1, end)
            if stop < end and load_byte(data, stop) == 125:
                stop += 1
            else:
                opened = True
            i = stop
        elif c == 91:
            kind = ARRAY
            stop = skip_space(data, i + 1, end)
            if stop < end and load_byte(data, stop) == 93:
                stop += 1
            else:
                opened = True
            i = stop
        else:
            stop, kind = literal_end(data, i, end)
            if stop < 0:
                return False
            i = stop
        if slot >= 0:
            store_byte(kinds, slot, kind)
            store_int(starts, slot, begin)
            store_int(stops, slot, stop)
        if opened:
            if depth >= MAX_DEPTH:
                return False
            store_int(stack, depth, 2 * node + (kind == ARRAY))
            depth += 1
            if kind == ARRAY:
                node = -1
            else:
                i, node = _key(data, i, end, limit, keys, nodes, node, scratch)
                if i < 0:
                    return False
            continue
        while True:
            i = skip_space(data, i, end)
            if depth == 0:
                return i == end
            if i >= end:
                return False
            c = load_byte(data, i)
            entry = load_int(stack, depth - 1)
            i += 1
            if c == 44:
                if entry & 1:
                    node = -1
                else:
                    i, node = _key(data, skip_space(data, i, end), end, limit, keys, nodes, entry >> 1, scratch)
                    if i < 0:
                        return False
                break
            if c != (93 if entry & 1 else 125):
                return False
            depth -= 1
            if entry >= 0:
                leaf = _at(nodes, entry >> 1, _LEAF)
                if leaf >= 0:
                    store_int(stops, leaf * n + row, i)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _scan_all(
    data: Any,
    limit: Any,
    first: Any,
    last: Any,
    keys: Any,
    nodes: Any,
    kinds: Any,
    starts: Any,
    stops: Any,
    stack: Any,
    scratch: Any,
    good: Any,
) -> None:
    n = len(good)
    for row in range(n):
        good[row] = _scan(data, first[row], last[row], limit, keys, nodes, kinds, starts, stops, row, n, stack, scratch)


def scan_paths(data: Bytes, starts: Int64s, stops: Int64s, trie: PathTrie) -> tuple[list[Spans], npt.NDArray[np.bool_]]:
    """The spans of every path of the trie in the texts data[starts[i]:stops[i]], and which texts are JSON, bool[n].

    The spans are in the order in which the paths were given to ``path_trie``; those of a text that is not JSON mean
    nothing.
    """
    n, leaves = len(starts), trie.leaves
    kinds = np.zeros((leaves, n), np.uint8)
    first, last = np.empty((leaves, n), np.int64), np.empty((leaves, n), np.int64)
    good = np.empty(n, np.bool_)
    if n:
        stack, scratch = np.empty(MAX_DEPTH, np.int64), np.empty(int((stops - starts).max()) + 8, np.uint8)
        outputs = (address_of(kinds), address_of(first), address_of(last), address_of(stack), address_of(scratch))
        _scan_all(
            address_of(data),
            len(data) - 8,
            starts,
            stops,
            address_of(trie.keys),
            address_of(trie.nodes),
            *outputs,
            good,
        )
    return [Spans(kinds[k], first[k], last[k]) for k in trie.leaf_of], good
