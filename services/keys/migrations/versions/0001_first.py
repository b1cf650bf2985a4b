"""The history of keys, and the records of its users."""

from alembic import op

from kernel.schema import event_store_v1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in event_store_v1("keys"):
        op.execute(statement)
    op.execute(
        """
        CREATE TABLE keys.users (
            user_id uuid PRIMARY KEY,
            email_lookup bytea NOT NULL UNIQUE,
            password_hash text NOT NULL,
            created_at timestamptz NOT NULL
        )"""
    )
