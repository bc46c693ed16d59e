"""``runner audit``: every byte of the log against its digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_text, say, size
from runner.errors import LogDamaged

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.config.object_store import LogPath
    from runner.log import AuditReport

__all__ = ["command"]


class AuditFailed(LogDamaged):
    """The log is not what was written."""

    def __init__(self, path: LogPath, report: AuditReport) -> None:
        super().__init__(
            f"{len(report.findings)} findings in {path}: {report.findings[0]}",
            hint="restore the damaged files, or sync into a new log directory",
        )
        self.findings = report.findings


@session_command("audit", exits=(6,))
def command(session: Session) -> None:
    """Check the whole log: chains of manifests and segments, digests, identities, order, versions, positions.

    Reads everything. A run checks by itself what it maps; this checks also what no run reads.
    """
    from runner.log import Log, audit

    with Log.open(session.config.log.path) as log:
        report = audit(log)
    if not report.ok:
        for finding in report.findings:
            say(finding)
        raise AuditFailed(session.config.log.path, report)
    if session.as_json:
        emit_json({"ok": True, **vars(report)})
        return
    print_text(
        f"the log is whole: {count(report.events)} events in {report.segments} segments, {size(report.bytes)}, "
        f"{report.manifests} manifests"
    )
