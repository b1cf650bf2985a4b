"""Encryption at rest: Fernet keys derived from the master keys, and the personal records.

Prompts and e-mail addresses are in no event and no message; they are rows of `personal`, encrypted,
deleted when their owner is erased.
"""

import base64
from collections.abc import Sequence
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kernel.sql import Connection
from kernel.unit import Unit

MASTER_KEY_LENGTH_MIN = 32


class Encryption:
    """`master_keys`: the first encrypts, all decrypt (`MultiFernet`), so that keys can rotate."""

    def __init__(self, master_keys: Sequence[str]) -> None:
        """Raises ValueError for a missing or short key (under 32 characters)."""
        if not master_keys or any(len(key) < MASTER_KEY_LENGTH_MIN for key in master_keys):
            raise ValueError(
                f"ENCRYPTION_MASTER_KEY needs at least {MASTER_KEY_LENGTH_MIN} characters"
            )
        self._masters = tuple(master_keys)
        fernets = [Fernet(derive(key, "fernet")) for key in master_keys]
        self._first = fernets[0]
        self._fernet = MultiFernet(fernets)

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def decrypt(self, token: bytes) -> str:
        return self._fernet.decrypt(token).decode()

    def renewed(self, token: bytes) -> bytes | None:
        """The same under the first key; None when it is so already. Raises `InvalidToken`."""
        try:
            self._first.decrypt(token)
        except InvalidToken:
            return self._fernet.rotate(token)
        return None

    def derived_secret(self, purpose: str) -> bytes:
        """A secret for one purpose (`links`, `email-lookup`): as stable as the first master key."""
        return derive(self._masters[0], purpose)

    def former_secrets(self, purpose: str) -> tuple[bytes, ...]:
        """What `derived_secret` is, or was, where another of the keys comes first."""
        return tuple(derive(key, purpose) for key in self._masters[1:])


def derive(master_key: str, purpose: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) of the master key, url-safe base64 of 32 bytes as Fernet wants it."""
    hkdf = HKDF(
        algorithm=hashes.SHA256(), length=32, salt=None, info=f"smartspec/{purpose}".encode()
    )
    return base64.urlsafe_b64encode(hkdf.derive(master_key.encode()))


class Personal:
    """The `personal` records of one service's schema."""

    def __init__(self, schema: str, encryption: Encryption) -> None:
        self._schema = schema
        self._encryption = encryption

    async def keep(self, unit: Unit, owner_id: UUID, ref: str, text: str) -> None:
        """Write the text in the unit's transaction; an existing one stays."""
        unit.record_sql(
            f"INSERT INTO {self._schema}.personal (owner_id, ref, value) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING",
            owner_id,
            ref,
            self._encryption.encrypt(text),
        )

    def replace(self, unit: Unit, owner_id: UUID, ref: str, text: str) -> None:
        """Write the text in place of whatever is there."""
        unit.record_sql(
            f"INSERT INTO {self._schema}.personal (owner_id, ref, value) VALUES ($1, $2, $3)"
            " ON CONFLICT (owner_id, ref) DO UPDATE SET value = excluded.value",
            owner_id,
            ref,
            self._encryption.encrypt(text),
        )

    def remove(self, unit: Unit, owner_id: UUID, ref: str) -> None:
        unit.record_sql(
            f"DELETE FROM {self._schema}.personal WHERE owner_id = $1 AND ref = $2", owner_id, ref
        )

    def forget(self, unit: Unit, owner_id: UUID) -> None:
        """Delete everything of the owner that is there by then."""
        unit.record_sql(f"DELETE FROM {self._schema}.personal WHERE owner_id = $1", owner_id)

    async def read_each(
        self, connection: Connection, owner_ids: Sequence[UUID], ref: str
    ) -> dict[UUID, str]:
        """One text of each owner who has it."""
        rows = await connection.fetch(
            f"SELECT owner_id, value FROM {self._schema}.personal"
            " WHERE owner_id = ANY($1::uuid[]) AND ref = $2",
            list(owner_ids),
            ref,
        )
        return {row["owner_id"]: self._encryption.decrypt(row["value"]) for row in rows}

    async def read(
        self, connection: Connection, owner_id: UUID, refs: Sequence[str]
    ) -> dict[str, str]:
        """The texts by ref; an erased one is missing."""
        rows = await connection.fetch(
            f"SELECT ref, value FROM {self._schema}.personal"
            " WHERE owner_id = $1 AND ref = ANY($2::text[])",
            owner_id,
            list(refs),
        )
        return {row["ref"]: self._encryption.decrypt(row["value"]) for row in rows}
