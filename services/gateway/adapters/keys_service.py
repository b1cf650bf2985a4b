"""Asks keys who acts by a key, by its hash, or by a session; the key itself never leaves the edge.

Tells it, too, which keys were used.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

import structlog
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from starlette.types import ASGIApp

from kernel.context import current_origin
from kernel.errors import Error, Unavailable
from kernel.http.identity import HEADER, ITSELF, Identity, InternalTokens
from kernel.rates import Rate, RateClass
from services.gateway.adapters.client_address import Network
from services.gateway.adapters.holder import Holder, shared_networks, shared_rates, shared_scopes
from services.gateway.adapters.upstream import Answer, call
from services.gateway.domain import role_of_key, scopes_of

KEY_PATH: Final = "/internal/keys/resolve"
SESSION_PATH: Final = "/internal/sessions/resolve"
USED_PATH: Final = "/internal/keys/used"
TIMEOUT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 64 * 1_024
_FOUND: Final = 200
_TAKEN: Final = 204
_NOT_FOUND: Final = 404

_log = structlog.get_logger(__name__)

Word = Annotated[str, AfterValidator(sys.intern)]
"""One of a few, of which all holders share one object."""


_RANGES: Final = TypeAdapter(tuple[str, ...])


def _networks(value: object) -> tuple[Network, ...]:
    return shared_networks(_RANGES.validate_python(value))


class KeyFacts(BaseModel):
    """What keys says of a key; `monthly_credit_limit_units` in 1/10,000 credit, `rate_limits` as
    `{"api": "20/minute"}`. `valid_until` ends the secret that was asked for, `expires_at` the key.
    A range that can't be read makes the whole unreadable: it must not let in from anywhere."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key_id: UUID
    user_id: UUID
    account_id: UUID
    role: Word
    plan: Word
    scopes: Annotated[frozenset[str], AfterValidator(shared_scopes)]
    expires_at: AwareDatetime | None
    valid_until: AwareDatetime | None = None
    monthly_credit_limit_units: NonNegativeInt | None
    active: bool
    allowed_ips: Annotated[tuple[Network, ...], PlainValidator(_networks)] = ()
    rate_limits: Mapping[str, str] = Field(default_factory=dict)

    def holder(self) -> Holder | None:
        """None for one that is not active."""
        if not self.active:
            return None
        identity = Identity(
            user_id=self.user_id,
            account_id=self.account_id,
            role=role_of_key(self.role, self.scopes),
            plan=self.plan,
            scopes=self.scopes,
            key_id=self.key_id,
            monthly_credit_limit_units=self.monthly_credit_limit_units,
            rate_limits=shared_rates(tuple(self._own_rates())),
        )
        ends = [moment for moment in (self.expires_at, self.valid_until) if moment is not None]
        ends_at = min(ends).astimezone(UTC) if ends else None  # a zone for each would take room
        return Holder(identity, ends_at, self.allowed_ips)

    def _own_rates(self) -> Iterator[tuple[RateClass, Rate]]:
        """One that can't be read is passed over: the class's own rate is in force then."""
        for name, written in self.rate_limits.items():
            try:
                yield RateClass(name), Rate.read(written)
            except ValueError:
                _log.warning("key_rate_unreadable", key_id=str(self.key_id))


class SessionFacts(BaseModel):
    """What keys says of a session that is open."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    session_id: UUID
    user_id: UUID
    account_id: UUID
    role: Word
    plan: Word
    expires_at: AwareDatetime

    def holder(self) -> Holder:
        identity = Identity(
            user_id=self.user_id,
            account_id=self.account_id,
            role=self.role,
            plan=self.plan,
            scopes=scopes_of(self.role),
            session_id=self.session_id,
        )
        return Holder(identity, self.expires_at)


@dataclass(frozen=True, slots=True)
class Use:
    """`requests` that were admitted with a key from one client, the last of them at
    `last_used_at`."""

    key_id: UUID
    address: str
    agent: str
    requests: int
    last_used_at: datetime


_USES: Final = TypeAdapter(dict[str, list[Use]])


class KeysService:
    """The service keys, in this process or another. Each call takes at most `TIMEOUT_S`, and raises
    `Unavailable` when keys can't say."""

    def __init__(self, app: ASGIApp, internal_tokens: InternalTokens) -> None:
        self._app = app
        self._internal_tokens = internal_tokens

    async def key(self, digest: bytes) -> Holder | None:
        """Who holds the key with this SHA-256, if it is good."""
        body = b'{"key_sha256":"%s"}' % digest.hex().encode()
        return await self._found(
            KEY_PATH, body, lambda answer: KeyFacts.model_validate_json(answer).holder()
        )

    async def session(self, session_id: UUID) -> Holder | None:
        """Who signed in, if the session is open."""
        body = b'{"session_id":"%s"}' % str(session_id).encode()
        return await self._found(
            SESSION_PATH, body, lambda answer: SessionFacts.model_validate_json(answer).holder()
        )

    async def used(self, uses: Sequence[Use]) -> None:
        """Add to what keys knows of the use of keys; told twice, it counts twice."""
        body = _USES.dump_json({"uses": list(uses)})
        with _unavailable_unless_said():
            answer = await self._ask(USED_PATH, body)
            if answer.status != _TAKEN:
                raise _Refused(answer.status)

    async def _found(
        self, path: str, body: bytes, read: Callable[[bytes], Holder | None]
    ) -> Holder | None:
        with _unavailable_unless_said():
            answer = await self._ask(path, body)
            if answer.status == _NOT_FOUND:
                return None
            if answer.status != _FOUND:
                raise _Refused(answer.status)
            return read(answer.body)

    async def _ask(self, path: str, body: bytes) -> Answer:
        origin = current_origin()
        async with asyncio.timeout(TIMEOUT_S):
            return await call(
                self._app,
                "POST",
                path,
                headers=[
                    (b"content-type", b"application/json"),
                    (HEADER.encode(), self._internal_tokens.mint(ITSELF).encode()),
                    (b"x-request-id", origin.correlation_id.encode()),
                    (b"traceparent", (origin.traceparent or "").encode()),
                ],
                body=body,
                answer_bytes_max=ANSWER_BYTES_MAX,
            )


class _Refused(Exception):
    """keys answered with a status that says nothing of what was asked."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


@contextmanager
def _unavailable_unless_said() -> Iterator[None]:
    """Whatever fault of keys: nobody is let in, and nobody is told no."""
    try:
        yield
    except _Refused as refused:
        _log.error("keys_refused", status=refused.status)
    except TimeoutError:
        _log.error("keys_timed_out", timeout_s=TIMEOUT_S)
    except ValidationError as error:  # a trace would show the values
        _log.error("keys_unreadable", fields=[item["loc"] for item in error.errors()])
    except Error as error:  # the way there has said it already
        _log.error("keys_unreachable", code=error.code)
    except Exception:  # noqa: BLE001 - see above
        _log.exception("keys_failed")
    else:
        return
    raise Unavailable(
        "credentials_unavailable", "Credentials can't be checked just now.", retry_after_s=1
    )
