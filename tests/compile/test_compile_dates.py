"""Dates, times and differences: Python's calendar from year 1 to 9999, in int64."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import Event, Projection, on
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
MOMENTS = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [
        FIRST,
        LAST,
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(2000, 2, 29, tzinfo=UTC),
    ]
)
DATES = st.dates() | st.sampled_from([date.min, date.max, date(1900, 2, 28), date(2024, 2, 29)])
SPANS = st.timedeltas(timedelta(microseconds=-(2**63)), timedelta(microseconds=2**63 - 1)) | st.timedeltas(
    timedelta(days=-4000), timedelta(days=4000)
)
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-40, 40)
OPENED = datetime(2020, 1, 31, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Moved(Event):
    at: datetime
    then: datetime
    day: date
    due: date
    span: timedelta
    n: int
    maybe: datetime | None = None


class Dates(Projection):
    at: datetime = OPENED
    day: date = date(2000, 1, 1)
    span: timedelta = timedelta()
    maybe: datetime | None = None
    n: int = 0
    x: float = 0.0
    flag: bool = False

    @on(Moved)
    def parts(self, e: Moved) -> None:
        self.n = ((e.at.year * 100 + e.at.month) * 100 + e.at.day) * 100 + e.at.hour
        self.n = ((self.n * 100 + e.at.minute) * 100 + e.at.second) + e.at.microsecond * 7
        self.n += e.at.weekday() * 1000 + e.at.isoweekday()
        self.day = e.at.date()

    @on(Moved)
    def date_parts(self, e: Moved) -> None:
        self.n = (e.day.year * 100 + e.day.month) * 100 + e.day.day + e.day.weekday() * 7 + e.day.isoweekday()
        self.n += e.day.toordinal()

    @on(Moved)
    def differences(self, e: Moved) -> None:
        self.span = e.at - e.then

    @on(Moved)
    def date_differences(self, e: Moved) -> None:
        self.span = e.day - e.due
        self.flag = e.day - e.due > timedelta(days=3)

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.at = e.at + e.span

    @on(Moved)
    def moved_back(self, e: Moved) -> None:
        self.at = e.at - e.span - HOUR

    @on(Moved)
    def day_moved(self, e: Moved) -> None:
        self.day = e.day + e.span

    @on(Moved)
    def day_moved_back(self, e: Moved) -> None:
        self.day = e.day - e.span

    @on(Moved)
    def spans(self, e: Moved) -> None:
        self.span = e.span + (e.at - e.then) - HOUR

    @on(Moved)
    def spans_multiplied(self, e: Moved) -> None:
        self.span = e.span * e.n

    @on(Moved)
    def spans_divided(self, e: Moved) -> None:
        self.n = e.span // (e.at - e.then)
        self.span = e.span % (e.at - e.then) + e.span // e.n

    @on(Moved)
    def span_signs(self, e: Moved) -> None:
        self.span = -abs(e.span)

    @on(Moved)
    def span_parts(self, e: Moved) -> None:
        self.n = e.span.days * 10 + e.span.seconds - e.span.microseconds
        self.flag = bool(e.span)

    @on(Moved)
    def seconds(self, e: Moved) -> None:
        self.x = e.span.total_seconds()

    @on(Moved)
    def ratio(self, e: Moved) -> None:
        self.x = (e.at - e.then) / HOUR + e.then.timestamp()

    @on(Moved)
    def built(self, e: Moved) -> None:
        self.span = timedelta(days=e.n, hours=-e.n) + timedelta(0, e.n, 5, minutes=e.n)
        self.flag = -timedelta(hours=1) < self.span

    @on(Moved)
    def built_date(self, e: Moved) -> None:
        self.day = date(e.day.year, e.n, e.due.day)

    @on(Moved)
    def replaced(self, e: Moved) -> None:
        self.at = e.at.replace(hour=0, minute=0, second=0, microsecond=0)
        self.day = e.day.replace(day=1)

    @on(Moved)
    def replaced_by_parts(self, e: Moved) -> None:
        self.at = e.at.replace(day=e.n, hour=e.n)

    @on(Moved)
    def compared(self, e: Moved) -> None:
        self.n = (
            (e.at < e.then) + 2 * (e.at <= OPENED) + 4 * (e.day > e.due) + 8 * (e.span >= HOUR) + 16 * (e.at == e.then)
        )
        self.flag = e.at.date() == e.day or e.day in (date(2000, 1, 1), e.due)
        self.at = max(e.at, e.then, OPENED)
        self.day = min(e.day, e.due)

    @on(Moved)
    def optional(self, e: Moved) -> None:
        self.maybe = e.maybe
        self.flag = e.maybe is not None and e.maybe > e.at
        self.span = e.at - e.maybe


@settings(max_examples=150, deadline=None)
@given(
    at=MOMENTS, then=MOMENTS, day=DATES, due=DATES, span=SPANS, n=INTS | st.integers(1, 31), maybe=st.none() | MOMENTS
)
@example(at=FIRST, then=LAST, day=date.min, due=date.max, span=timedelta(microseconds=-1), n=0, maybe=None)
@example(at=LAST, then=FIRST, day=date.max, due=date.min, span=timedelta(microseconds=1), n=2, maybe=LAST)
@example(at=LAST, then=LAST, day=date(2023, 12, 31), due=date(2024, 2, 29), span=timedelta(-1, 5), n=2, maybe=FIRST)
def test_dates_equal_python_or_stop(both: Callable[..., Any], n: int, span: timedelta, **values: Any) -> None:
    found = both(Dates).apart(Moved(n=n, span=span, **values))
    if abs(n) < 1000 and abs(span) < timedelta(days=5000):
        assert status.REFUSED not in {c for name, c in found.items() if name != "ratio"}
    assert (found["optional"] == status.NONE_VALUE) == (values["maybe"] is None)
    assert found["parts"] == found["compared"] == found["date_parts"] == status.OK


class Seen(Projection):
    at: datetime = OPENED
    later: int = 0
    text: str = ""

    @on(Moved)
    def seen(self, e: Moved) -> None:
        self.later += e.recorded_at > self.at
        self.at = e.recorded_at
        self.text = f"{e.aggregate_id}/{e.type}/{e.source}/{e.tenant}/{e.version}/{e.position}"


def test_header_fields(both: Callable[..., Any]) -> None:
    event = Moved(
        at=FIRST, then=LAST, day=date.min, due=date.max, span=HOUR, n=0,
        recorded_at=datetime(2024, 5, 6, tzinfo=UTC), aggregate_id="a-ü", version=3, position=12, source="shop",
        tenant="",
    )  # fmt: skip
    assert both(Seen).state(event, event).text == "a-ü/Moved/shop//3/12"
