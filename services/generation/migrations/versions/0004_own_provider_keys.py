"""Tasks and jobs remember whether they are made under the own key of their user."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE generation.provider_jobs ADD COLUMN key_owner_id uuid")
    # Heads from before are what the same events fold to now: nobody had a key of their own.
    op.execute(
        """
        UPDATE generation.streams SET state = state || jsonb_build_object('own_key', false)
        WHERE stream_id LIKE 'task-%' AND NOT state ? 'own_key'"""
    )
