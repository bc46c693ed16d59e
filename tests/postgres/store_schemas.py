"""Tables of event stores for which there is no dump, with the columns, types and keys that the libraries' own sources
create (indexes that only their queries need are left out).
"""

from __future__ import annotations

__all__ = ["SCHEMAS"]

MARTEN = """
CREATE TABLE mt_streams (
    id {id} NOT NULL, type varchar, version bigint, timestamp timestamptz NOT NULL DEFAULT now(), snapshot jsonb,
    snapshot_version integer, created timestamptz NOT NULL DEFAULT now(), tenant_id varchar DEFAULT '*DEFAULT*',
    is_archived bool DEFAULT false, PRIMARY KEY (id)
);
CREATE TABLE mt_events (
    seq_id bigint NOT NULL PRIMARY KEY, id uuid NOT NULL DEFAULT gen_random_uuid(), stream_id {id},
    version bigint NOT NULL, data jsonb NOT NULL, type varchar(500) NOT NULL,
    timestamp timestamptz NOT NULL DEFAULT now(),
    tenant_id varchar DEFAULT '*DEFAULT*', mt_dotnet_type varchar, headers jsonb, is_archived bool DEFAULT false
);
CREATE SEQUENCE mt_events_sequence OWNED BY mt_events.seq_id;
CREATE UNIQUE INDEX pk_mt_events_stream_and_version ON mt_events (stream_id, version);
"""
SPATIE = """
CREATE TABLE stored_events (
    id bigserial PRIMARY KEY, aggregate_uuid uuid, aggregate_version bigint, event_version smallint NOT NULL DEFAULT 1,
    event_class varchar(255) NOT NULL, event_properties jsonb NOT NULL, meta_data jsonb NOT NULL,
    created_at timestamp(0) NOT NULL, UNIQUE (aggregate_uuid, aggregate_version)
);
"""
AXON = """
CREATE SEQUENCE domain_event_entry_seq START 1 INCREMENT 50;
CREATE TABLE domain_event_entry (
    global_index bigint NOT NULL PRIMARY KEY, aggregate_identifier varchar(255) NOT NULL,
    sequence_number bigint NOT NULL, type varchar(255), event_identifier varchar(255) NOT NULL UNIQUE,
    meta_data {blob}, payload {blob} NOT NULL, payload_revision varchar(255), payload_type varchar(255) NOT NULL,
    time_stamp varchar(255) NOT NULL, UNIQUE (aggregate_identifier, sequence_number)
);
CREATE TABLE snapshot_event_entry (
    aggregate_identifier varchar(255) NOT NULL, sequence_number bigint NOT NULL, type varchar(255) NOT NULL,
    event_identifier varchar(255) NOT NULL UNIQUE, meta_data {blob}, payload {blob} NOT NULL,
    payload_revision varchar(255), payload_type varchar(255) NOT NULL, time_stamp varchar(255) NOT NULL,
    PRIMARY KEY (aggregate_identifier, sequence_number, type)
);
"""
COMMANDED = """
CREATE TABLE streams (
    stream_id bigserial PRIMARY KEY, stream_uuid text NOT NULL UNIQUE, stream_version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz
);
CREATE TABLE events (
    event_id uuid PRIMARY KEY, event_type text NOT NULL, causation_id uuid, correlation_id uuid, data {data} NOT NULL,
    metadata {data}, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE stream_events (
    event_id uuid NOT NULL REFERENCES events (event_id), stream_id bigint NOT NULL REFERENCES streams (stream_id),
    stream_version bigint NOT NULL, original_stream_id bigint REFERENCES streams (stream_id),
    original_stream_version bigint, PRIMARY KEY (event_id, stream_id)
);
CREATE UNIQUE INDEX ix_stream_events ON stream_events (stream_id, stream_version);
INSERT INTO streams (stream_id, stream_uuid, stream_version) VALUES (0, '$all', 0);
"""
RAILS = """
CREATE TABLE event_store_events (
    id bigserial PRIMARY KEY, event_id uuid NOT NULL UNIQUE, event_type varchar NOT NULL, metadata {data},
    data {data} NOT NULL, created_at timestamp(6) NOT NULL, valid_at timestamp(6)
);
CREATE TABLE event_store_events_in_streams (
    id bigserial PRIMARY KEY, stream varchar NOT NULL, position integer, event_id uuid NOT NULL,
    created_at timestamp(6) NOT NULL, UNIQUE (stream, position), UNIQUE (stream, event_id)
);
CREATE INDEX ON event_store_events_in_streams (event_id);
"""
EVENTUOUS = """
CREATE TABLE streams (
    stream_name varchar(1000) NOT NULL UNIQUE, stream_id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    version integer NOT NULL DEFAULT -1 CHECK (version >= -1)
);
CREATE TABLE messages (
    message_id uuid NOT NULL DEFAULT gen_random_uuid(), message_type varchar NOT NULL,
    stream_id integer NOT NULL REFERENCES streams (stream_id), stream_position integer NOT NULL,
    global_position bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, json_data jsonb NOT NULL, json_metadata jsonb,
    created timestamp NOT NULL, UNIQUE (stream_id, stream_position), UNIQUE (stream_id, message_id)
);
"""
SCHEMAS = {
    "marten": MARTEN,
    "spatie": SPATIE,
    "axon": AXON,
    "commanded": COMMANDED,
    "rails-event-store": RAILS,
    "eventuous": EVENTUOUS,
}
