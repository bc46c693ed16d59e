"""The source of a run's kernel: one function that walks a batch in runs of one type, and a tight loop for each
projection and type in it.

Everything that a loop does is called from one of the compiler's functions (``runner/fold/handlers.py``) or from
``runner.kernels``. Type codes are no part of the source: a kernel serves every log with the same stored types.

What the kernel gets and gives (all arrays; ``P`` projections, ``T`` type codes):

- ``info`` int64[5]: where it stopped: projection, handler, event index in the batch, element, what ran out of room;
- ``active`` uint8[P]: which projections it folds; ``group_of`` int32[T]: which loops a type goes to, 0 for none;
- ``type_ids`` int64[T]: pool ids of the type names; ``cursors`` int64[T]: events of each type seen, 0 at first;
- ``pieces`` int64[m, 3]: what is folded first, in this order (``runner.kernels.runs.cut_runs``); then the rest of the
  batch, run by run;
- ``kinds``, ``aggregate``: the batch's type and aggregate codes; ``rows``: the row of each aggregate code;
- ``pool``; for each projection its states, a default row and, where the key has more than the aggregate, its key map;
- the payload and header columns, as the plan's arguments say.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from runner.fold.arguments import Argument, argument_type
from runner.fold.bulk import SIGNATURE_NAMES
from runner.fold.handlers import PRELUDE
from runner.fold.lower.lowering import ArrayRef
from runner.fold.states import state_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.authoring.definition import EventField, ProjectionDefinition

__all__ = ["INFO_SIZE", "NO_KEYS", "NO_TEXTS", "Function", "Handler", "KernelSource", "LoopProjection", "kernel_source"]

INFO_SIZE = 5
NO_TEXTS, NO_KEYS = 0, 1
"""What ran out of room: the string pool, a key map."""


class Function(Protocol):
    """A generated function: its name in the source, and the arrays that it takes behind the fixed arguments."""

    @property
    def name(self) -> str: ...

    @property
    def arrays(self) -> tuple[ArrayRef, ...]: ...


@dataclass(frozen=True)
class Handler:
    """A handler of a projection, compiled; key: of a projection whose key has more than the aggregate."""

    function: Function
    key: Function | None
    each: EventField | None
    fields: tuple[EventField, ...]
    types: tuple[str, ...]
    """The stored types that it handles; every: all of them."""
    every: bool


@dataclass(frozen=True)
class LoopProjection:
    """A projection of the run. words: of its key, the aggregate's row apart. source: its generated functions."""

    definition: ProjectionDefinition
    source: str
    handlers: tuple[Handler, ...]
    words: int
    merge: Function | None


