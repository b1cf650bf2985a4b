"""Users remember when their plan was changed."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Heads from before are what the same events fold to now: nobody's plan was changed yet.
    op.execute(
        """
        UPDATE keys.streams SET state = state || jsonb_build_object('plan_changed_at', NULL)
        WHERE stream_id LIKE 'user-%' AND NOT state ? 'plan_changed_at'"""
    )
