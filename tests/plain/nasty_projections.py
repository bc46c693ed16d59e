"""Projections that reach into corners: every field type, deletes, child keys, merged keys, failures, helpers."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from runner import Event, Projection, Record, Scale, buckets, field, key, last, on

Money = Annotated[Decimal, Scale(2)]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = -1
    HIGH = 7


class Line(Record):
    sku: str
    quantity: int
    price: Money = Decimal("1.50")
    note: str | None


class Moved(Event, type=("stock.moved", "stock.moved.v2")):
    amount: int
    place: str = "home"
    colour: Colour = Colour.BLUE
    level: Level | None
    kind: Literal["in", "out"] = "in"


class Ordered(Event, type="order.placed"):
    lines: list[Line]
    tags: list[str] = []  # noqa: RUF012 - a default of an event, not shared
    total: Money = field("sums.total", "total", default=Decimal("0.10"))
    customer: str | None = field("data.org:resource")


class Measured(Event):
    value: float
    at: datetime
    day: date | None
    took: timedelta = timedelta(seconds=1)
    device: UUID = UUID(int=7)
    good: bool = True


class Removed(Event):
    pass


class Stock(Projection):
    """Ints, texts, enums, an early return, a delete in the middle, a value after it."""

    amount: int = 0
    high: int = -(2**63)
    place: str = "nowhere"
    colour: Colour = Colour.RED
    level: Level | None = None
    moves_in: int = 0
    removed: int = 0

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.high = max(self.high, e.amount)
        self.place = e.place
        self.colour = e.colour
        if e.level is not None:
            self.level = e.level
        if e.kind == "out":
            self.amount -= clipped(e.amount)
            return
        self.moves_in += 1
        self.amount += clipped(e.amount)

    @on(Removed)
    def gone(self, e: Removed) -> None:
        if self.moves_in > 1:
            self.delete()
        self.removed += 1


MOST = Decimal("1000.00")


def modest(amount: Decimal) -> Decimal:
    """So that sums fit in whatever order they are added."""
    return min(max(amount, -MOST), MOST)


def clipped(amount: int, most: int = 1000) -> int:
    return min(max(amount, -most), most)


class Lines(Projection, key=("aggregate_id", "sku")):
    """Child rows of list elements, an Optional among what they hold."""

    quantity: int = 0
    value: Money = Decimal("0.00")
    note: str | None = None
    orders: int = 0

    @on(Ordered, each="lines")
    def ordered(self, e: Ordered, line: Line) -> None:
        self.quantity += clipped(line.quantity)
        self.value += line.price if line.quantity > 0 else -line.price
        self.note = line.note
        if line.quantity == 3:
            self.delete()

    @on(Moved, key={"sku": "place"})
    def moved(self, e: Moved) -> None:
        self.orders += 1


class Customers(Projection, key=("customer", "day"), indexes=("customer",)):
    """A merged key with an Optional part and a computed one."""

    orders: int = 0
    value: Money = Decimal("0.00")
    lines: int = 0
    sizes: list[int] = buckets(0, 1, 2.5)

    @key
    def day(e) -> date:  # noqa: N805 - a key function takes the event
        return e.recorded_at.date()

    @on(Ordered)
    def ordered(self, e: Ordered) -> None:
        self.orders += 1
        for line in e.lines:
            self.lines += 1
            self.value += modest(line.price)
        self.sizes.add(len(e.lines))

    def merge(self, other: Customers) -> None:
        self.orders += other.orders
        self.value += other.value
        self.lines += other.lines
        self.sizes.merge(other.sizes)


class Devices(Projection):
    """Floats, times, a UUID; NaN and infinities go through."""

    worst: float = 0.0
    total: float = 0.0
    last_at: datetime | None = None
    first_day: date | None = None
    longest: timedelta = timedelta(0)
    device: UUID | None = None
    good: bool = False
    year: int = 0
    recent: list[float] = last(3)

    @on(Measured)
    def measured(self, e: Measured) -> None:
        if e.value > self.worst:
            self.worst = e.value
        self.total += e.value
        if self.last_at is None or e.at > self.last_at:
            self.last_at = e.at
        if self.first_day is None:
            self.first_day = e.day
        if e.took > self.longest:
            self.longest = e.took
        self.device = e.device
        self.good = self.good or e.good
        self.year = e.at.year
        self.recent.append(e.value)


class Everything(Projection, key=("aggregate_id", "type")):
    """Every event, also of types without a class."""

    count: int = 0
    first: int = 0
    last_version: int = 0
    last_at: datetime = datetime(2000, 1, 1, tzinfo=UTC)

    @on(Event)
    def counted(self, e: Event) -> None:
        if self.count == 0:
            self.first = e.position
        self.count += 1
        self.last_version = e.version
        self.last_at = e.recorded_at


class Strict(Projection):
    """Fails on purpose, and by overflow."""

    total: int = 0
    product: int = 1

    @on(Moved)
    def moved(self, e: Moved) -> None:
        assert e.place != "forbidden", "no such place"
        if e.kind == "out" and e.amount < 0:
            raise ValueError("negative")
        self.total += e.amount
        self.product = self.product * 3 // (1 if e.amount == 0 else e.amount)


class Texts(Projection):
    """What is done with strings."""

    joined: str = ""
    longest: str = ""
    lower: str = ""
    ascii_only: int = 0
    tags: list[str] = last(4)

    @on(Ordered)
    def ordered(self, e: Ordered) -> None:
        for tag in e.tags:
            self.tags.append(tag)
            if len(tag) > len(self.longest):
                self.longest = tag
            self.lower = tag.lower()
            if tag in ("a", "b", "EUR"):
                self.ascii_only += 1
        if len(self.joined) < 40:
            self.joined = f"{self.joined}{len(e.lines)}" + ("+;" if e.total > 1 else ";")


class Tags(Projection, key=("aggregate_id", "tag")):
    """Elements that are scalars, and a key computed from one."""

    seen: int = 0
    last_position: int = 0

    @key
    def tag(e, tag) -> str:  # noqa: N805 - a key function takes the event
        return tag[:1] + "!"

    @on(Ordered, each="tags")
    def tagged(self, e: Ordered, tag: str) -> None:
        self.seen += len(tag)
        self.last_position = e.position
        if tag == "EUR":
            self.delete()


class Quantities(Projection):
    """An each-handler of a projection by aggregate: an empty list makes no row. Two handlers of one type."""

    quantity: int = 0
    dearest: Money = Decimal("0.00")
    empty: int = 0

    @on(Ordered, each="lines")
    def line(self, e: Ordered, line: Line) -> None:
        self.quantity += clipped(line.quantity)
        if line.note is None and line.price > self.dearest:
            self.dearest = line.price

    @on(Removed)
    def removed(self, e: Removed) -> None:
        self.empty += 1


class MovedAgain(Event, type="stock.moved"):
    """Another view of a stored type."""

    amount: int
    kind: str = "?"


class Both(Projection):
    """Two event classes that read one stored type, one after the other; who moved what, by scope."""

    first: int = 0
    second: int = 0
    kinds: str = ""
    who: str = ""

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.first += clipped(e.amount)
        self.who = e.source + "/" + e.tenant + "/" + e.aggregate_id

    @on(MovedAgain)
    def again(self, e: MovedAgain) -> None:
        self.second = self.first - 1
        if len(self.kinds) < 20:
            self.kinds += e.kind


class Prices(Projection, key=("currency", "level")):
    """Decimals, rounding, an int enum as a key part, a merge that compares."""

    count: int = 0
    total: Annotated[Decimal, Scale(1, "ROUND_HALF_EVEN")] = Decimal("0.0")
    dearest: Money | None = None
    first_at: datetime | None = None

    @key
    def currency(e) -> str:  # noqa: N805 - a key function takes the event
        return "EUR" if e.position % 2 == 0 else "USD"

    @key
    def level(e) -> Level:  # noqa: N805 - a key function takes the event
        return Level.HIGH if e.total > 1 else Level.LOW

    @on(Ordered)
    def ordered(self, e: Ordered) -> None:
        self.count += 1
        self.total = max(self.total, modest(e.total) * 3)
        if self.dearest is None or e.total > self.dearest:
            self.dearest = e.total
        if self.first_at is None or e.recorded_at < self.first_at:
            self.first_at = e.recorded_at

    def merge(self, other: Prices) -> None:
        self.count += other.count
        self.total = max(self.total, other.total)
        if other.dearest is not None and (self.dearest is None or other.dearest > self.dearest):
            self.dearest = other.dearest
        if other.first_at is not None and (self.first_at is None or other.first_at < self.first_at):
            self.first_at = other.first_at


class Interpreted(Projection, compiled=False):
    """What is not compiled: a loop with while, a comprehension, sorted."""

    steps: int = 0
    tags: str = ""

    @on(Ordered)
    def ordered(self, e: Ordered) -> None:
        n = len(e.lines)
        while n > 0:
            n -= 1
            self.steps += 1
        self.tags = ",".join(sorted({t + "." for t in e.tags}))


ALL = (Stock, Lines, Customers, Devices, Everything, Strict, Texts, Tags, Quantities, Both, Prices, Interpreted)
EVENTS = (Moved, Ordered, Measured, Removed)
