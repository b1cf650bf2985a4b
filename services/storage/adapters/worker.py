"""Takes outputs from the due-list, brings them into the object store, and records how it ended.

The object comes first, the event after it: a crash in between leaves the row waiting, and the next
claimant writes the same key again before it commits its own hash.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog

from kernel.context import caused_by
from kernel.errors import Unavailable
from kernel.event_store import EventStore
from kernel.objects import ObjectStore, ObjectStoreAway
from kernel.outbound import Refused, Unreachable
from kernel.sql import DATABASE_AWAY
from kernel.unit import Recorded, Unit
from services.storage.adapters.due_list import (
    FENCED_TABLE,
    LEASE,
    DueFetch,
    DueList,
    record_end,
    record_forgotten,
)
from services.storage.adapters.erasing import delete_objects
from services.storage.adapters.fetching import BOUNDS, OutputFetcher
from services.storage.adapters.given_marks import give_mark
from services.storage.adapters.labelling import made_of
from services.storage.adapters.leasing import leased
from services.storage.adapters.media import THUMBNAIL_TYPE, MediaRefused, Wanted
from services.storage.adapters.quotas import record_room
from services.storage.domain import (
    OUTPUTS,
    KeepOutput,
    OutputExpected,
    RefuseOutput,
    StoredFile,
    output_key,
    stream_of,
    thumbnail_key,
)

FETCHES_AT_ONCE_MAX: Final = 4
POLL_EVERY_S: Final = 1.0
RENEW_EVERY_S: Final = LEASE.total_seconds() / 3
TRY_AGAIN_AFTER_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""After each failed attempt that another may mend; after one more, the output is rejected."""
CLAIMS_MAX: Final = 16
"""An output that was taken up so often, and never ended, is what ends the process."""

_CANNOT_STORE: Final = RefuseOutput("storage_failed", "The output could not be stored.")
_UNWANTED: Final = RefuseOutput("not_wanted", "Its task was removed, or its owner erased.")
_UNKNOWN_KIND: Final = RefuseOutput("unsupported_type", "Outputs of this kind cannot be stored.")

_log = structlog.get_logger(__name__)


class Overtaken(Exception):
    """The lease ran out, and another claimant has the output."""


