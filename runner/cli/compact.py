"""``runner compact``: fewer, larger segments; no result changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.options import session_command
from runner.cli.output import emit_json, print_text
from runner.cli.progress import watching

if TYPE_CHECKING:
    from runner.cli.options import Session

__all__ = ["command"]


@session_command("compact", exits=(6,))
def command(session: Session) -> None:
    """Join the log's small segments into large ones: folds get faster, no result changes.

    Only floats of merged keys (merge_floats=True) may get other last digits.

    Runs that read the log go on; a sync meanwhile is refused.
    """
    from runner.log import LogWriter

    with LogWriter.open(session.config.log.path, create=False) as writer:
        before = len(writer.manifest.segments)
        with watching() as watch:
            merged = writer.compact(watch)
        after = len(writer.manifest.segments)
    if session.as_json:
        emit_json({"merged": merged, "segments_before": before, "segments": after})
    elif merged:
        print_text(f"{before} segments became {after}")
    else:
        print_text(f"nothing to join: {after} segments")
