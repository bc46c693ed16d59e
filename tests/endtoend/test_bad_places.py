"""Full disks, directories that cannot be written, damaged files: a clear error, and the same command does the rest."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from shop import Ended, Shop, event, expected, history, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT = os.getuid() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", place], check=False).returncode:
        pytest.skip("no right to mount a small tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, left: int) -> Path:
    """Ballast that leaves so many bytes."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    ballast.write_bytes(bytes(max(free - left, 0)))
    return ballast


STEPS = ((("sync",), 1_200), (("rebuild", "--all"), 1_200), (("sync",), 2_000), (("update", "--all"), 2_000))


@pytest.mark.skipif(not ROOT, reason="only root mounts a small tmpfs; see the test with a limit on file sizes")
@pytest.mark.parametrize("left", [0, 8_192, 40_000])
def test_a_full_disk(small_disk: Path, tmp_path: Path, left: int) -> None:
    """Log and read models on a disk that is full, at each command, sooner and later in it."""
    shop = Shop(tmp_path / "shop", log=str(small_disk / "log"), read_models=str(small_disk / "read_models"))
    events = history(2_000)
    refused = []
    for arguments, until in STEPS:
        shop.file.write_text(text(events[:until]))
        ballast = fill(small_disk, left)
        ended = shop.run(*arguments)
        if ended.code:
            assert ended.code in (1, 6, 8), ended.err
            assert "No space left on device" in ended.error, ended.err
            refused.append(arguments[0])
        ballast.unlink()
        if arguments[0] == "update":
            assert shop.rows() == expected(events if ended.code == 0 else events[:1_200])
        shop.good(*arguments)
    assert shop.rows() == expected(events)
    assert refused == ["sync", "rebuild", "sync", "update"] if left == 0 else refused, refused
    shop.good("audit")


@pytest.mark.skipif(not ROOT, reason="only root mounts a small tmpfs")
@pytest.mark.parametrize("left", [0, 8_192])
def test_a_full_disk_under_the_ledger(small_disk: Path, tmp_path: Path, left: int) -> None:
    shop = Shop(tmp_path / "shop", state=str(small_disk / "state"))
    events = history(200)
    shop.file.write_text(text(events))
    ballast = fill(small_disk, left)
    ended = shop.run("sync")
    assert ended.code == 1
    assert str(small_disk / "state") in ended.error
    assert "room" in ended.err
    ballast.unlink()
    shop.good("sync")
    shop.good("rebuild", "--all")
    assert shop.rows() == expected(events)


@pytest.mark.parametrize(("limit", "where"), [(20_000, "state"), (90_000, "log")])
def test_files_that_may_not_grow(tmp_path: Path, limit: int, where: str) -> None:
    """A limit on the size of files stands in for a quota, where nothing can be mounted."""
    shop = Shop(tmp_path / "shop")
    events = history(4_000)
    shop.file.write_text(text(events))
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    ended = process(shop, "sync", before=limited)
    assert ended.code in (1, 6), ended.err
    assert str(shop.root / where) in ended.error
    assert "File too large" in ended.error or "disk I/O" in ended.error or "full" in ended.error, ended.error
    shop.good("sync")
    shop.good("rebuild", "--all")
    assert shop.rows() == expected(events)


@pytest.mark.parametrize("command", ["rebuild", "update"])
def test_rows_that_may_not_grow(built: Shop, command: str) -> None:
    """As the test before, for rows: the ledger stays below the limit, long texts do not."""
    before = built.rows()
    draw = random.Random(4)
    more = [event(n, 10_000, "basket.opened", 10**6, customer=draw.randbytes(20_000).hex()) for n in range(40)]
    built.append(more)
    built.good("sync")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))"
    ended = process(built, command, "--all", before=limited)
    assert ended.code == 8, ended.err
    assert str(built.root / "read_models") in ended.error
    assert "File too large" in ended.error, ended.error
    assert built.rows() == before
    built.good(command, "--all")
    assert built.rows() == expected([*built.events, *more])
    built.good("audit")


