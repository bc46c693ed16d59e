"""A rebuild of a log that is larger than the memory it is given: 100 M events under a 2 GB limit of anonymous memory.

The limit is RLIMIT_DATA: the kernel refuses any further private writable memory, touched or not, in the process and in
each of its threads. The mapped log does not count: its pages are the page cache's. Making the log (once, kept in
``bench/out/``) is not limited. ``--events`` makes it smaller.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from projects import project  # noqa: E402 - a script beside its modules
from workloads import prepare_log  # noqa: E402

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
    made = prepare_log("uniform", asked.events)
    directory = project(made, "limited")
    octets = sum(f.stat().st_size for f in made.log.rglob("*") if f.is_file())
    result = limited_rebuild(directory, asked.limit_mb * 1_000_000)
    print(json.dumps({"limit_mb": asked.limit_mb, "log_mb": round(octets / 1e6), **result}, indent=2))


if __name__ == "__main__":
    main()
