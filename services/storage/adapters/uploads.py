"""The uploads that are on their way: each has a row before it has an object, and a lease.

Who works on an upload renews its lease; a row whose lease has run out was left by a process that
died, or is a link that nobody used, and is ended by the sweep. `claims` counts who took the row up
and so tells claimants apart. It knows no bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from kernel.clock import new_id
from kernel.sql import Database
from kernel.unit import Unit
from services.storage.domain import UPLOAD, upload_key

LEASE: Final = timedelta(seconds=90)
LINK_GRACE: Final = timedelta(minutes=15)
"""What began before a link's end may come to its end after it."""
FENCED_TABLE: Final = "uploads"
_COLUMNS: Final = (
    "upload_id, user_id, account_id, plan, key, staging_key, mime_type, reserved_bytes, claims,"
    " lease_until, link_until, created_at"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose file it is, who pays, and by which plan."""

    user_id: UUID
    account_id: UUID
    plan: str


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """`key` is where the file is to lie. A link to put it has an end (`link_until`), and leads to
    `staging_key`; what comes through us has neither. `plan` is its user's when it began."""

    upload_id: UUID
    user_id: UUID
    account_id: UUID
    plan: str
    key: str
    staging_key: str | None
    mime_type: str
    reserved_bytes: int
    claims: int
    lease_until: datetime
    link_until: datetime | None
    created_at: datetime


def opened(owner: Owner, mime_type: str, size: int, now: datetime) -> OpenUpload:
    """A new one, of bytes that come through us."""
    upload_id = new_id()
    return OpenUpload(
        upload_id=upload_id,
        user_id=owner.user_id,
        account_id=owner.account_id,
        plan=owner.plan,
        key=upload_key(upload_id, mime_type),
        staging_key=None,
        mime_type=mime_type,
        reserved_bytes=size,
        claims=0,
        lease_until=now + LEASE,
        link_until=None,
        created_at=now,
    )


class OpenUploads:
    """The table `uploads` of storage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, user_id: UUID, upload_id: UUID) -> OpenUpload | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT {_COLUMNS} FROM storage.uploads WHERE upload_id = $1 AND user_id = $2",
                *(upload_id, user_id),
            )
        return None if row is None else OpenUpload(**row)

    async def put_to(self, staging_key: str, now: datetime) -> OpenUpload | None:
        """The upload whose link leads there and is good now."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT {_COLUMNS} FROM storage.uploads"
                " WHERE staging_key = $1 AND link_until >= $2",
                *(staging_key, now),
            )
        return None if row is None else OpenUpload(**row)

    async def claim(self, user_id: UUID, upload_id: UUID, now: datetime) -> OpenUpload | None:
        """Take up a link's upload of that user; None while another has it, or when it is no
        more."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "UPDATE storage.uploads SET claims = claims + 1,"
                " claimed_until = $3::timestamptz + $4,"
                " lease_until = greatest(lease_until, $3 + $4)"
                " WHERE upload_id = $1 AND user_id = $2 AND staging_key IS NOT NULL"
                f" AND (claimed_until IS NULL OR claimed_until < $3) RETURNING {_COLUMNS}",
                *(upload_id, user_id, now, LEASE),
            )
        return None if row is None else OpenUpload(**row)

    async def claim_expired(self, now: datetime, limit: int) -> Sequence[OpenUpload]:
        """Those whose lease has run out; whoever claims them ends them."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "UPDATE storage.uploads SET claims = claims + 1,"
                " claimed_until = $1::timestamptz + $2,"
                " lease_until = $1 + $2 WHERE upload_id = ANY(ARRAY("
                "SELECT upload_id FROM storage.uploads WHERE lease_until < $1"
                f" ORDER BY lease_until LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING {_COLUMNS}",
                *(now, LEASE, limit),
            )
        return [OpenUpload(**row) for row in rows]

    async def take_away(self, user_id: UUID, now: datetime, limit: int) -> Sequence[OpenUpload]:
        """Some of that user's, whoever has them in hand: he can't end them any more."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "UPDATE storage.uploads SET claims = claims + 1,"
                " claimed_until = $2::timestamptz + $3,"
                " lease_until = greatest(lease_until, $2 + $3) WHERE upload_id = ANY(ARRAY("
                "SELECT upload_id FROM storage.uploads WHERE user_id = $1"
                f" LIMIT $4 FOR UPDATE SKIP LOCKED)) RETURNING {_COLUMNS}",
                *(user_id, now, LEASE, limit),
            )
        return [OpenUpload(**row) for row in rows]

    async def renew(self, upload: OpenUpload, now: datetime) -> bool:
        """Lease it anew; False when another has it, or it has ended."""
        async with self._database.connection() as connection:
            tag = await connection.execute(
                "UPDATE storage.uploads SET claimed_until = $3::timestamptz + $4,"
                " lease_until = greatest(lease_until, $3 + $4)"
                " WHERE upload_id = $1 AND claims = $2",
                *(upload.upload_id, upload.claims, now, LEASE),
            )
        return tag == "UPDATE 1"

    async def release(self, upload: OpenUpload) -> None:
        """Nothing came of this claim: the next may have it at once."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE storage.uploads SET claimed_until = NULL"
                " WHERE upload_id = $1 AND claims = $2",
                *(upload.upload_id, upload.claims),
            )

    async def was_begun_by(self, user_id: UUID, upload_id: UUID) -> bool:
        """Whether the user ever began that upload, whatever became of it."""
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM storage.streams"
                    " WHERE stream_id = $1 AND state->>'user_id' = $2)",
                    *(UPLOAD.stream_id(upload_id), str(user_id)),
                )
            )


def record_begun(unit: Unit, upload: OpenUpload) -> None:
    unit.record_sql(
        f"INSERT INTO storage.uploads ({_COLUMNS})"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        *(upload.upload_id, upload.user_id, upload.account_id, upload.plan, upload.key),
        *(upload.staging_key, upload.mime_type, upload.reserved_bytes, upload.claims),
        *(upload.lease_until, upload.link_until, upload.created_at),
    )


def record_closed(unit: Unit, upload: OpenUpload) -> None:
    """The row goes with its upload's end.

    The commit fails with a NotNullViolationError of `FENCED_TABLE` when another has claimed the row
    since: its object may lie where this claimant's did.
    """
    unit.record_sql(
        "UPDATE storage.uploads SET plan = CASE WHEN claims = $2 THEN plan END"
        " WHERE upload_id = $1",
        *(upload.upload_id, upload.claims),
    )
    unit.record_sql("DELETE FROM storage.uploads WHERE upload_id = $1", upload.upload_id)
