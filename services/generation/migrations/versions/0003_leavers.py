"""Who has been erased, and whose tasks are to be cancelled because an admin shut them out."""

from alembic import op

from kernel.schema import erasures_v1, leavers_v1

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for statement in (*erasures_v1("generation"), *leavers_v1("generation", "shut_outs")):
        op.execute(statement)
