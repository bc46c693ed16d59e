"""Projections of GitHub's public events: deep JSON, lists of records, aggregates named by two parts."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Literal

from runner import Event, Projection, Record, buckets, field, key, last, on

TYPES = (
    "CommitCommentEvent", "CreateEvent", "DeleteEvent", "ForkEvent", "IssueCommentEvent", "IssuesEvent", "MemberEvent",
    "PullRequestEvent", "PullRequestReviewCommentEvent", "PushEvent", "ReleaseEvent", "WatchEvent",
)  # fmt: skip
GROUPS = "sig/"


class Label(Record):
    """One of an issue's labels."""

    name: str
    color: str
    default: bool


class Commit(Record):
    """One of a push's commits."""

    sha: str
    message: str
    distinct: bool
    author: str = field("author.name")


class Discussed(Event, type=("IssuesEvent", "IssueCommentEvent")):
    """Something about an issue, or a pull request's conversation."""

    repo: str = field("repo.name")
    number: int = field("payload.issue.number")
    title: str = field("payload.issue.title")
    body: str | None = field("payload.issue.body")
    author: str = field("payload.issue.user.login")
    comments: int = field("payload.issue.comments")
    state: Literal["open", "closed"] = field("payload.issue.state")
    opened: datetime = field("payload.issue.created_at")
    assignee: str | None = field("payload.issue.assignee.login")
    pull_request: str = field("payload.issue.pull_request.url", default="")
    labels: list[Label] = field("payload.issue.labels", default=[])


class Changed(Event, type="PullRequestEvent"):
    """A pull request opened, closed or reopened, with GitHub's own counters."""

    action: Literal["opened", "closed", "reopened"] = field("payload.action")
    author: str = field("payload.pull_request.user.login")
    opened: datetime = field("payload.pull_request.created_at")
    merged_at: datetime | None = field("payload.pull_request.merged_at")
    merged: bool = field("payload.pull_request.merged")
    milestone: str | None = field("payload.pull_request.milestone.title")
    commits: int = field("payload.pull_request.commits")
    additions: int = field("payload.pull_request.additions")
    deletions: int = field("payload.pull_request.deletions")
    review_comments: int = field("payload.pull_request.review_comments")


class Reviewed(Event, type="PullRequestReviewCommentEvent"):
    """A comment on a line of a pull request."""

    line: int | None = field("payload.comment.position")


class Numbered(Event, type=("IssuesEvent", "IssueCommentEvent", "PullRequestEvent", "PullRequestReviewCommentEvent")):
    """Whatever has a number: it stands in three places."""

    number: int = field("payload.number", "payload.issue.number", "payload.pull_request.number")
    actor: str = field("actor.login")


class Pushed(Event, type="PushEvent"):
    """Commits that reached a branch: all are counted, 20 at most are listed."""

    size: int = field("payload.size")
    distinct_size: int = field("payload.distinct_size")
    ref: str = field("payload.ref")
    commits: list[Commit] = field("payload.commits")


class Anything(Event, type=TYPES):
    """What all events have."""

    repo: str = field("repo.name")
    actor: str = field("actor.login")
    actor_id: int = field("actor.id")
    id: int = field(coerce="number")


class Threads(Projection, indexes=(("author",),)):
    """One row per issue or pull request that was talked about."""

    reference: str = ""
    title: str = ""
    author: str = ""
    is_pull_request: bool = False
    open: bool = True
    comments: int = 0
    github_comments: int = 0
    assignee: str | None = None
    group: str = ""
    labels: int = 0
    longest_body: int = 0
    age: timedelta | None = None

    @on(Discussed)
    def discussed(self, e: Discussed) -> None:
        self.reference = f"{e.repo}#{e.number}"
        self.title = e.title
        self.author = e.author.lower()
        self.is_pull_request = e.pull_request != ""
        self.open = e.state == "open"
        if e.type == "IssueCommentEvent":
            self.comments += 1
        self.github_comments = e.comments
        self.assignee = e.assignee
        self.group = ""
        self.labels = len(e.labels)
        for label in e.labels:
            if label.name.startswith(GROUPS):
                self.group = label.name[4:]
                break
        if e.body is not None:
            self.longest_body = max(self.longest_body, len(e.body))
        self.age = e.recorded_at - e.opened


class Participants(Projection):
    """One row per issue or pull request: its number, and who wrote last."""

    number: int = 0
    events: int = 0
    recent: list[str] = last(10)

    @on(Numbered)
    def numbered(self, e: Numbered) -> None:
        self.number = e.number
        self.events += 1
        self.recent.append(e.actor)


