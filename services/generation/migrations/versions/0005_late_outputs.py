"""Tasks remember which outputs their vendors made too late."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # Heads from before are what the same events fold to now: what came late was on no stream.
    op.execute(
        """
        UPDATE generation.streams SET state = state || '{"late": []}'
        WHERE stream_id LIKE 'task-%' AND NOT state ? 'late'"""
    )
