"""Outputs that came with their vendor's answer lie in the object store already."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE storage.output_fetches ADD COLUMN object_key text")
