"""The secrets of second factors, as personal records: encrypted, and gone when a person is erased.

Events name a secret or a list of backup codes by its id; what it is stands here alone.
"""

from datetime import datetime
from uuid import UUID

from kernel.encryption import Encryption, Personal
from kernel.unit import Unit
from services.keys.adapters.backup_codes import hashed, place_of
from services.keys.adapters.totp import step_of


class MfaRecords:
    def __init__(self, schema: str, encryption: Encryption) -> None:
        self._schema = schema
        self._personal = Personal(schema, encryption)

    async def keep_secret(self, unit: Unit, user_id: UUID, setup_id: UUID, secret: str) -> None:
        await self._personal.keep(unit, user_id, _totp(setup_id), secret)

    async def keep_codes(
        self, unit: Unit, user_id: UUID, codes_id: UUID, codes: tuple[str, ...]
    ) -> None:
        await self._personal.keep(unit, user_id, _codes(codes_id), hashed(codes))

    async def step(
        self, unit: Unit, user_id: UUID, setup_id: UUID | None, code: str, at: datetime
    ) -> int | None:
        """The time step at which `code` is one of the secret's; None when at none, or no secret."""
        secret = await self._read(unit, user_id, None if setup_id is None else _totp(setup_id))
        return None if secret is None else step_of(secret, code, at)

    async def place(
        self, unit: Unit, user_id: UUID, codes_id: UUID | None, code: str
    ) -> int | None:
        """Where `code` stands in the list; None when nowhere, or no list."""
        kept = await self._read(unit, user_id, None if codes_id is None else _codes(codes_id))
        return None if kept is None else place_of(code, kept)

    def forget_secret(self, unit: Unit, user_id: UUID, setup_id: UUID | None) -> None:
        if setup_id is not None:
            self._forget(unit, user_id, _totp(setup_id))

    def forget_codes(self, unit: Unit, user_id: UUID, codes_id: UUID | None) -> None:
        if codes_id is not None:
            self._forget(unit, user_id, _codes(codes_id))

    async def _read(self, unit: Unit, user_id: UUID, ref: str | None) -> str | None:
        if ref is None:
            return None
        return (await self._personal.read(unit.connection, user_id, (ref,))).get(ref)

    def _forget(self, unit: Unit, user_id: UUID, ref: str) -> None:
        unit.record_sql(
            f"DELETE FROM {self._schema}.personal WHERE owner_id = $1 AND ref = $2", user_id, ref
        )


def _totp(setup_id: UUID) -> str:
    return f"totp-{setup_id}"


def _codes(codes_id: UUID) -> str:
    return f"backup-codes-{codes_id}"
