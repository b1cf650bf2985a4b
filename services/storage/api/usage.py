"""What a user's files take up, and what this month's storage costs so far."""

from datetime import datetime
from typing import Final

from fastapi import APIRouter

from kernel.http import Caller
from kernel.money import to_credits
from services.storage.adapters.quotas import room_of
from services.storage.api.shelf import Shelf
from services.storage.api.words import TypeUsage, UsageAnswer
from services.storage.read_model import by_type, lain

BYTES_OF_A_GB: Final = 10**9
HOURS_OF_A_MONTH: Final = 24 * 30


def add_usage(router: APIRouter, shelf: Shelf) -> None:
    @router.get("/usage")
    async def usage(caller: Caller) -> UsageAnswer:
        """Bytes, files, quota, and this month's storage so far. Days are charged when they are
        over, by the ledger; this is what it comes to."""
        caller.require("storage:read")
        room = await room_of(shelf.database, caller.user_id)
        totals = await by_type(shelf.database, caller.user_id)
        now = shelf.clock.now()
        stays = await lain(shelf.database, _month_of(now), now, caller.user_id)
        byte_hours = sum(stay.byte_hours for stay in stays)
        units = byte_hours * shelf.units_per_gb_month // (BYTES_OF_A_GB * HOURS_OF_A_MONTH)
        return UsageAnswer(
            used_bytes=room.used_bytes,
            files=room.files,
            reserved_bytes=room.reserved_bytes,
            quota_bytes=shelf.quotas.of(caller.plan),
            by_type={
                total.mime_type: TypeUsage(files=total.files, bytes=total.bytes) for total in totals
            },
            gb_hours=byte_hours / BYTES_OF_A_GB,
            charge_credits=to_credits(units),
        )


def _month_of(now: datetime) -> datetime:
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
