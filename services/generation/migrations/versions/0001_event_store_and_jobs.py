"""The kernel's tables, the due-list of provider jobs, and the deadlines of tasks."""

from alembic import op

from kernel.schema import event_store_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in event_store_v1("generation"):
        op.execute(statement)
    op.execute("""
        CREATE TABLE generation.provider_jobs (
            job_id uuid PRIMARY KEY,
            task_id uuid NOT NULL,
            output_index integer NOT NULL,
            attempt integer NOT NULL,
            provider text NOT NULL,
            model text NOT NULL,
            state text NOT NULL CHECK (state IN
                ('waiting', 'submitting', 'submitted', 'unknown', 'done', 'failed', 'ended')),
            provider_job_id text,
            next_look_at timestamptz NOT NULL,
            lease_until timestamptz,
            looks integer NOT NULL DEFAULT 0,
            progress integer NOT NULL DEFAULT 0,
            request_id text NOT NULL,
            error text,
            created_at timestamptz NOT NULL,
            UNIQUE (task_id, output_index, attempt)
        )""")
    op.execute("""
        CREATE INDEX provider_jobs_due ON generation.provider_jobs (next_look_at)
            WHERE state IN ('waiting', 'submitting', 'submitted', 'unknown')""")
    op.execute("""
        CREATE TABLE generation.task_deadlines (
            task_id uuid PRIMARY KEY,
            due_at timestamptz NOT NULL,
            request_id text NOT NULL
        )""")
    op.execute("CREATE INDEX task_deadlines_due ON generation.task_deadlines (due_at)")