class Labels(Projection, key=("aggregate_id", "label")):
    """Child rows: one per issue and label, from the list in each event."""

    seen: int = 0
    color: str = ""
    built_in: bool = False
    first_at: datetime | None = None

    @on(Discussed, each="labels", key={"label": "name"})
    def labelled(self, e: Discussed, label: Label) -> None:
        self.seen += 1
        self.color = label.color
        self.built_in = label.default
        if self.first_at is None:
            self.first_at = e.recorded_at


class PullRequests(Projection):
    """One row per pull request, counted here and by GitHub."""

    author: str = ""
    merged: bool = False
    merged_after: timedelta | None = None
    milestone: str | None = None
    commits: int = 0
    churn: int = 0
    added_share: float = 0.0
    reopened: int = 0
    opened_here: bool = False
    reviews: int = 0
    reviews_without_line: int = 0
    reviews_until_change: int = 0
    github_reviews: int = 0
    changes: int = 0

    @on(Changed)
    def changed(self, e: Changed) -> None:
        self.changes += 1
        self.author = e.author
        self.merged = e.merged
        self.milestone = e.milestone
        self.commits = e.commits
        self.churn = e.additions + e.deletions
        self.added_share = e.additions / self.churn if self.churn > 0 else 0.0
        self.github_reviews = e.review_comments
        self.reviews_until_change = self.reviews
        if e.action == "reopened":
            self.reopened += 1
        elif e.action == "opened":
            self.opened_here = True
        if e.merged_at is not None:
            self.merged_after = e.merged_at - e.opened

    @on(Reviewed)
    def reviewed(self, e: Reviewed) -> None:
        self.reviews += 1
        if e.line is None:
            self.reviews_without_line += 1


class Pushes(Projection):
    """One row per repository: what was pushed, counted from the lists and as GitHub counts."""

    pushes: int = 0
    size: int = 0
    distinct_size: int = 0
    listed: int = 0
    listed_distinct: int = 0
    cut: int = 0
    to_master: int = 0

    @on(Pushed)
    def pushed(self, e: Pushed) -> None:
        self.pushes += 1
        if e.size > len(e.commits):
            self.cut += 1
            return
        self.size += e.size
        self.distinct_size += e.distinct_size
        self.listed += len(e.commits)
        for commit in e.commits:
            if commit.distinct:
                self.listed_distinct += 1
        if e.ref.endswith("/master"):
            self.to_master += 1


class Committers(Projection, key=("aggregate_id", "author")):
    """Child rows: one per repository and author of commits."""

    commits: int = 0
    distinct: int = 0
    letters: int = 0
    last_sha: str = ""

    @on(Pushed, each="commits")
    def pushed(self, e: Pushed, commit: Commit) -> None:
        self.commits += 1
        if commit.distinct:
            self.distinct += 1
        self.letters += len(commit.message)
        self.last_sha = commit.sha


class RepositoryDays(Projection, key=("repo", "day")):
    """Merged: one row per repository and day."""

    events: int = 0
    highest_id: int = 0
    hours: list[int] = buckets(5, 11, 17)

    @key
    def day(e: Anything) -> date:  # noqa: N805 - a key function takes the event
        return e.recorded_at.date()

    @on(Anything)
    def seen(self, e: Anything) -> None:
        self.events += 1
        self.highest_id = max(self.highest_id, e.id)
        self.hours.add(e.recorded_at.hour)

    def merge(self, other: RepositoryDays) -> None:
        self.events += other.events
        self.highest_id = max(self.highest_id, other.highest_id)
        self.hours.merge(other.hours)


class Actors(Projection, key=("actor",)):
    """Merged: one row per person, over all repositories."""

    id: int = 0
    events: int = 0
    last_at: datetime | None = None

    @on(Anything)
    def seen(self, e: Anything) -> None:
        self.id = e.actor_id
        self.events += 1
        if self.last_at is None or e.recorded_at > self.last_at:
            self.last_at = e.recorded_at

    def merge(self, other: Actors) -> None:
        self.id = max(self.id, other.id)
        self.events += other.events
        if self.last_at is None or (other.last_at is not None and other.last_at > self.last_at):
            self.last_at = other.last_at


class Titles(Projection):
    """One row per issue or pull request: what only Python's own tables of letters can do."""

    loud: str = ""
    quiet: str = ""

    @on(Discussed)
    def discussed(self, e: Discussed) -> None:
        self.loud = e.title.upper()
        self.quiet = e.title.lower()[:40]
