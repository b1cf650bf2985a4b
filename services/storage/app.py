"""Composition root of storage."""

from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.dead_letters import dead_letter_routes
from kernel.inbox import Inbox
from kernel.leavers import Leavers
from kernel.money import to_units
from kernel.objects import object_store
from kernel.outbound import Outbound
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Platform, Service
from kernel.settings import read_settings
from services.storage.adapters.accepting import Accepting
from services.storage.adapters.deleting import Deleting
from services.storage.adapters.due_list import REMOVALS
from services.storage.adapters.erasing import Erasing
from services.storage.adapters.fetching import OutputFetcher
from services.storage.adapters.intake import Intake
from services.storage.adapters.media import Bands
from services.storage.adapters.removing import Removing
from services.storage.adapters.sandbox import Studio
from services.storage.adapters.unwanted import Unwanted
from services.storage.adapters.worker import OutputWorker
from services.storage.api import MEDIA, Media, Shelf, file_routes, media_routes
from services.storage.domain import OUTPUT, UPLOAD
from services.storage.inbox import subscriptions
from services.storage.outbox import announce
from services.storage.read_model import READ_MODEL, project
from services.storage.settings import StorageSettings

SCHEMA = "storage"
AGGREGATES = (OUTPUT, UPLOAD)
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
    outputs = OutputFetcher(outbound, objects, studio)
    worker = OutputWorker(store, objects, outputs, sole_owner=platform.sole_owner)
    erasures = Leavers(
        database, platform.clock, f"{SCHEMA}.erasures", Erasing(store, objects).erase
    )
    removals = Leavers(
        database, platform.clock, REMOVALS, Removing(store, objects).remove, key="task_id"
    )
    unwanted = Unwanted(database, objects, platform.clock)
    accepting = Accepting(studio, objects.incoming)
    intake = Intake(store, objects, accepting, unwanted, settings.quotas)
    idempotency = Idempotency(database, SCHEMA, platform.clock, sole_owner=platform.sole_owner)
    shelf = Shelf(
        database=database,
        objects=objects,
        outbound=outbound,
        accepting=accepting,
        intake=intake,
        deleting=Deleting(store, unwanted),
        idempotency=idempotency,
        quotas=settings.quotas,
        upload_bytes_max=settings.upload_bytes_max,
        units_per_gb_month=to_units(settings.credits_per_gb_month),
        clock=platform.clock,
    )
    media = Media(database, objects, platform.links, intake.open, platform.clock)
    inbox = Inbox("storage", store, subscriptions())
    return Service(
        name="storage",
        app=create_app(
            "storage",
            [file_routes(shelf), media_routes(media), dead_letter_routes(inbox)],
            internal_tokens=platform.internal_tokens,
            ready=database.answers,
            files_put_under=MEDIA,
        ),
        store=store,
        read_model=READ_MODEL,
        inbox=inbox,
        publisher=Publisher(store, platform.bus, sole_owner=platform.sole_owner),
        prepare=(objects.check,),
        workers=(worker.run, erasures.run, removals.run, unwanted.run, idempotency.run),
        resources=(outbound, studio, objects),
    )


def _bands(settings: StorageSettings) -> Bands | None:
    if not settings.nsfw_check:
        return None
    return Bands(settings.nsfw_review_from, settings.nsfw_block_from)
