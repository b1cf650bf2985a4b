"""Storage's tests share a database for each module."""

from tests.reused_database import database_dsn, module_dsn

__all__ = ["database_dsn", "module_dsn"]
