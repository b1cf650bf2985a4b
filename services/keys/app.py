"""Composition root of keys."""

from functools import partial
from uuid import UUID

from fastapi import APIRouter

from kernel.errors import Rejected
from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.access_tokens import AccessTokens
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.secrets import Secrets
from kernel.service import Platform, Service
from kernel.settings import read_settings
from services.keys.adapters import (
    AuditTrail,
    KeyUsage,
    MfaProofs,
    Passwords,
    SecondFactors,
    Users,
)
from services.keys.api import (
    KeyChanges,
    KeyCreation,
    KeyViews,
    RequireProof,
    account_routes,
    admin_key_routes,
    api_key_routes,
    key_use_routes,
    mfa_routes,
    resolve_routes,
)
from services.keys.domain import AGGREGATES, Role
from services.keys.outbox import announce
from services.keys.read_model import READ_MODEL, project
from services.keys.settings import KeysSettings

SCHEMA = "keys"
ADMIN_EMAIL = "admin@smartspec.local"
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)


def compose(platform: Platform, secrets: Secrets) -> Service:
    """This service by the environment's settings; a sandbox gets an admin."""
    settings = read_settings(KeysSettings)
    tokens = AccessTokens.of(settings, secrets.jwt_secret, platform.clock)
    service = create_service(settings, platform, tokens)
    if platform.vendors_url is not None:
        admin = partial(ensure_admin, service, platform, ADMIN_EMAIL, secrets.admin_password)
        service.prepare = (admin,)
    return service


def create_service(
    settings: KeysSettings,
    platform: Platform,
    access_tokens: AccessTokens,
    passwords: Passwords | None = None,
    require_proof: RequireProof | None = None,
) -> Service:
    """`passwords` replaces the argon2 parameters of production, and `require_proof` the check of a
    second factor, for tests."""
    database, clock = platform.database, platform.clock
    store = EventStore(
        database, SCHEMA, AGGREGATES, clock=clock, announce=announce, project=project
    )
    passwords = passwords or Passwords(settings.password_hashes_at_once_max)
    users = Users(store, platform.encryption, passwords)
    idempotency = Idempotency(database, SCHEMA, clock, sole_owner=platform.sole_owner)
    audit = AuditTrail(store, platform.encryption)
    usage = KeyUsage(database, clock)
    factors = SecondFactors(store, platform.encryption, audit, idempotency)
    routers = [
        account_routes(database, users, access_tokens),
        *_key_routers(
            settings,
            store,
            usage=usage,
            audit=audit,
            idempotency=idempotency,
            require_proof=require_proof or MfaProofs(settings.mfa_policy).spend,
        ),
        mfa_routes(store, factors, users, audit=audit, idempotency=idempotency),
        resolve_routes(database, clock),
    ]
    return Service(
        name="keys",
        app=create_app(
            "keys", routers, internal_tokens=platform.internal_tokens, ready=database.answers
        ),
        store=store,
        read_model=READ_MODEL,
        publisher=Publisher(store, platform.bus, sole_owner=platform.sole_owner),
        workers=(idempotency.run, usage.run),
    )


def _key_routers(
    settings: KeysSettings,
    store: EventStore,
    *,
    usage: KeyUsage,
    audit: AuditTrail,
    idempotency: Idempotency,
    require_proof: RequireProof,
) -> list[APIRouter]:
    views = KeyViews(store.database, usage, store.clock)
    creation = KeyCreation(
        store, views=views, audit=audit, idempotency=idempotency, rates=settings.rates_of_keys
    )
    changes = KeyChanges(
        store,
        views=views,
        usage=usage,
        audit=audit,
        idempotency=idempotency,
        require_proof=require_proof,
    )
    return [
        api_key_routes(creation, changes, views, audit),
        admin_key_routes(store.database, changes, views, audit),
        key_use_routes(usage),
    ]


async def ensure_admin(service: Service, platform: Platform, email: str, password: str) -> UUID:
    """The admin of that address, registered if nobody is; for a sandbox, on a started service.

    An address that is taken keeps its user, its password and its role.
    """
    assert service.store is not None, "keys always has a store"
    users = Users(service.store, platform.encryption, Passwords())
    known = await users.find(email)
    if known is None:
        try:
            return await users.register(email, password, role=Role.ADMIN)
        except Rejected:  # another process was first
            known = await users.find(email)
    assert known is not None, "the address is taken, so it has a user"
    return known
