"""The rules of the audit log: one chain of entries for each person, each sealing the one before.

An entry's SHA-256 covers all its fields and the hash of its predecessor, so an edit, a removal or
a swap shows from there on; what a chain can't show is a cut tail, which the sealed heads do.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from kernel.messages import Aggregate, Decider

SUCCEEDED: Final = "succeeded"
GENESIS: Final = "0" * 64
"""What the first entry of every chain follows."""
_OWN_HASH: Final = "sha256"


class Action(StrEnum):
    """What was tried. Events keep the words, not the members."""

    REGISTER = "register"
    SIGN_IN = "sign_in"
    SIGN_IN_BY_FIREBASE = "sign_in_by_firebase"
    REFRESH_SESSION = "refresh_session"
    SIGN_OUT = "sign_out"
    VERIFY_EMAIL = "verify_email"
    FORGET_PASSWORD = "forget_password"  # noqa: S105 - an action, not a password
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the same
    UPDATE_USER = "update_user"
    DISABLE_USER = "disable_user"
    ERASE_USER = "erase_user"
    CREATE_KEY = "create_key"
    ROTATE_KEY = "rotate_key"
    REVOKE_KEY = "revoke_key"
    DELETE_KEY = "delete_key"
    SET_PROVIDER_KEY = "set_provider_key"
    DELETE_PROVIDER_KEY = "delete_provider_key"
    SET_UP_MFA = "set_up_mfa"
    CONFIRM_MFA = "confirm_mfa"
    CHALLENGE_MFA = "challenge_mfa"
    VERIFY_MFA = "verify_mfa"
    REGENERATE_BACKUP_CODES = "regenerate_backup_codes"


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """`user_id` is whose log it is; `actor_id` acted, by a key or (`actor_key_id` None) signed in.

    `outcome` is `SUCCEEDED` or the code of the refusal; `client_sha256` commits to the client's
    address and agent, which are kept apart and can be erased.
    """

    user_id: UUID
    actor_id: UUID
    actor_key_id: UUID | None
    action: str
    key_id: UUID | None
    outcome: str
    client_sha256: str
    request_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AuditRecorded:
    """One entry; `sequence` counts from 1 without gaps."""

    user_id: UUID
    sequence: int
    actor_id: UUID
    actor_key_id: UUID | None
    action: str
    key_id: UUID | None
    outcome: str
    client_sha256: str
    request_id: str
    recorded_at: datetime
    previous_sha256: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AuditLog:
    """The end of a chain: how many entries it has, and the hash of the last."""

    length: int = 0
    head_sha256: str = GENESIS


def chained_sha256(entry: AuditRecorded) -> str:
    """SHA-256, in hex, of the entry's fields but its own hash, as sorted compact JSON."""
    told = {
        part.name: _told(getattr(entry, part.name))
        for part in fields(entry)
        if part.name != _OWN_HASH
    }
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _told(value: object) -> object:
    if isinstance(value, datetime):
        return int(value.timestamp() * 1_000_000)  # one instant, whatever its time zone
    return value if value is None or isinstance(value, int) else str(value)


def _decide(command: RecordEntry, state: AuditLog) -> Sequence[AuditRecorded]:
    entry = AuditRecorded(
        user_id=command.user_id,
        sequence=state.length + 1,
        actor_id=command.actor_id,
        actor_key_id=command.actor_key_id,
        action=command.action,
        key_id=command.key_id,
        outcome=command.outcome,
        client_sha256=command.client_sha256,
        request_id=command.request_id,
        recorded_at=command.at,
        previous_sha256=state.head_sha256,
        sha256="",
    )
    return (_sealed(entry),)


def _sealed(entry: AuditRecorded) -> AuditRecorded:
    return replace(entry, sha256=chained_sha256(entry))


def _evolve(_: AuditLog, event: AuditRecorded) -> AuditLog:
    return AuditLog(event.sequence, event.sha256)


AUDIT_LOG: Aggregate[AuditRecorded, AuditLog] = Aggregate(
    name="audit",
    state=AuditLog,
    initial_state=AuditLog,
    evolve=_evolve,
    events=(AuditRecorded,),
)
AUDITING: Decider[RecordEntry, AuditRecorded, AuditLog] = Decider(AUDIT_LOG, _decide)
