"""Holds know the key whose budget they take from; those from before take from none."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Heads from before are what the same events fold to now.
    op.execute(
        """
        UPDATE credits.streams SET state = state || jsonb_build_object('key_id', NULL)
        WHERE stream_id LIKE 'hold-%' AND NOT state ? 'key_id'"""
    )
