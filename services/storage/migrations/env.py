from alembic import context

from kernel.migrations import run_environment

run_environment(context)
