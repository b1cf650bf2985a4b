"""The tables of keys' read models are one schema."""

from sqlalchemy import MetaData

METADATA = MetaData(schema="keys_read")
