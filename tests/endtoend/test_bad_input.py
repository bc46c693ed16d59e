"""Bad event files as a user meets them: one clear line, the right exit code; mended, the same command does the rest."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from shop import FIRST, event, expected, history, text

if TYPE_CHECKING:
    from shop import Shop

EVENTS = history(60, seed=11)
BAD_AT = 41
"""Line 41 is spoiled; 40 are good."""


def spoiled(line: str) -> str:
    lines = text(EVENTS).splitlines()
    lines[BAD_AT - 1] = line
    return "\n".join(lines) + "\n"


def without(key: str, value: object = None) -> str:
    changed = {k: v for k, v in EVENTS[BAD_AT - 1].items() if k != key}
    return json.dumps(changed if value is None else {**changed, key: value})


BAD_LINES = {
    "broken JSON": (json.dumps(EVENTS[BAD_AT - 1])[:-7], "the line is not JSON"),
    "no JSON at all": ("### disk check ###", "the line is not JSON"),
    "two objects": (json.dumps(EVENTS[0]) + json.dumps(EVENTS[1]), "the line is not JSON"),
    "no id": (without("id"), "aggregate_id: there is no id"),
    "id null": (json.dumps({**EVENTS[BAD_AT - 1], "id": None}), "aggregate_id: there is no id"),
    "id empty": (without("id", ""), "aggregate_id: id is empty"),
    "id an object": (without("id", {"a": 1}), "aggregate_id: id is an object"),
    "version a text": (without("v", "one"), "version: "),
    "version a half": (without("v", 1.5), "version: "),
    "payload a text": (without("data", "x"), "payload: "),
    "no type": (without("kind"), "type: there is no kind"),
    "no time": (without("at", "yesterday"), "recorded_at: "),
    "torn write": (json.dumps(EVENTS[0])[:30] + "\0" * 40 + "}", "NUL bytes"),
    "NUL in the id": (without("id", "a\0b"), "aggregate_id holds a NUL character"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_in_the_middle(shop: Shop, name: str) -> None:
    line, reason = BAD_LINES[name]
    shop.file.write_text(spoiled(line))
    ended = shop.run("sync")
    assert ended.code == 5
    assert ended.error.startswith(f"{shop.file}:{BAD_AT}: ")
    assert reason in ended.error
    assert shop.run("sync").error == ended.error
    # What stands before the line is there, and once.
    assert shop.good("query", "SELECT count(*) AS n FROM log.headers", "--json").json["rows"] == [{"n": BAD_AT - 1}]
    shop.file.write_text(text(EVENTS))
    assert shop.good("sync", "--json").json["events"] == len(EVENTS) - BAD_AT + 1
    shop.good("rebuild", "--all")
    assert shop.rows() == expected(EVENTS)


def test_bad_lines_set_aside(shop: Shop) -> None:
    shop.configure('on_bad_line = "reject"')
    shop.file.write_text(spoiled("{") + "\0\0\0\n")
    told = shop.good("sync", "--json").json
    assert (told["events"], told["sources"][0]["rejected"]) == (59, 2)
    with open(told["sources"][0]["rejects_file"]) as file:  # noqa: PTH123 - a path as a user gets it
        rejected = [json.loads(line) for line in file]
    assert [r["line"] for r in rejected] == [BAD_AT, 61]
    assert "rejected" in shop.good("status").out
    assert shop.good("status", "--json").json["log"]["sources"][0]["rejected"] == 2
    shop.good("rebuild", "--all")
    assert shop.rows() == expected([*EVENTS[: BAD_AT - 1], *EVENTS[BAD_AT:]])


def packed(kind: str, data: bytes) -> bytes:
    """zst with a window beyond what most readers take."""
    if kind == "gz":
        return gzip.compress(data)
    window = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
    return zstandard.ZstdCompressor(compression_params=window).compress(data)


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("cut", [0.2, 0.9, 0.999])
def test_a_truncated_compressed_file(shop: Shop, kind: str, cut: float) -> None:
    shop.name = f"shop.ndjson.{kind}"
    shop.configure()
    events = history(400)
    whole = packed(kind, text(events).encode())
    shop.file.write_bytes(whole[: int(len(whole) * cut)])
    ended = shop.run("sync")
    assert ended.code == 5
    assert str(shop.file) in ended.error
    assert "cut off" in ended.error or "ends" in ended.error
    before = shop.good("query", "SELECT count(*) AS n FROM log.headers", "--json").json["rows"][0]["n"]
    assert before < 400 or cut > 0.99, before  # at the very end only the checksum is missing
    shop.file.write_bytes(whole)
    assert shop.good("sync", "--json").json["events"] == 400 - before
    shop.good("rebuild", "--all")
    assert shop.rows() == expected(events)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"lines": "none", "price": 1}, ("lines", "list")),
        ({"lines": [{"sku": "s1", "quantity": "2"}], "price": 1}, ("lines", "quantity")),
        ({"lines": [{"sku": "s1"}], "price": 1}, ("lines", "quantity")),
        ({"lines": [], "price": "1.50"}, ("price",)),
        ({"lines": [], "price": 1.505}, ("price",)),
        ({"lines": [], "price": None}, ("price", "null")),
        ({"lines": [], "price": 1e300}, ("price",)),
        ({"price": 1}, ("lines",)),
    ],
)
def test_a_value_of_another_type(built: Shop, data: dict[str, object], words: tuple[str, ...]) -> None:
    """The event is in the log, which keeps what the source says. The read models stay as they were until the class, or
    the source, is put right."""
    before = built.rows()
    odd = {**event(3, 10_000, "lines.added", 10**6), "data": data}
    built.append([odd])
    codes = {built.run("sync").code}
    for arguments in (["update", "--all"], ["rebuild", "--all"]):
        ended = built.run(*arguments)
        assert ended.code == 7, ended.err
        for word in (*words, "lines.added", "basket-3", "301"):
            assert word in ended.error, (word, ended.error)
        codes.add(ended.code)
        assert built.rows() == before
    assert codes <= {0, 7}
    # A projection that does not read the field goes on.
    built.good("rebuild", "days")
    assert sum(row[2] for row in built.table("days")) == 301


def test_a_class_put_right_reads_what_is_in_the_log(built: Shop) -> None:
    built.append([{**event(3, 10_000, "lines.added", 10**6), "data": {"lines": [], "price": "1.50", "note": "x"}}])
    assert built.run("sync").code == 7
    module = built.root / "shop_projections.py"
    module.write_text(module.read_text().replace("field(scale=2)", 'field(scale=2, coerce="number")'))
    refused = run_fresh(built, "update", "--all")
    assert refused.code == 8, refused.err
    assert "runner rebuild" in refused.err
    assert run_fresh(built, "rebuild", "--all").code == 0
    right = {**event(3, 10_000, "lines.added", 10**6), "data": {"lines": [], "price": 1.5, "note": "x"}}
    assert built.rows() == expected([*built.events, right])


def run_fresh(shop: Shop, *arguments: str) -> Any:
    """In this process, with the project's module imported anew, as another process would."""
    import sys

    sys.modules.pop("shop_projections", None)
    try:
        return shop.run(*arguments)
    finally:
        sys.modules.pop("shop_projections", None)


