"""The commit order: every step at which a crash leaves something behind, numbered, in one place.

``RUNNER_CRASH_AT=sync.2`` kills the process with SIGKILL on reaching that step; the crash tests walk through all.

sync (one commit)                                   a crash here leaves
  1  segment files written and synced to disk       garbage files, the last manifest
  2  new manifest written beside the old            garbage files, the last manifest
  3  manifest renamed into place                    the new log; the command had not answered yet

object (of sync, columns and compact, where the log is on an object store)
  1  the writer's lease taken                       the last manifest; the lease is over when its process is seen dead
  2  one file of a commit uploaded                  garbage objects, the last manifest
  3  all files uploaded, manifest not created       garbage objects, the last manifest
  4  manifest created                               the new log; the command had not answered yet

columns (sidecars from raw payloads)
  1  sidecar files written and synced               garbage files, the last manifest
  2  manifest renamed into place                    the new log

compact
  1  compacted segment written and synced           garbage files, the last manifest
  2  manifest renamed into place                    the new log, old segments as garbage
  3  old segments removed                           the new log

rebuild
  1  job recorded, version claimed                  a job without results; resumable
  2  one partition's rows written and synced        files of an unrecorded partition, written again
  3  that partition recorded in the ledger          a resumable job
  4  all partitions done, merged keys merged        a resumable job
  5  rows proved                                    a resumable job
  6  version.json written and synced                an unpublished version
  7  current.json renamed into place                the new version is live, the catalog is older and is made again
  8  catalog renamed into place                     all but the ledger's last line

update
  1  job recorded, version claimed                  a job without results
  2  one partition's delta written and synced       garbage files
  3  version.json written and synced                garbage files
  4  current.json renamed into place                the update is live, the catalog is made again
  5  catalog renamed into place                     all but the ledger's last line

settle (deltas of a read model compacted, after an update)
  1  merged files written and synced                the update is live, garbage files
  2  version.json written and synced                the update is live, garbage files
  3  current.json renamed into place                the same rows in fewer files, the catalog is made again
  4  catalog renamed into place                     the same, all but the ledger's last line

rollback
  1  current.json renamed into place                the former version is live, the catalog is made again
  2  catalog renamed into place                     all but the ledger's last line

publish (where read models are tables in Postgres too: a rebuild's before its 6, an update's before its 3)
  1  version.json written and synced, not live      written again, or published by the next run if the tables are ahead

load (a version into a new table in Postgres)
  1  table made and noted                           an empty table, filled by the next load of the version
  2  one partition's rows and its note committed    a table with some partitions; the next load goes on
  3  a foreign key added, not validated             all partitions; the next load, or the switch, validates it
  4  keys and indexes made                          the same, with indexes
  5  analysed, noted as complete                    a complete table that is not live

switch (of tables in Postgres)
  1  every snapshot sees the new table's rows        nothing
  2  all locks had                                  nothing: the server ends the transaction
  3  renamed, all carried over, not committed       nothing
  4  committed                                      the new table is live; the next run publishes the embedded version

apply (a catch-up in Postgres)
  1  changed rows in a temporary table              nothing
  2  rows and checkpoint changed, not committed     nothing
  3  committed                                      the table is ahead; the next run publishes the embedded revision

in_place (rows of the application's own table)
  1  what differs is known                          nothing
  2  rows, hand-over, checkpoint; not committed     nothing
  3  committed                                      the table is ahead; the next run finds nothing to change in it

schedule (a run of an entry)
  1  its line written, no process started           a run that died: the next scheduler starts it again
  2  its process started, and not noted             the same; the process finds that its line was given up
  3  the place pinned, nothing folded               a run that died; the next one folds to the same place
  4  all steps done, its end not written            a run that died, and is done again
"""

from __future__ import annotations

import os
import signal

__all__ = ["STEPS", "reached"]

STEPS = (
    *(f"sync.{n}" for n in (1, 2, 3)),
    *(f"object.{n}" for n in (1, 2, 3, 4)),
    *(f"columns.{n}" for n in (1, 2)),
    *(f"compact.{n}" for n in (1, 2, 3)),
    *(f"rebuild.{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8)),
    *(f"update.{n}" for n in (1, 2, 3, 4, 5)),
    *(f"settle.{n}" for n in (1, 2, 3, 4)),
    *(f"rollback.{n}" for n in (1, 2)),
    *(f"publish.{n}" for n in (1,)),
    *(f"load.{n}" for n in (1, 2, 3, 4, 5)),
    *(f"switch.{n}" for n in (1, 2, 3, 4)),
    *(f"apply.{n}" for n in (1, 2, 3)),
    *(f"in_place.{n}" for n in (1, 2, 3)),
    *(f"schedule.{n}" for n in (1, 2, 3, 4)),
)


def reached(step: str) -> None:
    """Mark a commit step. Does nothing unless ``RUNNER_CRASH_AT`` names it (``rebuild.2``; the fifth time: ``:5``)."""
    wanted, _, nth = os.environ.get("RUNNER_CRASH_AT", "").partition(":")
    if wanted != step:
        return
    _seen[step] = _seen.get(step, 0) + 1
    if _seen[step] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)


_seen: dict[str, int] = {}
