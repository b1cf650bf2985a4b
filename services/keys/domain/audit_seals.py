"""Seals of the audit log: what the ends of all logs were at a time, each seal after the one before.

A chain can't show that its tail was cut, nor that all of it was written anew; a seal that is kept
elsewhere can. It holds ids, counts and hashes alone: no personal data, and no secret.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

SEAL_FORMAT: Final = 1
SEALED_HEADS_MAX: Final = 1_000
"""Of one seal; more make more seals."""
SEAL_BYTES_MAX: Final = 256 * 1_024
"""A head takes some 140."""
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class SealedHead:
    """A log's end: how many entries it had, and the hash of the last."""

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Seal:
    """`number` counts from 1 without gaps; `chain_id` is the database's whose logs they are."""

    number: int
    chain_id: UUID
    sealed_at: datetime
    previous_sha256: str
    heads: Mapping[UUID, SealedHead]
    format: int = SEAL_FORMAT


def seal_name(number: int) -> str:
    """The object's key; in the order of names, seals are in the order of their time."""
    return f"audit/seals/{number:0{_DIGITS}}.json"


def seal_bytes(seal: Seal) -> bytes:
    """The seal as it is kept: sorted compact JSON, one line."""
    told = {
        "format": seal.format,
        "number": seal.number,
        "chain_id": str(seal.chain_id),
        "sealed_at": seal.sealed_at.astimezone(UTC).isoformat(),
        "previous_sha256": seal.previous_sha256,
        "heads": {str(user_id): asdict(head) for user_id, head in seal.heads.items()},
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def seal_sha256(content: bytes) -> str:
    """What the next seal says of a seal that is kept as `content`."""
    return hashlib.sha256(content).hexdigest()
