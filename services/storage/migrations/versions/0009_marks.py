"""Which output carries which watermark."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE storage.marks (
            mark bigint PRIMARY KEY CHECK (mark > 0),
            key text,
            model_id text,
            source_type text,
            made_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX marks_by_key ON storage.marks (key)")