def process(shop: Shop, *arguments: str, before: str = "") -> Ended:
    """A command in a process of its own, after some preparing Python in it."""
    program = f"{before}\nimport os, sys\nos.execv(sys.executable, [sys.executable, '-m', 'runner', *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--config", str(shop.config)],
        capture_output=True,
        text=True,
        check=False,
        cwd=shop.root,
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


WITHOUT_PRIVILEGE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root may write where the mode forbids it
    if os.getuid() == 0 and libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
        raise OSError(ctypes.get_errno(), "prctl")
"""


@contextmanager
def unwritable(directory: Path) -> Iterator[None]:
    """No file or directory below may be written."""
    places = [directory, *directory.rglob("*")]
    modes = {path: path.stat().st_mode for path in places}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_directories_that_cannot_be_written(built: Shop) -> None:
    more = event(1, 10_000, "basket.opened", 10**6, customer="late")
    built.append([more])
    log, read_models = built.root / "log", built.root / "read_models"
    with unwritable(log):
        ended = process(built, "sync", before=WITHOUT_PRIVILEGE)
        assert ended.code in (1, 6), ended.err
        assert str(log) in ended.error
        # What only reads the log goes on.
        ended = process(built, "rebuild", "--all", before=WITHOUT_PRIVILEGE)
        assert ended.code == 0, ended.err
    built.good("sync")
    with unwritable(read_models):
        ended = process(built, "update", "--all", before=WITHOUT_PRIVILEGE)
        assert ended.code in (1, 8), ended.err
        assert str(read_models) in ended.error
        assert built.rows() == expected(built.events)
    built.good("update", "--all")
    assert built.rows() == expected([*built.events, more])


def flipped(file: Path, at: float) -> bytes:
    """Flip one bit; what the file was."""
    whole = file.read_bytes()
    place = int(len(whole) * at)
    file.chmod(0o600)
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    return whole


@pytest.mark.parametrize("kind", [".events", ".raw", ".col"])
def test_a_bit_flipped_in_the_log(built: Shop, kind: str) -> None:
    before = built.rows()
    files = sorted((built.root / "log" / "segments").glob(f"*{kind}"), key=lambda f: -f.stat().st_size)
    whole = flipped(files[0], 0.5)
    audited = built.run("audit")
    assert audited.code == 6
    assert files[0].name in audited.out + audited.err
    reads = {".events": ["rebuild", "--all"], ".raw": ["explain", "baskets", "basket-3"], ".col": ["rebuild", "--all"]}[
        kind
    ]
    ended = built.run(*reads)
    assert ended.code == 6, (ended.out, ended.err)
    assert files[0].name in ended.error
    assert built.rows() == before
    files[0].write_bytes(whole)
    built.good("audit")
    built.good(*reads)
    assert built.rows() == expected(built.events)


def test_a_segment_cut_short(built: Shop) -> None:
    """Reading a mapped file behind its end would kill the process."""
    (segment,) = (built.root / "log" / "segments").glob("*.events")
    whole = segment.read_bytes()
    segment.chmod(0o600)
    segment.write_bytes(whole[:-100])
    ended = built.run("rebuild", "--all")
    assert ended.code == 6
    assert segment.name in ended.error
    segment.write_bytes(whole)
    built.good("rebuild", "--all")
    assert built.rows() == expected(built.events)


def test_a_damaged_read_model_is_folded_again(built: Shop) -> None:
    """An update that cannot go on from the saved rows begins at the first event, and says so."""
    more = [event(n, 10_000, "basket.opened", 10**6, customer="late") for n in range(50)]
    built.append(more)
    built.good("sync")
    (base, *_) = sorted((built.root / "read_models" / "baskets" / "v1").glob("base-*.parquet"))
    flipped(base, 0.3)
    told = built.good("update", "--all", "--json").json
    assert list(told["folded_again"]) == ["baskets"]
    assert built.rows() == expected([*built.events, *more])