@dataclass
class KernelSource:
    """arguments: the columns, in the order in which ``fold`` takes them. users: by argument, which projections read it.

    groups: the stored types with loops of their own, from 1 on; every other type has group ``len(groups) + 1`` where a
    projection handles all types, else 0.
    """

    text: str = ""
    arguments: list[Argument] = field(default_factory=list)
    users: list[set[int]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    every: bool = False
    places: dict[Argument, int] = field(default_factory=dict)

    def argument(self, ref: ArrayRef, event_type: str, handler: Handler, projection: int) -> str:
        """The name of a column's argument, entered where it is new."""
        found = Argument(ref) if ref.scope == "header" else _payload(ref, event_type, handler)
        if found not in self.arguments:
            # Offsets are a part of the list, the other parts of its elements: two columns of one name.
            whole = replace(found, ref=replace(ref, part="offsets" if ref.part == "offsets" else "values"))
            self.arguments.append(replace(found, place=self.places.setdefault(whole, len(self.places))))
            self.users.append(set())
        place = self.arguments.index(found)
        self.users[place].add(projection)
        return f"a{place}"


def _payload(ref: ArrayRef, event_type: str, handler: Handler) -> Argument:
    name = ref.name.partition(".")[0]
    # An element is a list's entry: one column, whichever way its index was found.
    scope = "list" if ref.scope == "element" else ref.scope
    return Argument(ArrayRef(scope, ref.name, ref.part), event_type, next(f for f in handler.fields if f.name == name))


_HEAD = (
    '"""The kernel of a run; made by runner/fold/kernel.py."""\n'
    + PRELUDE
    + SIGNATURE_NAMES
    + """
from numba import from_dtype

from runner.kernels.options import INNER
from runner.kernels.runs import run_end


@njit(**INNER)
def stopped(info, projection, handler, event, element, room):
    info[0] = projection
    info[1] = handler
    info[2] = event
    info[3] = element
    info[4] = room

"""
)


def kernel_source(projections: Sequence[LoopProjection]) -> KernelSource:
    """The kernel of these projections: module source with ``fold``, and ``merge_<n>`` for each that merges."""
    made = KernelSource(every=any(h.every for p in projections for h in p.handlers))
    made.groups = list(dict.fromkeys(t for p in projections for h in p.handlers for t in h.types))
    steps: list[str] = []
    loops: list[list[_Loop]] = []
    everything = len(made.groups) + 1
    for n, projection in enumerate(projections):
        own: dict[tuple[str, ...], _Loop] = {}
        for group in range(1, everything + (1 if made.every else 0)):
            event_type = made.groups[group - 1] if group < everything else ""
            chosen = [(m, h) for m, h in enumerate(projection.handlers) if h.every or event_type in h.types]
            if chosen:
                text, arguments = _step(made, n, projection, event_type, chosen)
                # Types that are read alike go through one loop: the same loop for each would be compiled for each.
                alike = (text, *(argument_type(made.arguments[int(name[1:])]) for name in arguments))
                loop = own.setdefault(alike, _Loop(f"fold_{n}_{len(own) + 1}"))
                loop.columns[group] = arguments
        steps += [text.replace(_NAME, loop.name) for (text, *_), loop in own.items()]
        loops.append(list(own.values()))
    parts = [_HEAD]
    for n, projection in enumerate(projections):
        source = projection.source.replace("@njit(**KERNEL)", "@njit(**INNER)")
        parts.append(f"\n# {projection.definition.name}\n{source}\n")
        # Not the tuple: NumPy needs the pairs in a list, and the source must not depend on how dtypes are printed.
        parts.append(f"STATE_{n} = _array(from_dtype(np.dtype({state_fields(projection.definition)!r}, align=True)))\n")
    parts += [*steps, _entry(made, projections, loops)]
    parts += [_merge(n, p) for n, p in enumerate(projections) if p.merge is not None]
    made.text = "\n".join(parts)
    return made


_NAME = "<loop>"
"""Stands for a loop's name until it is known whether there is such a loop already."""


@dataclass(frozen=True)
class _Loop:
    """A loop of one projection. columns: by group of types that go through it, what it is called with."""

    name: str
    columns: dict[int, list[str]] = field(default_factory=dict)


def _state_names(n: int, projection: LoopProjection) -> list[str]:
    return [f"s{n}", f"d{n}", *([] if projection.definition.by_aggregate else [f"k{n}"])]


def _step(
    made: KernelSource,
    n: int,
    projection: LoopProjection,
    event_type: str,
    chosen: list[tuple[int, Handler]],
) -> tuple[str, list[str]]:
    """The loop of one projection over a run of one type: (source, the columns that it is called with)."""
    used: dict[str, str] = {}
    body: list[str] = []
    single = projection.definition.by_aggregate
    if single:
        body += ["row = rows[aggregate[i]]", "s = states[row]"]
    for m, handler in chosen:

        def columns(function: Function, handler: Handler = handler) -> str:
            names = [made.argument(ref, event_type, handler, n) for ref in function.arrays]
            return "".join(f", {used.setdefault(x, f'c{len(used)}')}" for x in names)

        lines = _one(n, m, projection, handler, columns)
        if handler.each is None:
            body += [line.replace("#k", "0") for line in lines]
        else:
            column = made.argument(ArrayRef("list", handler.each.name, "offsets"), event_type, handler, n)
            offsets = used.setdefault(column, f"c{len(used)}")
            body.append(f"for k in range(np.int64({offsets}[j]), np.int64({offsets}[j + 1])):")
            body += ["    " + line.replace("#k", "natural(k)") for line in lines]
    fixed = "info, kinds, kind, begin, end, first, type_id, pool, aggregate, rows, states, default"
    fixed += "" if single else ", keys"
    text = [
        "@njit(**INNER)",
        f"def {_NAME}({', '.join([fixed, *used.values()])}):",
        f"    # {projection.definition.name}",
        "    begin = natural(begin)",
        "    i = begin",
        "    while True:",
        "        j = natural(first + (i - begin))",
        *("        " + line for line in body),
        "        i = natural(i + 1)",
        # Not found beforehand: in long runs the test is free, in short ones it saves a mispredicted branch.
        "        if i >= end or kinds[i] != kind:",
        "            return 0, i",
        "",
        "",
    ]
    return "\n".join(text), list(used)


def _one(n: int, m: int, projection: LoopProjection, handler: Handler, columns: object) -> list[str]:
    """One call of a handler, and what its status leads to. ``#k`` stands for the element's index."""
    assert callable(columns)
    lines: list[str] = []
    if handler.key is not None:
        lines += [
            f"key = {handler.key.name}(pool, i, j, #k, type_id{columns(handler.key)})",
            "if key[0] != 0:",
            f"    stopped(info, {n}, {m}, i, #k, {NO_TEXTS})",
            "    return key[0], i",
        ]
    if not projection.definition.by_aggregate:
        words = [] if projection.definition.merged else ["np.int64(rows[aggregate[i]])"]
        words += [f"np.int64(key[{w + 1}])" for w in range(projection.words)]
        lines += [
            f"found = key_row(keys, ({', '.join(words)},))",
            "if found[0] < 0:",
            f"    stopped(info, {n}, {m}, i, #k, {NO_KEYS})",
            "    return 2, i",
            "row = natural(found[0])",
            "if found[1]:",
            "    states[row] = default[0]",
            "s = states[row]",
        ]
    return [
        *lines,
        "s._alive = 1",
        f"status = {handler.function.name}(s, pool, i, j, #k, type_id{columns(handler.function)})",
        "if status != 0:",
        "    if status != 1:",
        f"        stopped(info, {n}, {m}, i, #k, {NO_TEXTS})",
        "        return status, i",
        "    states[row] = default[0]",
    ]


def _call(n: int, place: int, loop: _Loop, projection: LoopProjection) -> list[str]:
    """The one call of a loop; ``which``: where in its columns the group's are."""
    columns = zip(*loop.columns.values(), strict=True)
    chosen = [names[0] if len(set(names)) == 1 else f"({', '.join(names)})[which]" for names in columns]
    fixed = "info, kinds, kinds[begin], begin, end, first, type_ids[kind], pool, aggregate, rows"
    names = ", ".join([fixed, *_state_names(n, projection), *chosen])
    return [
        f"            {'if' if place == 0 else 'elif'} loop == {place + 1}:",
        f"                status, behind = {loop.name}({names})",
    ]


def _ways(made: KernelSource, loops: Sequence[Sequence[_Loop]]) -> str:
    """``LOOPS`` and ``PLACES``: by projection and group, which loop (0: none) it goes through with which columns."""
    groups = len(made.groups) + 2
    ways, places = ([[0] * groups for _ in loops] for _ in range(2))
    for n, own in enumerate(loops):
        for number, loop in enumerate(own, 1):
            for place, group in enumerate(loop.columns):
                ways[n][group], places[n][group] = number, place
    return f"LOOPS = np.array({ways}, np.int32)\nPLACES = np.array({places}, np.int32)\n\n"


def _entry(made: KernelSource, projections: Sequence[LoopProjection], loops: Sequence[Sequence[_Loop]]) -> str:
    names = ["info", "active", "group_of", "type_ids", "cursors", "pieces", "kinds", "aggregate", "rows", "pool"]
    types = ["I64", "U8R", "I32R", "I64R", "I64", "WORDS_R", "I16R", "U32R", "U32R", "POOL"]
    for n, projection in enumerate(projections):
        names += _state_names(n, projection)
        types += [f"STATE_{n}", f"STATE_{n}", *([] if projection.definition.by_aggregate else ["KEYS"])]
    names += [f"a{n}" for n in range(len(made.arguments))]
    types += [argument_type(a) for a in made.arguments]
    lines = [
        _ways(made, loops),
        f"@njit(({', '.join(types)},), cache=True, **KERNEL)",
        f"def fold({', '.join(names)}):",
        "    front = 0",
        "    at = 0",
        "    status = 0",
        "    while front < len(kinds):",
        "        begin, end, first = front, len(kinds), 0",
        "        if at < len(pieces):",
        "            begin, end, first = pieces[at, 0], pieces[at, 1], pieces[at, 2]",
        "            at += 1",
        "            kind = natural(np.int64(kinds[begin]))",
        "        else:",
        "            kind = natural(np.int64(kinds[begin]))",
        "            first = cursors[kind]",
        "        first = natural(first)",
        "        group = natural(np.int64(group_of[kind]))",
        "        behind = begin",
    ]
    for n, (projection, own) in enumerate(zip(projections, loops, strict=True)):
        lines += [
            f"        loop = LOOPS[{n}, group]",
            f"        if active[{n}] != 0 and loop != 0:",
            f"            which = natural(np.int64(PLACES[{n}, group]))",
        ]
        for place, loop in enumerate(own):
            lines += _call(n, place, loop, projection)
        lines += ["            if status != 0:", "                return status"]
    lines += [
        "        if behind == begin:",
        "            behind = min(end, run_end(kinds, begin))",
        "        cursors[kind] += behind - begin",
        "        front += behind - begin",
        "    return 0",
        "",
    ]
    return "\n".join(lines)


def _merge(n: int, projection: LoopProjection) -> str:
    """``merge_<n>``: rows of partial tables into one, by key."""
    assert projection.merge is not None
    key = ", ".join(f"words[r, {w}]" for w in range(projection.words))
    return "\n".join(
        [
            "",
            f"@njit((I64, POOL, KEYS, STATE_{n}, WORDS_R, STATE_{n}), cache=True, **KERNEL)",
            f"def merge_{n}(info, pool, keys, states, words, others):",
            "    for at in range(len(words)):",
            "        r = natural(at)",
            f"        found = key_row(keys, ({key},))",
            "        if found[0] < 0:",
            f"            stopped(info, {n}, 0, r, 0, {NO_KEYS})",
            "            return 2",
            "        row = natural(found[0])",
            "        if found[1]:",
            "            states[row] = others[r]",
            "        else:",
            f"            status = {projection.merge.name}(states[row], others[r], pool)",
            "            if status != 0:",
            f"                stopped(info, {n}, 0, r, 0, {NO_TEXTS})",
            "                return status",
            "    return 0",
            "",
        ]
    )
