"""Rivals that call Python for every event: a plain loop, Bytewax, and the ``eventsourcing`` library.

All have the events as Python objects in memory, and a sample of them: how many there are changes little at such speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rivals.loaded import THREADS, Loaded, State, account_rows

if TYPE_CHECKING:
    from workloads import Made

__all__ = ["bytewax_rival", "eventsourcing_rival", "python_rival"]

Events = list[tuple[str, tuple[int, int, int]]]


def _events(made: Made, most: int) -> Events:
    """(account, (type, amount, at)) of each."""
    table = made.events("str", most)
    columns = [table[name].to_pylist() for name in ("account", "type", "amount", "at")]
    return [(account, (kind, amount, at)) for account, kind, amount, at in zip(*columns, strict=True)]


def python_rival(made: Made, _ids: str, most: int) -> Loaded:
    table = made.events("str", most)
    columns = [table[name].to_pylist() for name in ("account", "type", "amount", "at")]

    def fold() -> dict[str, State]:
        # The handler stands in the loop: a call for each event would be a third slower.
        states: dict[str, State] = {}
        for account, kind, amount, at in zip(*columns, strict=True):
            state = states.get(account)
            if state is None:
                state = states[account] = State()
            if kind == 1:
                state.balance += amount
                state.deposits += 1
                state.largest = max(state.largest, amount)
            elif kind == 2:
                state.balance -= amount
                state.withdrawals += 1
            elif kind == 3:
                state.balance -= amount
            else:
                state.open = True
            state.last_at = at
        return states

    return Loaded(fold, account_rows, len(table))


def bytewax_rival(made: Made, _ids: str, most: int) -> Loaded:
    """Two workers in one process, as ``-w 2`` has them. Its ``stateful_map`` hands on a state for every event, so the
    last one of each key counts; ``fold_final``, which hands on the final ones only, is another rival.
    """
    return _bytewax(made, most, final=False)


def bytewax_final_rival(made: Made, _ids: str, most: int) -> Loaded:
    return _bytewax(made, most, final=True)


def _bytewax(made: Made, most: int, *, final: bool) -> Loaded:
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, cluster_main

    events = _events(made, most)

    def step(state: State | None, event: tuple[int, int, int]) -> tuple[State, State]:
        state = (State() if state is None else state).apply(event)
        return state, state

    def fold() -> list[tuple[str, State]]:
        out: list[tuple[str, State]] = []
        flow = Dataflow("ledger")
        stream = op.input("in", flow, TestingSource(events, batch_size=10_000))
        folded = op.fold_final("fold", stream, State, State.apply) if final else op.stateful_map("fold", stream, step)
        op.output("out", folded, TestingSink(out))
        cluster_main(flow, [], 0, worker_count_per_proc=THREADS)
        return out

    return Loaded(fold, lambda out: account_rows(dict(out)), len(events))


def eventsourcing_rival(made: Made, _ids: str, most: int) -> Loaded:
    """The library's own store in memory, read back as those who follow it do: notifications, mapped to its events."""
    from rivals.library import Bank, followed

    bank = Bank()
    count = bank.record(_events(made, most))
    return Loaded(lambda: followed(bank), account_rows, count)