def test_a_string_of_ten_megabytes_and_odd_texts(shop: Shop) -> None:
    long = "é" * 5_000_000 + "end"
    odd = "\0 \x1f \u2028 \ufeff 𝄞"
    events = [
        event(1, 1, "basket.opened", 0, customer=long),
        event(2, 1, "basket.opened", 1, customer=odd),
        event(2, 2, "lines.added", 2, lines=[{"sku": odd, "quantity": 2}], price=1, note=long),
    ]
    shop.file.write_text(text(events))
    shop.good("sync")
    shop.good("rebuild", "--all", "--prove", "all")
    assert shop.rows() == expected(events)
    assert shop.good("explain", "baskets", "basket-2", "--json").json["steps"][1]["after"]["letters"] == len(long)


def test_a_version_twice(built: Shop) -> None:
    """The same (aggregate, version) again, whether an event was written twice or two writers drew one version."""
    first = built.events[0]
    number = int(first["id"].partition("-")[2])
    good = event(number, 10_000, "basket.seen", 10**6)
    content = built.file.read_text()
    built.append([good, {**first, "at": good["at"]}])
    ended = built.run("sync")
    assert ended.code == 5
    assert ended.error.startswith(f"{built.file}:{FIRST + 2}: ")
    assert f"version {first['v']} of aggregate '{first['id']}'" in ended.error
    # The events before it are not lost, those that come are not doubled.
    built.file.write_text(content)
    built.append([good])
    built.good("sync")
    built.good("update")
    assert built.rows() == expected([*built.events, good])
