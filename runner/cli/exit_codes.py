"""What the exit codes of ``runner`` mean; each command's help lists those that it can give."""

from __future__ import annotations

__all__ = ["DIFFERENT", "INTERRUPTED", "MEANINGS", "SLOWER", "described"]

DIFFERENT = 3
SLOWER = 12
INTERRUPTED = 130

MEANINGS = {
    0: "done",
    1: "a job cannot start, go on or be found; or any failure that has no code of its own",
    2: "the command line or runner.toml is wrong",
    3: "two computations of the same rows differ (proof, verify, compare)",
    4: "an event or projection class is wrong, or a handler cannot be compiled",
    5: "a source cannot be read as declared: bad line, changed file",
    6: "the log cannot be used: missing, damaged, locked, another format",
    7: "a handler failed on an event, or a payload value does not fit its field",
    8: "a read model cannot be found, written or switched; changed projection; version busy",
    9: "workers cannot do their part",
    10: "Postgres cannot be reached, refuses, or fails",
    11: "a followed read model was switched to a changed projection; the follower of the former one is done",
    SLOWER: "a bench is slower than the one that it was compared with",
    INTERRUPTED: "interrupted (Ctrl-C); nothing half-published",
}


def described(*codes: int) -> str:
    """The paragraph of a command's help: 0, 1, 2 and 130 are possible everywhere."""
    wanted = sorted({0, 1, 2, INTERRUPTED, *codes})
    lines = [f"  {code:>3}  {MEANINGS[code]}" for code in wanted]
    return "\b\nExit codes:\n" + "\n".join(lines)
