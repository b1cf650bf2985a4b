"""What can be wrong with an audit log, and which of it an entry alone gives away."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from services.keys.domain.audit import AuditLog, AuditRecorded, chained_sha256


class Wrong(StrEnum):
    EDITED = "edited"
    MISSING = "missing"
    REORDERED = "reordered"
    TAIL_CUT = "tail cut"
    REWRITTEN = "rewritten"
    HEAD_DIFFERS = "stream head differs"
    ROW_DIFFERS = "read model row differs"
    SEAL_MISSING = "seal missing"
    SEAL_EDITED = "seal edited"


@dataclass(frozen=True, slots=True)
class Fault:
    """`number` is the entry's, in the log of `user_id`; without a user it is the seal's."""

    wrong: Wrong
    user_id: UUID | None
    number: int
    words: str


def fault_in(entry: AuditRecorded, log: AuditLog, user_id: UUID, version: int) -> Fault | None:
    """What is wrong with the entry that comes after `log`, and is kept as the event `version` of
    the log of `user_id`."""
    expected = log.length + 1
    if version > expected:
        words = f"the next entry that is there is {version}"
        return Fault(Wrong.MISSING, user_id, expected, words)
    if entry.user_id != user_id:
        return Fault(Wrong.REORDERED, user_id, version, "it is of another user's log")
    if entry.sequence != version:
        words = f"entry {entry.sequence} stands in its place"
        return Fault(Wrong.REORDERED, user_id, version, words)
    if entry.sha256 != chained_sha256(entry):
        return Fault(Wrong.EDITED, user_id, version, "its hash is not that of its fields")
    if entry.previous_sha256 != log.head_sha256:
        words = "it does not follow the entry before it: one of both was replaced"
        return Fault(Wrong.EDITED, user_id, version, words)
    return None
