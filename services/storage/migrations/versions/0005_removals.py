"""Which tasks their users have removed, with all that storage keeps of them."""

from alembic import op

from kernel.schema import leavers_v1

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for statement in leavers_v1("storage", "removals", "task_id"):
        op.execute(statement)
