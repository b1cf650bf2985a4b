"""The kernel's own tables, made in each service's schema by that service's first migration.

`events` and `streams` are the history and its heads, `outbox` and `inbox` the two ends of the bus,
`idempotency` and `personal` are records; `erasures` says of whom there are none any more. A later
change is a new function here and a new migration in every service; what has been released is not
edited.
"""

from uuid import UUID

APPEND_CONFLICT = "SV001"
ALREADY_HANDLED = "SV002"
"""SQLSTATEs of our own class `SV`, raised by `append`."""
OWNER_ERASED = "SV003"
"""Raised for a personal record of somebody who has been erased."""


def event_store_v1(schema: str) -> list[str]:
    """Statements that make the event store, outbox, inbox and kernel records in `schema`."""
    return [
        *_events(schema),
        *_outbox(schema),
        *_inbox(schema),
        *_records(schema),
        _append(schema),
    ]


def erasures_v1(schema: str) -> list[str]:
    """Statements that make the list of erased users, and have `personal` refuse them for ever.

    Who writes a record and who erases its owner meet at a lock of that user: whichever commits
    second sees the other, so nothing can slip in between.
    """
    return [
        *leavers_v1(schema, "erasures"),
        f"""
        CREATE FUNCTION {schema}.refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(
                hashtextextended('{schema}.erasures ' || NEW.owner_id, 0));
            IF EXISTS (SELECT FROM {schema}.erasures WHERE user_id = NEW.owner_id) THEN
                RAISE EXCEPTION 'the owner has been erased' USING ERRCODE = '{OWNER_ERASED}';
            END IF;
            RETURN NEW;
        END $$""",
        f"""
        CREATE TRIGGER personal_is_of_nobody_erased
            BEFORE INSERT ON {schema}.personal
            FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_erased()""",
    ]


def erasure_lock(schema: str, user_id: UUID) -> str:
    """The name of the lock, as `refuse_erased` spells it."""
    return f"{schema}.erasures {user_id}"


def leavers_v1(schema: str, table: str, key: str = "user_id") -> list[str]:
    """Statements that make a table for `kernel.leavers`, of users or what `key` names: nothing is
    left to do for a row without `next_step_at`."""
    return [
        f"""
        CREATE TABLE {schema}.{table} (
            {key} uuid PRIMARY KEY,
            since timestamptz NOT NULL,
            next_step_at timestamptz
        )""",
        f"""
        CREATE INDEX {table}_due ON {schema}.{table} (next_step_at)
            WHERE next_step_at IS NOT NULL""",
    ]


def _events(schema: str) -> list[str]:
    return [
        f"""
        CREATE TABLE {schema}.events (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            event_id uuid NOT NULL UNIQUE,
            stream_id text NOT NULL,
            version integer NOT NULL CHECK (version > 0),
            type text NOT NULL,
            schema_version integer NOT NULL,
            data jsonb NOT NULL,
            metadata jsonb NOT NULL,
            recorded_at timestamptz NOT NULL,
            UNIQUE (stream_id, version)
        )""",
        f"""
        CREATE TABLE {schema}.streams (
            stream_id text PRIMARY KEY,
            version integer NOT NULL,
            state jsonb NOT NULL
        ) WITH (fillfactor = 70)""",
        f"""
        CREATE FUNCTION {schema}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'events are append-only: % refused', TG_OP
                USING ERRCODE = 'insufficient_privilege';
        END $$""",
        f"""
        CREATE TRIGGER events_are_append_only
            BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.events
            FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change()""",
    ]


def _outbox(schema: str) -> list[str]:
    return [
        f"""
        CREATE TABLE {schema}.outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            event_id uuid NOT NULL UNIQUE,
            owner uuid NOT NULL,
            lease_until timestamptz NOT NULL,
            envelope jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )""",
        f"CREATE INDEX outbox_by_lease ON {schema}.outbox (lease_until)",
        f"CREATE INDEX outbox_by_owner ON {schema}.outbox (owner)",
    ]


