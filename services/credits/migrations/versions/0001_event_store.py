"""The kernel's tables."""

from alembic import op

from kernel.schema import event_store_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in event_store_v1("credits"):
        op.execute(statement)
