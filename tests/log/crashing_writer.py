"""A program: syncs four lots of five events into the log argv[1], then columns, then compaction; goes on where it
was."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import log_cases as cases

from runner.log import LogWriter, Room

if TYPE_CHECKING:
    from runner.config import ObjectStorePath

LOTS = [
    cases.numbered(
        [
            cases.Row(f"a{(lot * 3 + k) % 7}", "deposited", recorded=lot * 100 + k, payload=f'{{"amount": {lot}}}')
            for k in range(5)
        ],
        1 + lot * 5,
    )
    for lot in range(4)
]


def main(path: str | ObjectStorePath) -> None:
    with LogWriter.open(path, partitions=4, room=Room(events=3, whole_below=2)) as writer:
        for lot in LOTS[writer.mark("s") or 0 :]:
            writer.append("s", cases.arrival(lot))
            writer.commit("s", (writer.mark("s") or 0) + 1)
        writer.ensure_columns([cases.AMOUNT])
        writer.compact()


if __name__ == "__main__":
    main(sys.argv[1])
