"""Prices that were promised for some minutes."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE generation.quotes (
            quote_id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            digest text NOT NULL,
            price_units bigint NOT NULL CHECK (price_units >= 0),
            expires_at timestamptz NOT NULL
        )"""
    )
    op.execute("CREATE INDEX quotes_by_expiry ON generation.quotes (expires_at)")
