"""``runner update --follow``: one line that moves on a terminal, few lines elsewhere, an end when it is asked for."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from runner import stats
from runner.cli.output import count, emit_json, print_text, say, seconds
from runner.cli.progress import Watch, watching
from runner.cli.running import running
from runner.cli.signals import ended_by_signals
from runner.errors import FingerprintChanged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.cli.options import Session
    from runner.cli.running import EngineOptions, MetricsOptions
    from runner.jobs.following.follow import FollowReport

__all__ = ["follow_until_asked"]

LINE_EVERY = 60.0
"""Seconds between two lines where stderr is no terminal."""
SMOOTHED = 5.0


def follow_until_asked(
    session: Session, wanted: Any, changed: Sequence[str], engine: EngineOptions, metrics: MetricsOptions
) -> int:
    """Follow until a signal asks to end; the exit code."""
    from runner.jobs.following.follow import Stop, follow

    for name in changed:
        say(f"error: {name} was changed since its read model was made, and is not followed\n  `runner rebuild {name}`")
    stop = Stop()
    try:
        with ended_by_signals(stop, _at_once), running(session, metrics, "follow", _watching()) as (_, listener):
            report = follow(session.config, wanted, stop=stop, listener=listener, **engine.arguments)
    finally:
        stop.close()
    if session.as_json:
        emit_json({**asdict(report), "refused": list(changed)})
    else:
        _show(report)
    return FingerprintChanged.exit_code if changed else 0


def _at_once(number: signal.Signals) -> None:
    """Ctrl-C once more; another SIGTERM says nothing new."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt


def _show(report: FollowReport) -> None:
    lag = report.lag
    how = f"; lag at most {seconds(lag['p50'])} (p50), {seconds(lag['p99'])} (p99)" if lag else ""
    print_text(
        f"{report.ended}: {count(report.events)} events in {count(report.rounds)} rounds{how}; "
        f"at position {count(report.position)}"
    )


@contextmanager
def _watching() -> Iterator[Watch]:
    """A watch that shows a follower: rounds are too quick for bars of their stages."""
    with watching(quiet=True) as quiet:
        watch = _Following(quiet)
        try:
            yield watch
        finally:
            watch.end()


class _Following(Watch):
    """Passes notes on, and says now and then how far it is. ``inner``: keeps the figures."""

    def __init__(self, inner: Watch) -> None:
        self._inner = inner
        self._terminal = sys.stderr.isatty()
        self._line = ""
        self._began = self._said = time.monotonic()
        self._rate = 0.0
        self._rate_at = self._began
        self._first = True

    def say(self, text: str) -> None:
        self._clear()
        sys.stderr.write(text + "\n")
        self._redraw()

    def __call__(self, fact: stats.Fact) -> None:
        match fact:
            case stats.Noted(text):
                self.say(f"note: {text}")
            case stats.LineRejected(_, file, line, reason):
                self.say(f"rejected {file}:{line}: {reason}")
            case stats.Followed():
                self._moved(fact)
            case _:
                pass

    def _moved(self, fact: stats.Followed) -> None:
        now = time.monotonic()
        passed = max(now - self._rate_at, 1e-3)
        share = min(1.0, passed / SMOOTHED)
        self._rate += (fact.events / passed - self._rate) * share
        self._rate_at = now
        lag = f", lag {seconds(fact.lag)}" if fact.events else ""
        self._line = f"following: position {count(fact.position)}, {self._rate:,.0f} events/s{lag}"
        if self._terminal:
            self._redraw()
        elif self._first or (fact.events and now - self._said >= LINE_EVERY):
            self._said = now
            sys.stderr.write(self._line + "\n")
            sys.stderr.flush()
        self._first = False

    def end(self) -> None:
        """Leave the line as it was last."""
        if self._terminal and self._line:
            sys.stderr.write("\n")
        self._line = ""

    def _clear(self) -> None:
        if self._terminal and self._line:
            sys.stderr.write("\r\x1b[K")

    def _redraw(self) -> None:
        if self._terminal and self._line:
            sys.stderr.write(f"\r\x1b[K{self._line}")
        sys.stderr.flush()
