"""Seals of the audit log: how far they have come, and which logs have grown since."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # One row. `chain_id` tells the seals of this database from those of another.
    op.execute(
        """
        CREATE TABLE keys.audit_seals (
            the_only boolean PRIMARY KEY DEFAULT true CHECK (the_only),
            chain_id uuid NOT NULL DEFAULT gen_random_uuid(),
            number bigint NOT NULL,
            sha256 text NOT NULL,
            due_at timestamptz NOT NULL
        )"""
    )
    op.execute(
        """
        INSERT INTO keys.audit_seals (number, sha256, due_at)
        VALUES (0, repeat('0', 64), '-infinity')"""
    )
    op.execute(
        """
        CREATE TABLE keys.audit_unsealed (
            user_id uuid PRIMARY KEY,
            length integer NOT NULL CHECK (length > 0),
            sha256 text NOT NULL,
            since timestamptz NOT NULL
        )"""
    )
    op.execute("CREATE INDEX audit_unsealed_by_age ON keys.audit_unsealed (since, user_id)")
    # Logs from before are sealed first.
    op.execute(
        """
        INSERT INTO keys.audit_unsealed (user_id, length, sha256, since)
        SELECT substr(stream_id, length('audit-') + 1)::uuid, version,
            state ->> 'head_sha256', now()
        FROM keys.streams WHERE stream_id LIKE 'audit-%'"""
    )
