"""Uploads: whose room is taken up, what is on its way, what is to be deleted, and plans."""

from alembic import op

revision = "0007"
down_revision = "0006"


HEADS = """
    UPDATE storage.streams AS head SET state = head.state || jsonb_build_object(
        'account_id', NULL,
        'key', coalesce(stored.data->'file'->>'key', ''),
        'size', coalesce((stored.data->'file'->>'size')::bigint, 0))
    FROM storage.streams AS same
    LEFT JOIN storage.events AS stored
        ON stored.stream_id = same.stream_id AND stored.type = 'OutputStored'
    WHERE head.stream_id = same.stream_id AND head.stream_id LIKE 'output-%'
        AND NOT head.state ? 'size'"""
"""Heads from before are what the same events fold to now."""
QUOTAS = """
    INSERT INTO storage.quotas (user_id, used_bytes, files)
    SELECT (state->>'user_id')::uuid, sum((state->>'size')::bigint), count(*)
    FROM storage.streams WHERE stream_id LIKE 'output-%' AND state->>'status' = 'stored'
    GROUP BY 1"""


def upgrade() -> None:
    _tables()
    op.execute(HEADS)
    op.execute(QUOTAS)


def _tables() -> None:
    op.execute("""
        CREATE TABLE storage.quotas (
            user_id uuid PRIMARY KEY,
            used_bytes bigint NOT NULL DEFAULT 0,
            files bigint NOT NULL DEFAULT 0,
            reserved_bytes bigint NOT NULL DEFAULT 0
        )""")
    op.execute("""
        CREATE TABLE storage.plans (
            user_id uuid PRIMARY KEY,
            account_id uuid NOT NULL,
            plan text NOT NULL,
            changed_at timestamptz NOT NULL
        )""")
    op.execute("""
        CREATE TABLE storage.uploads (
            upload_id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            account_id uuid NOT NULL,
            plan text NOT NULL,
            key text NOT NULL,
            staging_key text,
            mime_type text NOT NULL,
            reserved_bytes bigint NOT NULL,
            claims integer NOT NULL DEFAULT 0,
            claimed_until timestamptz,
            lease_until timestamptz NOT NULL,
            link_until timestamptz,
            created_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX uploads_by_lease ON storage.uploads (lease_until)")
    op.execute("CREATE INDEX uploads_by_user ON storage.uploads (user_id)")
    op.execute("CREATE UNIQUE INDEX uploads_by_staging_key ON storage.uploads (staging_key)")
    op.execute("""
        CREATE TABLE storage.unwanted_objects (
            key text PRIMARY KEY,
            due_at timestamptz NOT NULL,
            again_at timestamptz
        )""")
    op.execute("CREATE INDEX unwanted_objects_due ON storage.unwanted_objects (due_at)")
