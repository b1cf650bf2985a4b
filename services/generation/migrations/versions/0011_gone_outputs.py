"""Tasks remember which of their outputs were deleted."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    # Heads from before are what the same events fold to now: no deletion was on a stream.
    op.execute(
        """
        UPDATE generation.streams SET state = state || '{"gone": []}'
        WHERE stream_id LIKE 'task-%' AND NOT state ? 'gone'"""
    )
