"""Users' own keys of vendors; `value` is encrypted, and names its user and provider too."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE keys.provider_keys (
            user_id uuid NOT NULL,
            provider text NOT NULL,
            value bytea NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            PRIMARY KEY (user_id, provider)
        )"""
    )
