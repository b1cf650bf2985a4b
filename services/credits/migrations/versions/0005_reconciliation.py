"""What the reconciler found, and its turn: one process at a time compares."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS credits.differences (
            difference_id uuid PRIMARY KEY,
            kind text NOT NULL,
            task_id uuid NOT NULL,
            account_id uuid NOT NULL,
            amount_units bigint NOT NULL,
            found_at timestamptz NOT NULL,
            seen_at timestamptz NOT NULL,
            settled_at timestamptz,
            action text,
            UNIQUE (kind, task_id)
        )"""
    )
    op.execute(
        """
        CREATE INDEX IF NOT EXISTS differences_open ON credits.differences (kind)
        WHERE settled_at IS NULL"""
    )
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS credits.reconciliation (
            only_one boolean PRIMARY KEY CHECK (only_one),
            due_at timestamptz NOT NULL,
            holder uuid,
            compared_at timestamptz,
            holds integer NOT NULL,
            tasks integer NOT NULL,
            losses_units bigint NOT NULL,
            platform_at timestamptz,
            platform jsonb
        )"""
    )
    op.execute(
        """
        INSERT INTO credits.reconciliation (only_one, due_at, holds, tasks, losses_units)
        VALUES (true, 'epoch', 0, 0, 0) ON CONFLICT DO NOTHING"""
    )
