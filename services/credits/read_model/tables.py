"""The tables that all of the read model's files are in."""

from typing import Final

from sqlalchemy import MetaData

TABLES: Final = MetaData(schema="credits_read")
