"""The whole benchmark: every part in turn, what must be reached, the result of record, the README's table and chart.

``--only PART`` (again for another) runs parts alone; their results are merged into the same file, so that a long run
can be done in pieces on a quiet machine. ``--quick`` is a smaller form; its result is marked as such and is never the
one of record.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import job_parts
import parts
from forms import FORMS, Form
from results import CHART, merged, path_of, write, write_readme
from surroundings import commit, load, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEED = 1
PARTS: Mapping[str, Callable[[Form], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        parts.columnar,
        parts.core,
        parts.in_python,
        parts.ten,
        parts.skew,
        parts.others,
        job_parts.engines,
        job_parts.memory,
        job_parts.ten_times,
        job_parts.update,
        parts.small,
        parts.postgres,
        parts.follow,
    )
}


def measured(name: str, form: Form) -> dict[str, Any]:
    """One part's result with what it was had on."""
    say(f"== {name}: {(PARTS[name].__doc__ or '').splitlines()[0]}")
    before, began = load(), time.perf_counter()
    result = PARTS[name](form)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "load_average": {"start": before, "end": load()},
        "took_seconds": round(time.perf_counter() - began, 1),
        "result": result,
    }


def show(document: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"the {document['form']} form, load average {document['load_average']}")
    for column in ("what", "expected", "measured", ""):
        table.add_column(column)
    for row in document["expected"]:
        figures = "\n".join(f"{name}: {value:,g}" for name, value in (row["measured"] or {}).items())
        table.add_row(row["name"], row["expected"], figures, "reached" if row["reached"] else row["why_not"])
    Console().print(table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="this part; again for another")
    parser.add_argument("--without", action="append", choices=list(PARTS), default=[], help="all but this part")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", dest="form", action="store_const", const="quick", help="smaller, some ten minutes")
    form.add_argument("--smoke", dest="form", action="store_const", const="smoke", help="whether all of it runs")
    parser.add_argument("--readme", action="store_true", help="write README's table and chart from the result there is")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit 1 and name what these parts did not reach")
    parser.set_defaults(form="full")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    path = path_of(asked.form)
    if asked.readme:
        if asked.form != "full":
            raise SystemExit("the README shows the full form only")
        write_readme(json.loads(path.read_text()), Path(__file__).parents[1] / "README.md", CHART)
        return
    chosen = [name for name in asked.only or PARTS if name not in asked.without]
    document: dict[str, Any] = {}
    # The smoke measures nothing, so two parts at a time do not disturb each other.
    with ThreadPoolExecutor(2 if asked.form == "smoke" else 1) as pool:
        running = {pool.submit(measured, name, FORMS[asked.form]): name for name in chosen}
        try:
            for done in as_completed(running):
                # Each is kept as soon as it is there.
                document = merged(path, asked.form, SEED, {running[done]: done.result()})
                write(path, document)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    say(f"written: {path}")
    if asked.json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        show(document)
    if asked.form == "full" and set(PARTS) <= set(document["parts"]):
        write_readme(document, Path(__file__).parents[1] / "README.md", CHART)
    missed = [row for row in document["expected"] if row["part"] in chosen and not row["reached"]]
    for row in missed if asked.check else ():
        say(f"missed: {row['name']}: {row['measured']}, expected {row['expected']}")
    if asked.check and missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
