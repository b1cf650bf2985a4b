"""Keys have versions: their heads say which, and who used a key of late is a record."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Heads from before are what the same events fold to now. No key was rotated or deleted yet.
    op.execute(
        """
        UPDATE keys.streams SET state = state || jsonb_build_object(
            'allowed_ips', jsonb_build_array(), 'rate_limits', jsonb_build_object(),
            'version', 1, 'previous_valid_until', NULL, 'deleted_at', NULL)
        WHERE stream_id LIKE 'key-%' AND NOT state ? 'version'"""
    )
    op.execute(
        """
        CREATE TABLE keys.key_usage (
            key_id uuid NOT NULL,
            address text NOT NULL,
            agent text NOT NULL,
            first_used_at timestamptz NOT NULL,
            last_used_at timestamptz NOT NULL,
            requests bigint NOT NULL CHECK (requests > 0),
            PRIMARY KEY (key_id, address, agent)
        )"""
    )
    op.execute("CREATE INDEX key_usage_by_age ON keys.key_usage (last_used_at)")
