"""Invariant 3 once more: the ledger's own proof, which shares nothing with the checker's sums."""

from pathlib import Path

from kernel.clock import SystemClock
from kernel.objects import LocalObjectStore
from kernel.sql import Database
from services.credits.adapters.verification import verified
from services.credits.app import AGGREGATES
from tests.campaign.invariants.violation import Violation


async def ledger_is_proved(dsn: str, objects_root: Path) -> list[Violation]:
    """What `ledger verify` finds; to be asked before the read models are rebuilt."""
    database = await Database.connect(dsn, application="campaign")
    objects = LocalObjectStore(objects_root)
    try:
        faults, _ = await verified(database, AGGREGATES, objects, SystemClock().now())
    finally:
        objects.close()
        await database.close()
    return [Violation(3, "ledger verify", fault.words()) for fault in faults]
