"""Composition root of storage."""

import sys
from collections.abc import Sequence

import asyncpg

from kernel.clock import SystemClock
from kernel.errors import Error
from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.money import to_units
from kernel.objects import ObjectStore, object_store
from kernel.outbound import Outbound
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Platform, Service, Worker
from kernel.settings import read_settings
from kernel.sql import Database
from services.storage.adapters import measuring, retention, sweeping
from services.storage.adapters.accepting import Accepting
from services.storage.adapters.certificates import credentials_by
from services.storage.adapters.coming import Coming
from services.storage.adapters.deleting import Deleting
from services.storage.adapters.due_list import REMOVALS
from services.storage.adapters.erasing import Erasing
from services.storage.adapters.erasures import ERASURES, Erasures
from services.storage.adapters.expiring import Expiring
from services.storage.adapters.fetching import OutputFetcher
from services.storage.adapters.intake import Intake
from services.storage.adapters.labelling import Labeller
from services.storage.adapters.measuring import Measuring
from services.storage.adapters.media import Bands
from services.storage.adapters.orphans import Orphans
from services.storage.adapters.removing import Removing
from services.storage.adapters.retention import Expiry
from services.storage.adapters.rounds import Round, Rounds
from services.storage.adapters.sandbox import Studio
from services.storage.adapters.sweeping import Sweeping, swept
from services.storage.adapters.unwanted import Unwanted
from services.storage.adapters.verifying import Verifier
from services.storage.adapters.worker import OutputWorker
from services.storage.api import MEDIA, Media, Shelf, file_routes, media_routes, verify_routes
from services.storage.domain import MEASUREMENT, OUTPUT, UPLOAD
from services.storage.inbox import subscriptions
from services.storage.outbox import announce
from services.storage.read_model import READ_MODEL, project
from services.storage.settings import StorageSettings

SCHEMA = "storage"
AGGREGATES = (OUTPUT, UPLOAD, MEASUREMENT)
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)


def compose(platform: Platform, _: Secrets) -> Service:
    """This service by the environment's settings."""
    played = platform.vendors_url
    origins = frozenset() if played is None else frozenset({played})
    return create_service(read_settings(StorageSettings), platform, allowed_origins=origins)


def create_service(
    settings: StorageSettings,
    platform: Platform,
    *,
    allowed_origins: frozenset[str] = frozenset(),
) -> Service:
    """`allowed_origins` (`scheme://host:port`) may be fetched from though they are not public, as
    vendors that are played on this machine."""
    database = platform.database
    store = EventStore(
        database, SCHEMA, AGGREGATES, clock=platform.clock, announce=announce, project=project
    )
    objects = object_store(settings, platform.links)
    outbound = Outbound(allowed_origins=allowed_origins)
    studio = Studio(_bands(settings))
    labeller, verifier = _provenance(settings, platform, studio)
    outputs = OutputFetcher(outbound, objects, studio, labeller)
    worker = OutputWorker(store, objects, outputs, sole_owner=platform.sole_owner)
    unwanted = Unwanted(database, objects, platform.clock)
    accepting = Accepting(studio, objects.incoming)
    intake = Intake(store, objects, accepting, unwanted, settings.quotas)
    deleting = Deleting(store, unwanted)
    expiring = Expiring(database, intake, platform.clock)
    idempotency = Idempotency(database, SCHEMA, platform.clock, sole_owner=platform.sole_owner)
    coming = Coming()
    shelf = Shelf(
        database=database,
        objects=objects,
        outbound=outbound,
        accepting=accepting,
        coming=coming,
        intake=intake,
        deleting=deleting,
        idempotency=idempotency,
        quotas=settings.quotas,
        upload_bytes_max=settings.upload_bytes_max,
        units_per_gb_month=to_units(settings.credits_per_gb_month),
        clock=platform.clock,
    )
    media = Media(database, objects, platform.links, intake.open, coming, platform.clock)
    inbox = Inbox("storage", store, subscriptions())
    return Service(
        name="storage",
        app=create_app(
            "storage",
            [
                file_routes(shelf),
                verify_routes(verifier, objects.incoming, settings.verify_bytes_max),
                media_routes(media),
                dead_letter_routes(inbox),
            ],
            internal_tokens=platform.internal_tokens,
            ready=database.answers,
            files_put_under=MEDIA,
        ),
        store=store,
        read_model=READ_MODEL,
        inbox=inbox,
        publisher=Publisher(store, platform.bus, sole_owner=platform.sole_owner),
        prepare=(objects.check, *((expiring.void_leases,) if platform.sole_owner else ())),
        workers=(
            worker.run,
            *_leaving(store, objects, deleting, intake),
            *(unwanted.run, idempotency.run, expiring.run),
            _recurring(settings, store, objects, deleting).run,
        ),
        resources=(outbound, studio, objects),
    )


