"""Tasks remember who is asked for them, and what their lengths and types are to be."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Heads from before are what the same events fold to now.
    op.execute(
        """
        UPDATE generation.streams AS head SET state = head.state || jsonb_build_object(
            'duration_s', NULL, 'mime_type', NULL, 'meter', NULL, 'vendor_model', '',
            'provider', created.data->>'provider')
        FROM generation.events AS created
        WHERE created.stream_id = head.stream_id AND created.version = 1
            AND head.stream_id LIKE 'task-%' AND NOT head.state ? 'vendor_model'"""
    )
