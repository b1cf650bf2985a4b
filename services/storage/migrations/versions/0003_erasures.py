"""Who has been erased, and a way to find all that is kept of one user."""

from alembic import op

from kernel.schema import erasures_v1

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for statement in erasures_v1("storage"):
        op.execute(statement)
    op.execute("CREATE INDEX output_fetches_by_user ON storage.output_fetches (user_id)")