def _inbox(schema: str) -> list[str]:
    return [
        f"""
        CREATE TABLE {schema}.inbox (
            consumer text NOT NULL,
            message_id uuid NOT NULL,
            state text NOT NULL CHECK (state IN ('done', 'retry', 'parked')),
            attempts integer NOT NULL DEFAULT 1,
            due_at timestamptz,
            envelope jsonb,
            error text,
            updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (consumer, message_id)
        ) PARTITION BY RANGE (message_id)""",
        f"CREATE INDEX inbox_due ON {schema}.inbox (due_at) WHERE state = 'retry'",
        f"CREATE INDEX inbox_parked ON {schema}.inbox (consumer) WHERE state = 'parked'",
    ]


def _records(schema: str) -> list[str]:
    return [
        f"""
        CREATE TABLE {schema}.idempotency (
            principal text NOT NULL,
            route text NOT NULL,
            key text NOT NULL,
            body_sha256 bytea NOT NULL,
            resource text NOT NULL,
            status integer,
            response jsonb,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (principal, route, key)
        )""",
        f"CREATE INDEX idempotency_by_age ON {schema}.idempotency (created_at)",
        f"""
        CREATE TABLE {schema}.personal (
            owner_id uuid NOT NULL,
            ref text NOT NULL,
            value bytea NOT NULL,
            PRIMARY KEY (owner_id, ref)
        )""",
    ]


def _append(schema: str) -> str:
    """The whole write side in one call: heads checked and moved, inbox, events, outbox.

    `heads` are applied in the given order (callers sort it, so that two commands over the same
    streams can't wait for each other). JSON comes as text: for `jsonb[]` asyncpg would ask the
    server what that is, on each new connection.
    """
    return f"""
    CREATE FUNCTION {schema}.append(
        head_ids text[], head_expected integer[], head_versions integer[], head_states text[],
        event_ids uuid[], event_streams text[], event_versions integer[], event_types text[],
        event_schemas integer[], event_data text[], event_metadata text[],
        event_time timestamptz,
        outbox_ids uuid[], outbox_envelopes text[], outbox_owner uuid, outbox_lease interval,
        inbox_consumer text, inbox_messages uuid[]
    ) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        recorded integer;
    BEGIN
        IF cardinality(inbox_messages) > 0 THEN
            INSERT INTO {schema}.inbox AS known (consumer, message_id, state)
                SELECT inbox_consumer, message, 'done' FROM unnest(inbox_messages) AS message
                ORDER BY message
                ON CONFLICT (consumer, message_id) DO UPDATE
                    SET state = 'done', due_at = NULL, envelope = NULL, error = NULL,
                        updated_at = clock_timestamp()
                    WHERE known.state <> 'done';
            GET DIAGNOSTICS recorded = ROW_COUNT;
            IF recorded < cardinality(inbox_messages) THEN
                RAISE EXCEPTION 'message handled already' USING ERRCODE = '{ALREADY_HANDLED}';
            END IF;
        END IF;
        FOR i IN 1 .. coalesce(array_length(head_ids, 1), 0) LOOP
            IF head_expected[i] = 0 THEN
                INSERT INTO {schema}.streams (stream_id, version, state)
                    VALUES (head_ids[i], head_versions[i], head_states[i]::jsonb)
                    ON CONFLICT DO NOTHING;
            ELSE
                UPDATE {schema}.streams
                    SET version = head_versions[i], state = head_states[i]::jsonb
                    WHERE stream_id = head_ids[i] AND version = head_expected[i];
            END IF;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'stream moved on' USING ERRCODE = '{APPEND_CONFLICT}';
            END IF;
        END LOOP;
        INSERT INTO {schema}.events
            (event_id, stream_id, version, type, schema_version, data, metadata, recorded_at)
            SELECT e.id, e.stream, e.version, e.type, e.schema, e.data::jsonb, e.metadata::jsonb,
                event_time
            FROM unnest(event_ids, event_streams, event_versions, event_types, event_schemas,
                        event_data, event_metadata) WITH ORDINALITY
                 AS e (id, stream, version, type, schema, data, metadata, nth)
            ORDER BY e.nth;
        INSERT INTO {schema}.outbox (event_id, owner, lease_until, envelope)
            SELECT o.id, outbox_owner, clock_timestamp() + outbox_lease, o.envelope::jsonb
            FROM unnest(outbox_ids, outbox_envelopes) WITH ORDINALITY AS o (id, envelope, nth)
            ORDER BY o.nth;
    END $$"""
