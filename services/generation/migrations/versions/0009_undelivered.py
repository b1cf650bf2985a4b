"""What a vendor answered with, and the object store would not take."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE generation.undelivered (
            task_id uuid NOT NULL,
            output_index integer NOT NULL,
            content bytea NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (task_id, output_index)
        )"""
    )
