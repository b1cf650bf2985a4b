"""Every challenge of a second factor and what became of it; no code, and no hash of a proof."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    bindparam,
    insert,
    select,
    update,
)

from kernel.sql import Database, Statement
from services.keys.domain import MfaChallenged, MfaFailed, MfaProofSpent, MfaVerified
from services.keys.read_model.metadata import METADATA

KEY_MFA_VERIFICATIONS = Table(
    "key_mfa_verifications",
    METADATA,
    Column("challenge_id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    Column("key_id", Uuid),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("verified_at", DateTime(timezone=True)),
    Column("method", Text),
    Column("failures", Integer, nullable=False),
    Column("locked_at", DateTime(timezone=True)),
    Column("spent_at", DateTime(timezone=True)),
    Index("key_mfa_verifications_by_user", "user_id", "challenge_id"),
)

_INSERT = insert(KEY_MFA_VERIFICATIONS)
_UPDATE = update(KEY_MFA_VERIFICATIONS).where(
    KEY_MFA_VERIFICATIONS.c.challenge_id == bindparam("which")
)
_ONE = select(KEY_MFA_VERIFICATIONS).where(
    KEY_MFA_VERIFICATIONS.c.user_id == bindparam("user_id"),
    KEY_MFA_VERIFICATIONS.c.challenge_id == bindparam("challenge_id"),
)


def project_challenge(event: MfaChallenged) -> Sequence[Statement]:
    row = {
        "challenge_id": event.challenge_id,
        "user_id": event.user_id,
        "operation": event.operation,
        "key_id": event.key_id,
        "created_at": event.challenged_at,
        "expires_at": event.expires_at,
        "failures": 0,
    }
    return ((_INSERT, row),)


def project_verified_challenge(event: MfaVerified) -> Sequence[Statement]:
    verified = {"verified_at": event.verified_at, "method": event.method}
    return ((_UPDATE, {"which": event.challenge_id, **verified}),)


def project_failed_challenge(event: MfaFailed) -> Sequence[Statement]:
    """Nothing where a secret was being confirmed."""
    if event.challenge_id is None:
        return ()
    locked_at = event.failed_at if event.challenge_locked else None
    failed = {"failures": event.failures, "locked_at": locked_at}
    return ((_UPDATE, {"which": event.challenge_id, **failed}),)


def project_spent_proof(event: MfaProofSpent) -> Sequence[Statement]:
    return ((_UPDATE, {"which": event.challenge_id, "spent_at": event.spent_at}),)


async def challenge_of(
    database: Database, user_id: UUID, challenge_id: UUID
) -> asyncpg.Record | None:
    """The user's challenge of that id; another user's is none."""
    return await database.fetch_row(_ONE, user_id=user_id, challenge_id=challenge_id)
