"""The checker: reads what a stopped system remembers, and names each thing that must not be."""

from pathlib import Path

from kernel.sql import Database
from tests.campaign.final_reads import Told, read_all
from tests.campaign.invariants import INVARIANTS, Violation
from tests.campaign.invariants.rebuilding import heads_are_folds, read_models_rebuild_alike


async def check(
    dsn: str, objects_root: Path, accepted: Told, *, journal: Path | None = None
) -> list[Violation]:
    """Everything that is wrong, by invariant; nothing when all holds.

    Nobody else may use the database meanwhile; its read models are rebuilt in place, last.
    `journal` is that of the simulator that played the provider; without it nobody is asked.
    """
    database = await Database.connect(dsn, application="campaign")
    try:
        reads = await read_all(database, objects_root, accepted, journal)
        found = {violation for invariant in INVARIANTS for violation in invariant(reads)}
        found.update(await heads_are_folds(database))
        found.update(await read_models_rebuild_alike(database))
    finally:
        await database.close()
    return sorted(found)
