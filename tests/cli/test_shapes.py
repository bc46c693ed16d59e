"""What is guessed from values: annotations, mappings, and the module that is written from them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modules_in_files import module_in_file

from runner.authoring.definition import definition_of
from runner.cli.first_projection import module_text, sampled_types
from runner.cli.mapping import guess_mapping
from runner.cli.shapes import ValueShape, guess, leaves

if TYPE_CHECKING:
    from pathlib import Path

    from runner.cli.mapping import GuessedMapping


def shape_of(*values: object) -> ValueShape:
    shape = ValueShape()
    for value in values:
        shape.add(value)
    return shape


@pytest.mark.parametrize(
    ("values", "annotation"),
    [
        ((1, 2), "int"),
        ((1, 2.5), "float"),
        ((True, False), "bool"),
        ((1, None), "int | None"),
        (("a", "b"), "str"),
        (("12", "13"), "str"),
        (("12.50", "13.00"), "Decimal"),
        (("2024-05-01", "2024-05-02"), "date"),
        (("2024-05-01T10:00:00Z", "2024-05-01T10:00:00.123+02:00"), "datetime"),
        (("2024-05-01T10:00:00",), "str"),
        (("2024-13-01",), "str"),
        (("6f1b9a5e-3f0e-4b0e-8a0e-0e0e0e0e0e0e",), "UUID"),
        (([1, 2], [3]), "list[int]"),
        ((["a", None],), "list[str | None]"),
        ((None, None), "str | None"),
        ((True, 1), ""),
        ((2**63,), ""),
        (([], []), ""),
    ],
)
def test_annotation_of_values(values: tuple[object, ...], annotation: str) -> None:
    assert guess(shape_of(*values), len(values)).full == annotation


def test_a_value_that_is_sometimes_absent_is_optional() -> None:
    assert guess(shape_of(1, 2), 3).full == "int | None"


def test_digits_are_numbers_only_where_the_format_has_no_numbers() -> None:
    texts = shape_of("12", "-3")
    assert guess(texts, 2).annotation == "str"
    assert guess(texts, 2, texts_only=True) == guess(texts, 2, texts_only=True)
    assert (guess(texts, 2, texts_only=True).annotation, guess(texts, 2, texts_only=True).coerce) == ("int", "number")


def test_scale_is_the_most_digits_seen() -> None:
    assert guess(shape_of("1.5", "2", "3.125"), 3).scale == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def mapped(records: list[dict[str, Any]]) -> GuessedMapping:
    return guess_mapping(records, shape_of(*records))


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.dictionaries(st.text(max_size=12), JSON, max_size=6), min_size=1, max_size=6),
    name=st.text(max_size=30),
)
def test_whatever_the_payloads_hold_the_module_defines_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[dict[str, Any]], name: str
) -> None:
    records = [
        {"stream": f"a{i % 3}", "type": name, "time": "2024-05-01T10:00:00Z", "data": data}
        for i, data in enumerate(payloads)
    ]
    mapping = mapped(records)
    text = module_text(sampled_types(records, mapping), mapping, where="a test", texts_only=False)
    module = module_in_file(text, tmp_path_factory.mktemp("module"), "first_projection_of_a_test")
    assert definition_of(module.Summary).name == "summary"


def test_generated_classes_take_the_sampled_payloads(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"sku": "a", "quantity": 2, "price": "1.50"},
        {"sku": "b", "quantity": 1, "price": "2.00"},
    ]
    records = [
        {
            "stream": "o-1",
            "version": 1,
            "type": "order.placed",
            "time": "2024-05-01T10:00:00Z",
            "data": {"lines": lines, "note": None},
        },
        {
            "stream": "o-1",
            "version": 2,
            "type": "order.paid",
            "time": "2024-05-01T11:00:00Z",
            "data": {"amount": 4, "org:unit": "x"},
        },
        {"stream": "o-2", "version": 1, "type": "order.paid", "time": "2024-05-01T12:00:00Z", "data": {"amount": 7}},
    ]
    mapping = mapped(records)
    module = module_in_file(
        module_text(sampled_types(records, mapping), mapping, where="a test", texts_only=False),
        tmp_path,
        "generated_orders",
    )

    placed = module.OrderPlaced(
        lines=[module.Line(**{**line, "price": Decimal(line["price"])}) for line in lines], note=None
    )
    assert [line.quantity for line in placed.lines] == [2, 1]
    summary = module.Summary()
    at = datetime(2024, 5, 1, 11, tzinfo=UTC)
    paid = module.OrderPaid(amount=4, org_unit=None, recorded_at=at, type="order.paid")
    summary.counted(paid)
    summary.when_order_paid(paid)
    assert (summary.events, summary.amount_total, summary.last_at, summary.last_type) == (1, 4, at, "order.paid")


def test_mapping_of_an_event_table() -> None:
    records = [
        {
            "global_position": n + 1,
            "stream_name": f"account-{n % 7}",
            "position": n // 7,
            "type": "Opened",
            "data": {"a": 1},
            "time": "2024-01-01T00:00:00Z",
        }
        for n in range(50)
    ]
    guessed = mapped(records)
    assert guessed.aggregate_id == ("stream_name",)
    assert guessed.type == ("type",)
    assert guessed.recorded_at == ("time",)
    assert guessed.payload == ("data",)
    assert guessed.position in {("global_position",), ("position",)}


def test_mapping_of_nested_names_and_json_in_a_text() -> None:
    records = [
        {
            "id": 10 + n,
            "event": "x",
            "repo": {"name": f"r{n % 3}"},
            "ts": 1_700_000_000 + n,
            "payload": json.dumps({"n": n}),
        }
        for n in range(20)
    ]
    guessed = mapped(records)
    assert guessed.aggregate_id == ("repo", "name")
    assert (guessed.recorded_at, guessed.time_kind) == (("ts",), "epoch")
    assert guessed.payload == ("payload",)
    assert guessed.payload_is_text
    assert [t.shape.fields["n"].seen for t in sampled_types(records, guessed)] == [20]


def test_a_decreasing_number_is_no_position() -> None:
    records = [{"id": 100 - n, "stream": f"s{n % 3}", "type": "t"} for n in range(20)]
    assert mapped(records).position is None


def test_leaves_skip_objects_but_not_lists_of_objects() -> None:
    shape = shape_of({"a": {"b": 1, "c": {"d": "x"}}, "l": [{"e": 1}]})
    assert [path for path, _, _ in leaves(shape)] == [("a", "b"), ("a", "c", "d"), ("l",)]
