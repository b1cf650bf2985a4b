"""Whose the uploaded pictures are, as storage tells it. A deleted one is left as a key alone, so
that an upload that is heard of after its deletion does not come back."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE generation.uploaded_files (
            key text PRIMARY KEY,
            user_id uuid,
            mime_type text,
            size bigint,
            safety text,
            deleted_at timestamptz,
            CHECK ((deleted_at IS NULL) = (user_id IS NOT NULL))
        )"""
    )
    op.execute("CREATE INDEX uploaded_files_by_user ON generation.uploaded_files (user_id)")
    op.execute(
        "CREATE INDEX uploaded_files_deleted ON generation.uploaded_files (deleted_at)"
        " WHERE deleted_at IS NOT NULL"
    )
