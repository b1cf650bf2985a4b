"""The kernel's tables, and the due-list of outputs to fetch."""

from alembic import op

from kernel.schema import event_store_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in event_store_v1("storage"):
        op.execute(statement)
    op.execute("""
        CREATE TABLE storage.output_fetches (
            task_id uuid NOT NULL,
            output_index integer NOT NULL,
            user_id uuid NOT NULL,
            url text,
            task_type text NOT NULL,
            width integer,
            height integer,
            state text NOT NULL CHECK (state IN ('waiting', 'done', 'rejected')),
            claims integer NOT NULL DEFAULT 0,
            attempts integer NOT NULL DEFAULT 0,
            next_try_at timestamptz NOT NULL,
            lease_until timestamptz,
            error text,
            request_id text NOT NULL,
            causation_id text,
            traceparent text,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (task_id, output_index),
            CHECK (url IS NOT NULL OR state <> 'waiting')
        )""")
    op.execute("""
        CREATE INDEX output_fetches_due ON storage.output_fetches (next_try_at)
            WHERE state = 'waiting'""")
