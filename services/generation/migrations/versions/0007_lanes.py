"""Jobs queue in lanes, one for each key of a provider; who asked last, and until when a lost answer
is looked for."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE generation.provider_jobs
            ADD COLUMN lane text GENERATED ALWAYS AS (CASE WHEN key_owner_id IS NULL
                THEN provider ELSE provider || ':' || key_owner_id::text END) STORED,
            ADD COLUMN user_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
            ADD COLUMN asked_at timestamptz,
            ADD COLUMN unknown_until timestamptz,
            ADD COLUMN cancel_wanted boolean NOT NULL DEFAULT false"""
    )
    op.execute(
        """
        UPDATE generation.provider_jobs AS job SET user_id = (head.state->>'user_id')::uuid,
            unknown_until = CASE job.state WHEN 'unknown' THEN next_look_at END
        FROM generation.streams AS head
        WHERE head.stream_id = 'task-' || job.task_id
            AND job.state IN ('waiting', 'submitting', 'submitted', 'unknown')"""
    )
    # A lease is renewed in place, and dead rows go soon: thousands of rows change each second.
    op.execute(
        "ALTER TABLE generation.provider_jobs SET (fillfactor = 70,"
        " autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)"
    )
    op.execute("DROP INDEX generation.provider_jobs_due")
    op.execute(
        """
        CREATE INDEX provider_jobs_due ON generation.provider_jobs (next_look_at)
            WHERE state IN ('submitted', 'unknown')"""
    )
    # In the order of its index, whatever the planner knows of a table that changes so fast: sorting
    # all that is due for each claim took 50 ms of ten thousand jobs.
    op.execute(
        """
        CREATE FUNCTION generation.due_jobs(at timestamptz, at_most integer) RETURNS SETOF uuid
        LANGUAGE sql VOLATILE SET enable_bitmapscan = off SET enable_seqscan = off
        BEGIN ATOMIC
            SELECT job_id FROM generation.provider_jobs
            WHERE state IN ('submitted', 'unknown') AND next_look_at <= at
                AND (lease_until IS NULL OR lease_until < at)
            ORDER BY next_look_at LIMIT at_most FOR UPDATE SKIP LOCKED;
        END"""
    )
    op.execute(
        """
        CREATE INDEX provider_jobs_waiting
            ON generation.provider_jobs (lane, user_id, next_look_at) WHERE state = 'waiting'"""
    )
    op.execute(
        """
        CREATE INDEX provider_jobs_running ON generation.provider_jobs (lane, user_id)
            WHERE state IN ('submitting', 'submitted', 'unknown')"""
    )
    op.execute(
        """
        CREATE INDEX provider_jobs_put_off ON generation.provider_jobs (next_look_at)
            WHERE state = 'waiting'"""
    )
    op.execute("CREATE INDEX provider_jobs_asked ON generation.provider_jobs (lane, asked_at)")
    op.execute(
        "CREATE INDEX provider_jobs_served ON generation.provider_jobs (lane, user_id, asked_at)"
    )
    op.execute(
        """
        CREATE INDEX provider_jobs_submitting ON generation.provider_jobs (lease_until)
            WHERE state = 'submitting'"""
    )
    op.execute(
        """
        CREATE INDEX provider_jobs_unknown ON generation.provider_jobs (unknown_until)
            WHERE unknown_until IS NOT NULL"""
    )
