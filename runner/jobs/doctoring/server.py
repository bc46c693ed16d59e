"""Findings about any Postgres server: version, role, pooler, limits, durability, clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import RunnerError
from runner.jobs.doctoring.diagnosis import Finding
from runner.postgres import Identifier, pooling, server_facts, statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.config import ConnectionSettings
    from runner.postgres import AnyConnection, ServerFacts

__all__ = ["ServerSeen", "look_at_server"]

OLDEST = 13
"""The first with 64-bit transaction ids that SQL can see."""
NEWEST = 18
"""The newest that the runner was tested with."""
CLOCK_SECONDS = 2.0
"""Clocks further apart are said: times of read models and lags mean less then."""
LAG_SECONDS = 60.0


@dataclass(frozen=True)
class ServerSeen:
    """What a server said of itself, and what is to be said of that."""

    facts: ServerFacts
    findings: tuple[Finding, ...]


def look_at_server(
    settings: ConnectionSettings, connection: AnyConnection, place: str, connections: int, *, writes: bool
) -> ServerSeen:
    """connections: how many a run opens here. writes: whether it must. Raises PostgresError."""
    facts = server_facts(connection, settings.where)
    findings = [
        Finding(place, "reachable", "ok", f"database {facts.database} as {facts.role}"),
        _version(place, facts),
        *_role(place, facts, connection),
        _standby(place, facts, writes=writes),
        _pooler(place, settings),
        *_connections(place, facts, connections),
        _durable(place, facts, writes=writes),
        _clock(place, facts),
        *_encoding(place, facts),
    ]
    return ServerSeen(facts, tuple(findings))


def _version(place: str, facts: ServerFacts) -> Finding:
    said = f"Postgres {facts.major}.{facts.version % 10_000}"
    if facts.major < OLDEST:
        return Finding(place, "version", "problem", f"{said}: {OLDEST} is the oldest that can be read safely")
    if facts.major > NEWEST:
        return Finding(place, "version", "note", f"{said}: newer than any that the runner was tested with")
    return Finding(place, "version", "ok", said)


def _role(place: str, facts: ServerFacts, connection: AnyConnection) -> Iterator[Finding]:
    if facts.superuser:
        said = f"{facts.role} is a superuser and may do anything; a role of its own is safer"
        yield Finding(place, "role", "warning", said)
    if not facts.sees_sessions:
        grant = statement(connection, "GRANT pg_read_all_stats TO {role};", role=Identifier(facts.role))
        said = "of other sessions only process and application are seen, not since when they work and at what"
        yield Finding(place, "lock visibility", "warning", said, (grant,))
    else:
        yield Finding(place, "lock visibility", "ok", "sees the sessions of others and what they hold")
    if not facts.sees_identity:
        grant = statement(
            connection,
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {role};",
            role=Identifier(facts.role),
        )
        yield Finding(place, "identity", "warning", "the server's identity may not be seen by this role", (grant,))


def _standby(place: str, facts: ServerFacts, *, writes: bool) -> Finding:
    if not facts.standby:
        return Finding(place, "primary", "ok", "a primary")
    if writes:
        return Finding(place, "primary", "problem", "a standby, which cannot be written to: name the primary's URL")
    lag = f", {facts.standby_lag:.0f} s behind" if facts.standby_lag is not None else ""
    if facts.standby_lag is not None and facts.standby_lag > LAG_SECONDS:
        return Finding(place, "primary", "warning", f"a standby{lag}")
    return Finding(place, "primary", "note", f"a standby{lag}: writers are not seen, so the tail is settled by time")


def _pooler(place: str, settings: ConnectionSettings) -> Finding:
    try:
        found = pooling(settings)
    except RunnerError as error:
        return Finding(place, "pooler", "warning", f"two more connections could not be opened: {error.message}")
    if found == "transaction":
        said = "a pooler in transaction mode stands between: settings and time limits of a session do not hold there"
        return Finding(place, "pooler", "problem", f"{said}; name the server's own address, or a pool in session mode")
    if found == "session":
        return Finding(place, "pooler", "note", "a pooler in session mode stands between, which does no harm")
    return Finding(place, "pooler", "ok", "none in between")


def _connections(place: str, facts: ServerFacts, wanted: int) -> Iterator[Finding]:
    if 0 <= facts.role_limit < wanted:
        said = f"the role may have {facts.role_limit} connections, and a run opens up to {wanted}"
        yield Finding(place, "connections", "problem", f"{said}: lower max_connections, or raise the role's limit")
        return
    free = facts.most_connections - facts.connections
    said = f"{facts.connections} of {facts.most_connections} in use, a run opens up to {wanted}"
    # A run must not be the one that takes the application's last connection.
    few = free - wanted < max(5, facts.most_connections // 20)
    yield Finding(place, "connections", "warning" if few else "ok", said)


def _durable(place: str, facts: ServerFacts, *, writes: bool) -> Finding:
    if facts.synchronous_commit == "off":
        what = "a switch can be lost with the server" if writes else "rows can be seen before they last"
        said = f"synchronous_commit is off for this role: {what}"
        if not writes:
            said += "; sync waits until they do"
        return Finding(place, "synchronous commit", "warning" if writes else "note", said)
    if facts.asynchronous_commits:
        said = f"off for {', '.join(facts.asynchronous_commits)}: sync waits until what it has read lasts"
        return Finding(place, "synchronous commit", "note", said)
    return Finding(place, "synchronous commit", "ok", facts.synchronous_commit)


def _clock(place: str, facts: ServerFacts) -> Finding:
    ahead = facts.clock_ahead
    said = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    if abs(ahead) > CLOCK_SECONDS:
        return Finding(place, "clock", "warning", f"{said}: lags are shown wrong by that much")
    return Finding(place, "clock", "ok", said)


def _encoding(place: str, facts: ServerFacts) -> Iterator[Finding]:
    if facts.encoding == "SQL_ASCII":
        said = "SQL_ASCII: the server does not know what its bytes mean; what is no UTF-8 is refused"
        yield Finding(place, "encoding", "warning", said)
