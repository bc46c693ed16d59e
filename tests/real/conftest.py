"""The real logs, each synced and folded once for all tests: whole in one go, and grown in two steps."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
import zstandard
from real_log import BANK, FILES, GITHUB, LOANS, RealLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return lambda name: tmp_path_factory.mktemp(name)


def grown(log: RealLog, file: Path, text: bytes, cut: int) -> RealLog:
    """The log of a file that was synced and folded when it had ``cut`` bytes, in the middle of a line, and brought up
    to date when it had all.
    """
    assert text[cut - 1 : cut] != b"\n"
    file.write_bytes(text[:cut])
    begun = log.sync()
    assert begun.sources[-1].unfinished[0].octets == cut - text.rfind(b"\n", 0, cut) - 1
    log.rebuild()
    with file.open("ab") as stream:
        stream.write(text[cut:])
    added = log.sync()
    assert (begun.events > 0, added.events > 0) == (True, True)
    report = log.update()
    assert report.events == added.events
    assert not report.folded_again
    return log


@pytest.fixture(scope="session")
def loans_text(data: Path) -> bytes:
    return gzip.decompress((data / "bpic2012-loans/events.ndjson.gz").read_bytes())


@pytest.fixture(scope="session")
def loans(data: Path, place: Callable[[str], Path]) -> RealLog:
    log = RealLog(place("loans"), "real_loans", LOANS.format(files=data / "bpic2012-loans/events.ndjson.gz"))
    log.sync()
    log.rebuild(prove=200)
    return log


@pytest.fixture(scope="session")
def grown_loans(loans_text: bytes, place: Callable[[str], Path]) -> RealLog:
    folder = place("grown_loans")
    log = RealLog(folder, "real_loans", LOANS.format(files="loans.ndjson"), partitions=4, segment_events=1 << 20)
    return grown(log, folder / "loans.ndjson", loans_text, len(loans_text) // 3 + 7)


@pytest.fixture(scope="session")
def github_text(data: Path) -> bytes:
    with (data / "k8s-github-events/events.ndjson.zst").open("rb") as file:
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file).read()


@pytest.fixture(scope="session")
def github(data: Path, place: Callable[[str], Path]) -> RealLog:
    log = RealLog(place("github"), "real_github", GITHUB.format(files=data / "k8s-github-events/events.ndjson.zst"))
    log.sync()
    log.rebuild(prove=200)
    return log


@pytest.fixture(scope="session")
def grown_github(github_text: bytes, place: Callable[[str], Path]) -> RealLog:
    folder = place("grown_github")
    log = RealLog(folder, "real_github", GITHUB.format(files="github.ndjson"), partitions=4)
    return grown(log, folder / "github.ndjson", github_text, len(github_text) // 2 + 11)


@pytest.fixture(scope="session")
def bank(data: Path, place: Callable[[str], Path]) -> RealLog:
    berka = data / "berka-bank"
    sources = BANK.format(accounts=berka / "account.asc.gz", transactions=berka / "trans.asc.gz")
    log = RealLog(place("bank"), "real_bank", sources)
    log.sync()
    log.rebuild(prove="all")
    return log


@pytest.fixture(scope="session")
def files(data: Path, place: Callable[[str], Path]) -> RealLog:
    log = RealLog(place("files"), "real_files", FILES.format(files=data / "git-history-river/events.ndjson.gz"))
    log.sync()
    log.rebuild(prove="all")
    return log
