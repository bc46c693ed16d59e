"""Projections of the loan applications (BPI Challenge 2012): per case, case and resource, type and day."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import Enum
from typing import Literal

from runner import Event, Projection, buckets, field, key, last, on

LONG_PAUSE = timedelta(days=7)
STEPS = (
    "A_SUBMITTED", "A_PARTLYSUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "A_FINALIZED", "A_DECLINED", "A_CANCELLED",
    "A_REGISTERED", "A_ACTIVATED", "A_APPROVED", "O_SELECTED", "O_CREATED", "O_SENT", "O_SENT_BACK", "O_CANCELLED",
    "O_ACCEPTED", "O_DECLINED", "W_Completeren aanvraag", "W_Nabellen offertes", "W_Nabellen incomplete dossiers",
    "W_Valideren aanvraag", "W_Afhandelen leads", "W_Beoordelen fraude", "W_Wijzigen contractgegevens",
)  # fmt: skip


class Outcome(Enum):
    """How an application ended."""

    OPEN = "open"
    APPROVED = "approved"
    DECLINED = "declined"
    CANCELLED = "cancelled"


class Step(Event, type=STEPS):
    """Any of the 24 activities: they are written alike."""

    resource: str | None = field("org:resource")
    transition: Literal["SCHEDULE", "START", "COMPLETE"] = field("lifecycle:transition")
    written: datetime = field("time:timestamp")


class Submitted(Event, type="A_SUBMITTED"):
    """The first event of every case, which alone has the case's own attributes."""

    amount: int = field("case.AMOUNT_REQ", coerce="number")
    registered: datetime = field("case.REG_DATE")
    case: str = field(("case", "concept:name"))


class Declined(Event, type="A_DECLINED"):
    """An application turned down."""


class Cancelled(Event, type="A_CANCELLED"):
    """An application given up."""


class Approved(Event, type="A_APPROVED"):
    """An application granted."""


class Offered(Event, type=("O_SENT", "O_SENT_BACK")):
    """An offer on its way to the customer, or back."""

    resource: str | None = field("org:resource")


def band_of(amount: int) -> str:
    """A helper of the module, used by a key."""
    if amount < 5_000:
        return "small"
    return "middle" if amount < 20_000 else "large"


class Applications(Projection, indexes=(("outcome",), ("amount",))):
    """One row per case."""

    amount: int = 0
    case: str = ""
    registered_late: timedelta | None = None
    outcome: Outcome = Outcome.OPEN
    decided_after: timedelta | None = None
    offers: int = 0
    sent_back: int = 0
    last_offer_by: str | None = None
    submitted_at: datetime | None = None

    @on(Submitted)
    def submitted(self, e: Submitted) -> None:
        self.amount = e.amount
        self.case = e.case
        self.submitted_at = e.recorded_at
        self.registered_late = e.recorded_at - e.registered

    @on(Offered)
    def offered(self, e: Offered) -> None:
        if e.type == "O_SENT":
            self.offers += 1
        else:
            self.sent_back += 1
        if e.resource is not None:
            self.last_offer_by = e.resource

    @on(Approved)
    def approved(self, e: Approved) -> None:
        self.outcome = Outcome.APPROVED
        if self.submitted_at is not None:
            self.decided_after = e.recorded_at - self.submitted_at

    @on(Declined)
    def declined(self, e: Declined) -> None:
        self.outcome = Outcome.DECLINED
        if self.submitted_at is not None:
            self.decided_after = e.recorded_at - self.submitted_at

    @on(Cancelled)
    def cancelled(self, e: Cancelled) -> None:
        self.outcome = Outcome.CANCELLED
        if self.submitted_at is not None:
            self.decided_after = e.recorded_at - self.submitted_at


class Courses(Projection):
    """One row per case: its pace, and where it has come to."""

    steps: int = 0
    without_resource: int = 0
    started: int = 0
    last_version: int = -1
    last_at: datetime | None = None
    longest_pause: timedelta = timedelta(0)
    long_pauses: int = 0
    at_once: int = 0
    pauses: list[int] = buckets(0, 60, 3_600, 86_400)
    recent: list[str] = last(10)
    recent_resources: list[str] = last(3)

    @on(Step)
    def step(self, e: Step) -> None:
        if self.last_at is not None:
            pause = e.recorded_at - self.last_at
            self.longest_pause = max(self.longest_pause, pause)
            self.pauses.add(pause.days * 86_400 + pause.seconds)
            if pause > LONG_PAUSE:
                self.long_pauses += 1
            elif pause == timedelta(0):
                self.at_once += 1
        self.steps += 1
        self.last_version = e.version
        self.last_at = e.recorded_at
        self.recent.append(e.type)
        if e.transition == "START":
            self.started += 1
        if e.resource is None:
            self.without_resource += 1
        else:
            self.recent_resources.append(e.resource)


class Hands(Projection, key=("aggregate_id", "resource")):
    """Child rows: one per case and whoever worked on it; None is a key value like others."""

    steps: int = 0
    done: int = 0
    first_at: datetime | None = None
    last_type: str = ""

    @on(Step)
    def step(self, e: Step) -> None:
        if self.first_at is None:
            self.first_at = e.recorded_at
        self.steps += 1
        self.last_type = e.type
        if e.transition == "COMPLETE":
            self.done += 1


class StepsPerDay(Projection, key=("type", "day")):
    """Merged: one row per activity and day, in UTC."""

    count: int = 0
    without_resource: int = 0
    hours: list[int] = buckets(5, 11, 17)

    @key
    def day(e: Step) -> date:  # noqa: N805 - a key function takes the event
        return e.recorded_at.date()

    @on(Step)
    def step(self, e: Step) -> None:
        self.count += 1
        self.hours.add(e.recorded_at.hour)
        if e.resource is None:
            self.without_resource += 1

    def merge(self, other: StepsPerDay) -> None:
        self.count += other.count
        self.without_resource += other.without_resource
        self.hours.merge(other.hours)


class Bands(Projection, key=("band",)):
    """Merged: what is asked for, in three bands."""

    count: int = 0
    total: int = 0
    highest: int = 0

    @key
    def band(e: Submitted) -> str:  # noqa: N805 - a key function takes the event
        return band_of(e.amount)

    @on(Submitted)
    def submitted(self, e: Submitted) -> None:
        self.count += 1
        self.total += e.amount
        self.highest = max(self.highest, e.amount)

    def merge(self, other: Bands) -> None:
        self.count += other.count
        self.total += other.total
        self.highest = max(self.highest, other.highest)
