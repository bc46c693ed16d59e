"""How large the parts of the suite are: the full form, whose result is the one of record, and two smaller ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMS", "Form"]


@dataclass(frozen=True)
class Form:
    """ledger: events of the ledgers in memory. share: of the other workloads' own numbers. jobs: events of whole
    rebuilds. ten_times: the log sizes that are compared, the first and the second ten times apart. rounds: of folds;
    job_rounds: of whole rebuilds; large_rounds: of the largest one. warm: whether each job runs once before it is
    timed. sample: the most that rivals with a sample fold.
    """

    name: str
    ledger: int
    share: float
    jobs: int
    ten_times: tuple[int, int, int]
    rounds: int
    job_rounds: int
    large_rounds: int
    warm: bool
    sample: int
    postgres: tuple[str, ...]
    follow: tuple[str, ...]
    small_times: int


FORMS: Mapping[str, Form] = {
    f.name: f
    for f in (
        Form(
            name="full",
            ledger=20_000_000,
            share=1.0,
            jobs=100_000_000,
            ten_times=(10_000_000, 100_000_000, 300_000_000),
            rounds=9,
            job_rounds=5,
            large_rounds=3,
            warm=True,
            sample=10_000_000,
            postgres=(),
            follow=("--seconds", "30"),
            small_times=5,
        ),
        Form(
            name="quick",
            ledger=2_000_000,
            share=0.1,
            jobs=4_000_000,
            ten_times=(400_000, 4_000_000, 12_000_000),
            rounds=5,
            job_rounds=3,
            large_rounds=2,
            warm=True,
            sample=200_000,
            postgres=("--events", "200_000", "--rounds", "2", "--library-events", "20_000"),
            follow=("--seconds", "10"),
            small_times=3,
        ),
        Form(
            name="smoke",
            ledger=20_000,
            share=0.004,
            jobs=60_000,
            ten_times=(6_000, 60_000, 180_000),
            rounds=1,
            job_rounds=1,
            large_rounds=1,
            warm=False,
            sample=2_000,
            postgres=("--events", "4_000", "--rounds", "1", "--library-events", "500"),
            follow=("--rate", "40", "--seconds", "2", "--writers", "2"),
            small_times=1,
        ),
    )
}
