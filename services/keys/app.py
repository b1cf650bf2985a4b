"""Composition root of keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import structlog
from fastapi import APIRouter

from kernel.clock import Clock
from kernel.errors import Rejected
from kernel.event_store import EventStore
from kernel.http import Idempotency, create_app
from kernel.http.access_tokens import AccessTokens
from kernel.http.dead_letters import dead_letter_routes
from kernel.identifiers import shown
from kernel.inbox import Inbox
from kernel.objects import ObjectStoreAway, object_store
from kernel.outbound import Outbound
from kernel.outbox import Publisher
from kernel.projections import History
from kernel.reencryption import Encrypted
from kernel.secrets import Secrets
from kernel.service import Closable, Platform, Service, Worker
from kernel.settings import WrongSettings, read_settings
from kernel.sql import Database
from services.keys.adapters import (
    Accounts,
    AuditTrail,
    FirebaseSignIns,
    KeyUsage,
    MfaProofs,
    Passwords,
    ProviderKeys,
    SecondFactors,
    Sessions,
    SignIns,
    Users,
)
from services.keys.adapters.audit_check import AuditCheck, Faulty
from services.keys.adapters.audit_seals import AuditSeals, SealStore
from services.keys.adapters.belongings import Belongings
from services.keys.adapters.firebase import FirebaseTokens
from services.keys.adapters.guesses import Guesses
from services.keys.adapters.mail_tokens import MailTokens
from services.keys.adapters.mailers import FileMailer, Mailer, SmtpMailer, UnconfiguredMailer
from services.keys.adapters.mails import Mails
from services.keys.adapters.sweeping import sweep_for_ever
from services.keys.api import (
    KeyChanges,
    KeyCreation,
    KeyViews,
    RequireProof,
    account_routes,
    admin_key_routes,
    admin_user_routes,
    api_key_routes,
    key_audit_routes,
    key_use_routes,
    live_session_routes,
    mailed_link_routes,
    mfa_routes,
    provider_key_routes,
    resolve_provider_key_routes,
    resolve_routes,
    sign_in_routes,
)
from services.keys.domain import AGGREGATES, Role
from services.keys.inbox import subscriptions
from services.keys.outbox import announce
from services.keys.read_model import READ_MODEL, project
from services.keys.settings import KeysSettings

SCHEMA = "keys"
ADMIN_EMAIL = "admin@smartspec.local"
HISTORY = History(SCHEMA, AGGREGATES, READ_MODEL)
ENCRYPTED = Encrypted("keys.provider_keys", "user_id", "provider")
"""Beside the personal records that every service has."""

_log = structlog.get_logger(__name__)


def compose(platform: Platform, secrets: Secrets) -> Service:
    """This service by the environment's settings; a sandbox gets an admin."""
    settings = read_settings(KeysSettings)
    tokens = AccessTokens.of(settings, secrets.jwt_secret, platform.clock)
    if not tokens.can_mint:
        raise WrongSettings(
            "keys can't start: the first key of JWT_PRIVATE_KEY_FILE is no private one"
        )
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
    *,
    require_proof: RequireProof | None = None,
    mailer: Mailer | None = None,
) -> Service:
    """`passwords` replaces the argon2 parameters of production, `require_proof` the check of a
    second factor, and `mailer` what the settings say, for tests."""
    database, clock = platform.database, platform.clock
    store = EventStore(
        database, SCHEMA, AGGREGATES, clock=clock, announce=announce, project=project
    )
    audit = AuditTrail(store, platform.encryption)
    idempotency = Idempotency(database, SCHEMA, clock, sole_owner=platform.sole_owner)
    factors = SecondFactors(store, platform.encryption, audit, idempotency)
    provider_keys = ProviderKeys(store, platform.encryption, audit)
    inbox = Inbox("keys", store, subscriptions())
    people = _people(
        settings,
        platform,
        store,
        audit,
        belongings=Belongings(store, audit, factors, provider_keys),
        passwords=passwords or Passwords(settings.password_hashes_at_once_max),
        mailer=mailer or mailer_of(settings),
        access_tokens=access_tokens,
    )
    usage = KeyUsage(database, clock)
    routers = [
        *people.routers,
        provider_key_routes(provider_keys, audit),  # before `/api/keys/{key_id}`
        *_key_routers(
            settings,
            store,
            usage=usage,
            audit=audit,
            idempotency=idempotency,
            require_proof=require_proof or MfaProofs(settings.mfa_policy).spend,
        ),
        mfa_routes(store, factors, people.users, audit=audit, idempotency=idempotency),
        resolve_routes(database, clock),
        resolve_provider_key_routes(provider_keys),
        dead_letter_routes(inbox),
    ]
    objects = object_store(settings)
    seals = AuditSeals(database, SealStore(objects), clock)
    return Service(
        name="keys",
        app=create_app(
            "keys", routers, internal_tokens=platform.internal_tokens, ready=database.answers
        ),
        store=store,
        read_model=READ_MODEL,
        inbox=inbox,
        publisher=Publisher(store, platform.bus, sole_owner=platform.sole_owner),
        prepare=(objects.check,),
        workers=(idempotency.run, usage.run, seals.run, *people.workers),
        resources=(*people.resources, objects),
    )


