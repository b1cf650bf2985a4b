"""What is due later belongs to the trace of its request; rows from before have none."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE generation.provider_jobs ADD COLUMN traceparent text")
    op.execute("ALTER TABLE generation.task_deadlines ADD COLUMN traceparent text")
