"""A rebuild of a log that is larger than the memory it is given: 100 M events under a 2 GB limit of anonymous memory.

The limit is RLIMIT_DATA: the kernel refuses any further private writable memory, touched or not, in the process and in
each of its threads. The mapped log does not count: its pages are the page cache's. Making the log (once, kept in
``bench/out/``) is not limited. ``--events`` makes it smaller.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from workload import OUT, write_log  # noqa: E402 - a script beside its modules

from runner.cli.seeded_ledger import LedgerShape  # noqa: E402

FREE_BYTES_PER_EVENT = 200
"""Of disk: raw payloads, columns, header, and twice while segments are compacted."""

REBUILD = """\
import json, sys, time
from pathlib import Path
from runner.config import load_config
from runner.jobs.rebuilding.rebuild import rebuild
began = time.perf_counter()
report = rebuild(load_config(Path(sys.argv[1])), "all", engine="threads", workers=2)
fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({
    "seconds": time.perf_counter() - began,
    "events": report.events,
    "rows": report.projections[0].rows,
    "fold_seconds": report.seconds["fold"],
    "proved": report.projections[0].proof,
    "peak_rss_mb": int(fields["VmHWM"].split()[0]) / 1024,
    "data_mb": int(fields["VmData"].split()[0]) / 1024,
}))
"""


def prepared(events: int) -> Path:
    """The project's directory, its log made if it is not there."""
    directory = OUT / f"large-{events}"
    if (directory / "made").exists():
        return directory
    OUT.mkdir(parents=True, exist_ok=True)
    needed = events * FREE_BYTES_PER_EVENT
    if shutil.disk_usage(OUT).free < needed:
        raise SystemExit(f"{OUT} has not the {needed / 1e9:.0f} GB free that {events:,} events may need")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "runner.toml").write_text('[project]\nmodules = ["account"]\n')
    shutil.copy(HERE / "account.py", directory)
    began = time.perf_counter()
    write_log(directory / "log", LedgerShape(events, skew="uniform"), None)
    print(f"log made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    (directory / "made").touch()
    return directory


def limited_rebuild(directory: Path, limit: int) -> dict[str, Any]:
    """Rebuild in a process that may have so many bytes of anonymous memory."""

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", REBUILD, str(directory / "runner.toml")],
        preexec_fn=confine,
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )
    if done.returncode:
        raise SystemExit(f"the rebuild failed under the limit ({done.returncode}):\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--limit-mb", type=int, default=2_000)
    asked = parser.parse_args()
    directory = prepared(asked.events)
    octets = sum(f.stat().st_size for f in (directory / "log").rglob("*") if f.is_file())
    result = limited_rebuild(directory, asked.limit_mb * 1_000_000)
    print(json.dumps({"limit_mb": asked.limit_mb, "log_mb": round(octets / 1e6), **result}, indent=2))


if __name__ == "__main__":
    main()
