"""Which model made an output, for what is said of it later."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("ALTER TABLE storage.output_fetches ADD COLUMN model_id text")
