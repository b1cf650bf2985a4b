"""Every person's audit log, entry by entry, as it can be asked for."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Column, DateTime, Index, Integer, Table, Text, Uuid, insert

from kernel.sql import Statement
from services.keys.domain import AuditRecorded
from services.keys.read_model.metadata import METADATA

KEY_AUDIT_LOGS = Table(
    "key_audit_logs",
    METADATA,
    Column("user_id", Uuid, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("actor_id", Uuid, nullable=False),
    Column("actor_key_id", Uuid),
    Column("action", Text, nullable=False),
    Column("key_id", Uuid),
    Column("outcome", Text, nullable=False),
    Column("client_sha256", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("previous_sha256", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Index("key_audit_logs_by_key", "user_id", "key_id", "sequence"),
)

_INSERT = insert(KEY_AUDIT_LOGS)


def project_audit_log(event: AuditRecorded) -> Sequence[Statement]:
    return ((_INSERT, asdict(event)),)