class OutputWorker:
    """With `sole_owner` no other process can hold a lease, so those found at the start are void."""

    def __init__(
        self,
        store: EventStore,
        objects: ObjectStore,
        outputs: OutputFetcher,
        *,
        sole_owner: bool = False,
    ) -> None:
        self._store = store
        self._due = DueList(store.database)
        self._objects = objects
        self._outputs = outputs
        self._leases_are_void = sole_owner
        self._in_flight = 0
        self._wake = asyncio.Event()
        store.on_commit(self._notice)

    async def run(self) -> None:
        """Until cancelled: woken by each commit that expects an output, and by the poll."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    claimed = await self.claim()
                except DATABASE_AWAY as error:
                    _log.warning("output_claim_failed", error=type(error).__name__)
                    claimed = ()
                for fetch in claimed:
                    tasks.create_task(self.work(fetch))
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_EVERY_S):
                        await self._wake.wait()

    async def claim(self) -> Sequence[DueFetch]:
        """What is due, as far as there is room for it; each is to be given to `work`."""
        if self._leases_are_void:
            await self._due.void_leases()
            self._leases_are_void = False
        room = FETCHES_AT_ONCE_MAX - self._in_flight
        if room == 0:
            return ()
        claimed = await self._due.claim(self._store.clock.now(), room)
        self._in_flight += len(claimed)
        return claimed

    async def work(self, fetch: DueFetch) -> None:
        """One attempt and its record. What can't be recorded is claimed again after its lease."""
        with caused_by(fetch.origin, "storage"):
            try:
                await self._record(fetch, await self._attempt(fetch))
            except Overtaken:
                _log.info("output_overtaken", **_named(fetch))
            except (*DATABASE_AWAY, Unavailable) as error:
                _log.warning("output_not_recorded", error=type(error).__name__, **_named(fetch))
            finally:
                self._in_flight -= 1
                self._wake.set()

    async def _attempt(self, fetch: DueFetch) -> KeepOutput | RefuseOutput | None:
        """How the output ends; None when it is to be tried again. Raises `Overtaken`."""
        if await self._due.is_unwanted(fetch):
            await delete_objects(self._objects, fetch)
            return _UNWANTED
        if fetch.task_type not in BOUNDS:
            return _UNKNOWN_KIND
        if fetch.claims > CLAIMS_MAX:
            return _CANNOT_STORE
        try:
            return KeepOutput(await self._bring(fetch))
        except Overtaken:
            raise
        except (Refused, MediaRefused) as error:
            return RefuseOutput(error.code, str(error))
        except Unreachable as error:
            return await self._again(fetch, RefuseOutput(error.code, str(error)))
        except Exception as error:  # noqa: BLE001 - a full disk or a fault of ours, on one output, must not stop the others; its words may hold the address
            _log.warning("output_not_brought", error=type(error).__name__, **_named(fetch))
            return await self._again(fetch, _CANNOT_STORE)

    async def _bring(self, fetch: DueFetch) -> StoredFile:
        """The output and its thumbnail into the object store."""
        wanted = Wanted(
            kind=fetch.task_type,
            width=fetch.width,
            height=fetch.height,
            duration_seconds=fetch.duration_seconds,
            mime_type=fetch.mime_type,
        )
        made = made_of(fetch, self._store.clock.now())

        async def renew() -> bool:
            return await self._due.renew(fetch, self._store.clock.now())

        async with (
            leased(renew, RENEW_EVERY_S),  # films are fetched and decoded for minutes
            self._outputs.fetched(fetch.url, fetch.object_key, wanted, made) as output,
        ):
            facts = output.facts
            key = output_key(fetch.user_id, fetch.task_id, fetch.output_index, facts.mime_type)
            small = thumbnail_key(fetch.task_id, fetch.output_index)
            # A slow claimant must not write over the object of one that has committed its hash.
            if not await renew():
                raise Overtaken
            if output.labelled is not None:
                await give_mark(self._store.database, output.labelled, made, key)
            await self._objects.put_file(key, output.path, facts.mime_type, give=True)
            await self._objects.put_file(small, output.thumbnail, THUMBNAIL_TYPE, give=True)
        return facts.kept_as(key, small)

    async def _again(self, fetch: DueFetch, otherwise: RefuseOutput) -> RefuseOutput | None:
        """Put it off; `otherwise` when it was tried often enough."""
        if fetch.attempts >= len(TRY_AGAIN_AFTER_S):
            return otherwise
        delay_s = TRY_AGAIN_AFTER_S[fetch.attempts]
        _log.info("output_put_off", code=otherwise.code, delay_s=delay_s, **_named(fetch))
        next_try_at = self._store.clock.now() + timedelta(seconds=delay_s)
        await self._due.try_again(fetch, otherwise.code, next_try_at)
        return None

    async def _record(self, fetch: DueFetch, ending: KeepOutput | RefuseOutput | None) -> None:
        """The event and the row's end, in one transaction. Raises `Overtaken`."""
        if ending is None:
            return

        async def work(unit: Unit) -> None:
            stream_id = stream_of(fetch.task_id, fetch.output_index)
            recorded = await unit.decide(OUTPUTS, stream_id, ending)
            record_room(unit, recorded)
            if isinstance(ending, KeepOutput):
                record_end(unit, fetch, "done")
            else:
                record_end(unit, fetch, "rejected", ending.code)
            if ending is _UNWANTED:
                record_forgotten(unit, fetch)

        try:
            await self._store.transact(work)
        except asyncpg.NotNullViolationError as error:
            if error.table_name != FENCED_TABLE:
                raise
            raise Overtaken from None
        await self._forget_claim(fetch)
        if isinstance(ending, KeepOutput):
            _log.info("output_stored", size_bytes=ending.file.size, **_named(fetch))
        else:
            _log.warning("output_rejected", code=ending.code, **_named(fetch))

    async def _forget_claim(self, fetch: DueFetch) -> None:
        """What generation had left for us has its own key now, or is refused."""
        if fetch.object_key is not None:
            with suppress(ObjectStoreAway):
                await self._objects.delete(fetch.object_key)

    def _notice(self, recorded: Sequence[Recorded[Any]], _: object) -> None:
        if any(isinstance(item.event, OutputExpected) for item in recorded):
            self._wake.set()


def _named(fetch: DueFetch) -> dict[str, object]:
    """What a log line says of it: never its address."""
    return {"task_id": str(fetch.task_id), "output_index": fetch.output_index}
