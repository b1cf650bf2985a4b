"""What was asked of films and sounds: how long, and of which type."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE storage.output_fetches
            ADD COLUMN duration_seconds double precision, ADD COLUMN mime_type text""")
