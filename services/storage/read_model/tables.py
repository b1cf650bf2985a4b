"""Where the read model of storage lies."""

from sqlalchemy import MetaData

TABLES = MetaData(schema="storage_read")