def _leaving(
    store: EventStore, objects: ObjectStore, deleting: Deleting, intake: Intake
) -> Sequence[Worker]:
    """What goes with its user, or with its task."""
    erasing = Erasing(store, objects, deleting, intake.end)
    removing = Removing(store, objects)
    database, clock = store.database, store.clock
    return (
        Leavers(database, clock, ERASURES, erasing.erase).run,
        Leavers(database, clock, REMOVALS, removing.remove, key="task_id").run,
    )


def _recurring(
    settings: StorageSettings, store: EventStore, objects: ObjectStore, deleting: Deleting
) -> Rounds:
    """What storage does by itself from time to time."""
    database, clock = store.database, store.clock
    sweeper = Sweeping(database, objects, clock)
    expiry = Expiry(database, deleting, settings.retention, clock)
    erasures = Erasures(database, clock)

    async def show() -> None:
        await sweeper.show()
        await erasures.show()

    rounds = (
        Round(measuring.ROUND, measuring.EVERY, Measuring(store).measure),
        Round(retention.ROUND, retention.EVERY, expiry.delete_old),
        Round(sweeping.ROUND, sweeping.EVERY, sweeper.look),
    )
    return Rounds(database, clock, rounds, show)


async def sweep(database: Database, *, delete: bool) -> tuple[int, str]:
    """One look at all objects and rows, each finding written to stdout; objects that no row names
    are deleted with `delete`. The exit status, and a summary."""
    settings = read_settings(StorageSettings)
    objects = object_store(settings)
    orphans = Orphans(database, objects, SystemClock())

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")

    try:
        return await swept(orphans, say, objects.delete if delete else None)
    except asyncpg.UndefinedTableError as error:  # never started on this database, or dropped
        return 1, f"sweep: can't be read: {error}; `python -m services migrate` first"
    except Error as error:  # the object store is away
        return 1, f"sweep: not finished: {error}"
    finally:
        await objects.aclose()


async def erasures_told(database: Database) -> tuple[int, str]:
    """As `Erasures.told`."""
    return await Erasures(database, SystemClock()).told()


def _bands(settings: StorageSettings) -> Bands | None:
    if not settings.nsfw_check:
        return None
    return Bands(settings.nsfw_review_from, settings.nsfw_block_from)


def _provenance(
    settings: StorageSettings, platform: Platform, studio: Studio
) -> tuple[Labeller | None, Verifier]:
    """What writes into outputs how they were made, where that is wanted, and what reads it."""
    secret, *former = _secrets(platform, "provenance")
    credentials = credentials_by(
        secret,
        former,
        settings.c2pa_certificate_file,
        settings.c2pa_private_key_file,
        platform.clock.now(),
    )
    marks = _secrets(platform, "watermark")
    verifier = Verifier(platform.database, studio, credentials.trusted, marks)
    if not settings.provenance:
        return None, verifier
    return Labeller(studio, credentials.signer, marks[0]), verifier


def _secrets(platform: Platform, purpose: str) -> Sequence[bytes]:
    """The present one first."""
    encryption = platform.encryption
    return (encryption.derived_secret(purpose), *encryption.former_secrets(purpose))