@dataclass(frozen=True)
class _People:
    """What accounts and sessions add to the service."""

    users: Users
    routers: Sequence[APIRouter]
    workers: Sequence[Worker]
    resources: Sequence[Closable]


def _people(
    settings: KeysSettings,
    platform: Platform,
    store: EventStore,
    audit: AuditTrail,
    *,
    passwords: Passwords,
    mailer: Mailer,
    access_tokens: AccessTokens,
    belongings: Belongings,
) -> _People:
    database = platform.database
    users = Users(store, platform.encryption, passwords)
    guesses, tokens = Guesses(store), MailTokens(store)
    sessions = Sessions(store, timedelta(days=settings.session_days))
    mails = Mails(store, users, tokens, mailer, platform.public_base_url)
    firebase, outbound = _firebase(settings, platform.clock)
    sign_ins = SignIns(
        store, audit, users=users, sessions=sessions, passwords=passwords, guesses=guesses
    )
    accounts = Accounts(
        store,
        audit,
        users=users,
        passwords=passwords,
        sessions=sessions,
        tokens=tokens,
        mails=mails,
        belongings=belongings,
    )
    by_firebase = FirebaseSignIns(
        store, audit, users=users, sessions=sessions, mails=mails, tokens=firebase
    )
    return _People(
        users=users,
        routers=(
            account_routes(database, users, accounts, sign_ins),
            sign_in_routes(users, sign_ins, by_firebase, access_tokens),
            mailed_link_routes(accounts),
            admin_user_routes(database, users, accounts),
            live_session_routes(database, sessions),
        ),
        workers=(
            mails.run,
            partial(sweep_for_ever, (guesses.sweep, sessions.sweep, tokens.sweep)),
        ),
        resources=() if outbound is None else (outbound,),
    )


def mailer_of(settings: KeysSettings) -> Mailer:
    """SMTP where it is configured; else files in development, and nothing in production, which is
    said at the start: people can sign in there, but neither verify an address nor reset a
    password."""
    if settings.smtp_host is not None:
        password = settings.smtp_password
        return SmtpMailer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            sender=settings.smtp_from,
            username=settings.smtp_username,
            password=None if password is None else password.get_secret_value(),
        )
    if settings.in_production:
        _log.warning("no_mail_without_smtp", missing="SMTP_HOST")
        return UnconfiguredMailer()
    return FileMailer(settings.home.resolve() / "mail", settings.smtp_from)


def _firebase(
    settings: KeysSettings, clock: Clock
) -> tuple[FirebaseTokens | None, Outbound | None]:
    """The operator names the address of the keys, so its origin may be any."""
    if settings.firebase_project_id is None:
        return None, None
    address = urlsplit(settings.firebase_jwks_url)
    outbound = Outbound(allowed_origins=frozenset({f"{address.scheme}://{address.netloc}"}))
    tokens = FirebaseTokens(
        settings.firebase_project_id, settings.firebase_jwks_url, outbound, clock
    )
    return tokens, outbound


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
        key_audit_routes(store.database, audit),
        admin_key_routes(store.database, changes, views, audit),
        key_use_routes(usage),
    ]


async def audit_verdict(database: Database) -> tuple[int, str]:
    """Whether all audit logs are whole, as an exit status and in one line."""
    objects = object_store(read_settings(KeysSettings))
    try:
        await objects.check()
        whole = await AuditCheck(database, SealStore(objects)).run()
    except Faulty as faulty:
        fault = faulty.fault
        whose = "" if fault.user_id is None else f"{shown('user', fault.user_id)}: entry "
        what = f"{whose or 'seal '}{fault.number}: {fault.wrong}: {fault.words}"
        return 1, f"audit log: {what}"
    except asyncpg.UndefinedTableError as error:  # never started on this database, or dropped
        return (
            1,
            f"audit log: can't be read: {error}; `python -m services migrate` or `rebuild keys`",
        )
    except ObjectStoreAway as error:
        return 1, f"audit log: can't be verified: {error}"
    finally:
        await objects.aclose()
    return 0, (
        f"audit log: whole: {whole.entries} entries in {whole.logs} logs, {whole.seals} seals,"
        f" the last {whole.last_seal_sha256}; {whole.unsealed} logs wait for the next"
    )


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
