"""The event stores that are known by name. The columns are those that the libraries' own sources create."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.sources.postgres.preset import Condition, Join, LeftOut, Preset, TableShape, labelled, time_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CUSTOM", "PRESETS"]

MARTEN = Preset(
    name="marten",
    title="Marten",
    main=TableShape("mt_events", ("seq_id", "stream_id", "version", "type", "data", "timestamp")),
    others=(TableShape("mt_streams", ("id", "version")),),
    position=("seq_id",),
    aggregate_id=labelled("stream_id"),
    version="version",
    first_version=1,
    type=labelled("type"),
    payload="data",
    recorded_at=time_of("timestamp"),
    tenant="tenant_id",
    default_tenants=frozenset({"*DEFAULT*"}),
    left_out=(
        LeftOut("tombstones", Condition("type", ("tombstone",))),
        LeftOut("archived", Condition("is_archived", (True,)), "archived"),
    ),
    optional=frozenset({"tenant_id", "is_archived", "bdata"}),
    elsewhere="bdata",
    # Rich append mode reserves positions on another connection than the one that inserts; nothing in the tables tells.
    tail="time",
    sensitive="rich append mode reserves positions on another connection, so the tail is settled by time; with quick "
    'append mode alone set tail = "gaps", which is exact',
)

MESSAGE_DB = Preset(
    name="message-db",
    title="message-db",
    main=TableShape("messages", ("global_position", "position", "time", "stream_name", "type", "data", "metadata")),
    position=("global_position",),
    aggregate_id=labelled("stream_name"),
    version="position",
    type=labelled("type"),
    payload="data",
    recorded_at=time_of("time", coerce="iso@UTC"),
    tail="gaps",
)

EVENTSOURCING = Preset(
    name="eventsourcing",
    title="eventsourcing (Python)",
    main=TableShape("*", ("originator_id", "originator_version", "topic", "state", "notification_id")),
    position=("notification_id",),
    aggregate_id=labelled("originator_id"),
    version="originator_version",
    type=labelled("topic"),
    payload="state",
    # There is no time column; events say it themselves, unless the application has taken it out.
    recorded_at=time_of("state", "timestamp", "_data_"),
    tail="gaps",
    channels=("{name}",),
)

EVENTSOURCING_DCB = Preset(
    name="eventsourcing-dcb",
    title="eventsourcing (Python), dynamic consistency boundaries",
    main=TableShape("*_tt_main", ("id", "type", "data", "tags")),
    position=("id",),
    aggregate_id=labelled("tags"),
    memberships="tags",
    type=labelled("type"),
    payload="data",
    tail="gaps",
    channels=("{name}",),
    sensitive="an event belongs to several aggregates: it is read once for each of its tags that `aggregates` names",
)

EMMETT = Preset(
    name="emmett",
    title="Emmett",
    main=TableShape(
        "emt_messages",
        (
            *("stream_id", "stream_position", "global_position", "transaction_id", "message_type", "message_data"),
            *("created", "is_archived"),
        ),
    ),
    position=("transaction_id", "global_position"),
    aggregate_id=labelled("stream_id"),
    version="stream_position",
    first_version=1,
    type=labelled("message_type"),
    payload="message_data",
    recorded_at=time_of("created"),
    left_out=(
        LeftOut("commands", Condition("message_kind", ("C",)), "commands"),
        LeftOut("archived", Condition("is_archived", (True,)), "archived"),
    ),
    optional=frozenset({"message_kind"}),
    tail="xid",
    writes="inline",
    sensitive="a stream is known inside of its partition: where modules or tenants have partitions of their own, set "
    'tenant = "partition"',
)

SPATIE = Preset(
    name="spatie",
    title="spatie laravel-event-sourcing",
    main=TableShape(
        "stored_events", ("id", "aggregate_uuid", "event_class", "event_properties", "meta_data", "created_at")
    ),
    position=("id",),
    aggregate_id=labelled("aggregate_uuid", optional=True),
    # Events recorded outside of an aggregate share one stream: the order of all is the only one that they have.
    without_aggregate="no aggregate",
    version="aggregate_version",
    type=labelled("event_class"),
    payload="event_properties",
    recorded_at=time_of("created_at", coerce="iso@UTC"),
    optional=frozenset({"aggregate_version"}),
    tail="gaps",
    writes="store-then-project",
    sensitive="created_at is in the zone of the application (recorded_at.zone, UTC where nothing is said)",
)

AXON = Preset(
    name="axon",
    title="Axon Framework 4",
    main=TableShape(
        "domain_event_entry",
        ("global_index", "aggregate_identifier", "sequence_number", "payload_type", "payload", "time_stamp"),
    ),
    position=("global_index",),
    aggregate_id=labelled("aggregate_identifier"),
    version="sequence_number",
    type=labelled("payload_type"),
    payload="payload",
    recorded_at=time_of("time_stamp", coerce="iso@UTC"),
    large_objects=frozenset({"payload"}),
    # Hibernate's pooled sequences hand out blocks that are used up to an hour later.
    tail="time",
)

COMMANDED = Preset(
    name="commanded",
    title="Commanded EventStore",
    main=TableShape(
        "stream_events", ("event_id", "stream_id", "stream_version", "original_stream_id", "original_stream_version")
    ),
    others=(
        TableShape("events", ("event_id", "event_type", "data", "created_at")),
        TableShape("streams", ("stream_id", "stream_uuid", "stream_version")),
    ),
    joins=(
        Join("events", "e", (("event_id", "event_id"),)),
        Join("streams", "s", (("stream_id", "original_stream_id"),)),
    ),
    labels={
        "event_type": ("e", "event_type"),
        "data": ("e", "data"),
        "created_at": ("e", "created_at"),
        "stream_uuid": ("s", "stream_uuid"),
    },
    position=("stream_version",),
    aggregate_id=labelled("stream_uuid"),
    version="original_stream_version",
    type=labelled("event_type"),
    payload="data",
    recorded_at=time_of("created_at", coerce="iso@UTC"),
    # Stream 0 is $all: every event once, under the stream that it was appended to.
    only=(Condition("stream_id", (0,)),),
    tail="serialised",
    channels=("{schema}.events",),
)

RAILS = Preset(
    name="rails-event-store",
    title="Rails Event Store",
    main=TableShape("event_store_events", ("id", "event_id", "event_type", "data", "created_at")),
    others=(TableShape("event_store_events_in_streams", ("id", "stream", "position", "event_id")),),
    # An event is linked to as many streams as one likes; the one that it was published in came first. One that was
    # published in none, or whose stream was deleted, is linked nowhere.
    joins=(Join("event_store_events_in_streams", "s", (("event_id", "event_id"),), first_by="id"),),
    labels={"stream": ("s", "stream"), "stream_position": ("s", "position")},
    position=("id",),
    aggregate_id=labelled("stream", optional=True),
    without_aggregate="no stream",
    version="stream_position",
    type=labelled("event_type"),
    payload="data",
    recorded_at=time_of("created_at", coerce="iso@UTC"),
    tail="gaps",
    writes="inline",
)

EVENTUOUS = Preset(
    name="eventuous",
    title="Eventuous",
    main=TableShape(
        "messages", ("global_position", "stream_id", "stream_position", "message_type", "json_data", "created")
    ),
    others=(TableShape("streams", ("stream_id", "stream_name")),),
    joins=(Join("streams", "s", (("stream_id", "stream_id"),)),),
    labels={"stream_name": ("s", "stream_name")},
    position=("global_position",),
    aggregate_id=labelled("stream_name"),
    version="stream_position",
    type=labelled("message_type"),
    payload="json_data",
    recorded_at=time_of("created", coerce="iso@UTC"),
    tail="gaps",
)

CUSTOM = "custom"
"""The preset that is only configuration."""

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        *(MARTEN, MESSAGE_DB, EVENTSOURCING, EVENTSOURCING_DCB, EMMETT),
        *(SPATIE, AXON, COMMANDED, RAILS, EVENTUOUS),
    )
}
