"""Asks keys who holds a key, by its hash; the key itself never leaves the edge."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from starlette.types import ASGIApp

from kernel.context import current_origin
from kernel.errors import Error, Unavailable
from kernel.http.identity import HEADER, ITSELF, Identity, InternalTokens
from kernel.rates import Rate, RateClass
from services.gateway.adapters.upstream import Answer, call
from services.gateway.domain import role_of_key

PATH: Final = "/internal/keys/resolve"
TIMEOUT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 64 * 1_024
_FOUND: Final = 200
_NOT_FOUND: Final = 404

_log = structlog.get_logger(__name__)


class KeyFacts(BaseModel):
    """What keys says of a key; `monthly_credit_limit_units` in 1/10,000 credit, `rate_limits` as
    `{"api": "20/minute"}`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key_id: UUID
    user_id: UUID
    account_id: UUID
    role: str
    plan: str
    scopes: frozenset[str]
    expires_at: AwareDatetime | None
    monthly_credit_limit_units: NonNegativeInt | None
    active: bool
    rate_limits: Mapping[str, str] = Field(default_factory=dict)

    def identity(self) -> Identity:
        return Identity(
            user_id=self.user_id,
            account_id=self.account_id,
            role=role_of_key(self.role, self.scopes),
            plan=self.plan,
            scopes=self.scopes,
            key_id=self.key_id,
            monthly_credit_limit_units=self.monthly_credit_limit_units,
            rate_limits=tuple(self._own_rates()),
        )

    def _own_rates(self) -> Iterator[tuple[RateClass, Rate]]:
        """One that can't be read is passed over: the class's own rate is in force then."""
        for name, written in self.rate_limits.items():
            try:
                yield RateClass(name), Rate.read(written)
            except ValueError:
                _log.warning("key_rate_unreadable", key_id=str(self.key_id))

    def alive_at(self, now: datetime) -> bool:
        return self.active and (self.expires_at is None or now < self.expires_at)


class KeysService:
    """The service keys, in this process or another."""

    def __init__(self, app: ASGIApp, internal_tokens: InternalTokens) -> None:
        self._app = app
        self._internal_tokens = internal_tokens

    async def resolve(self, key_sha256: str) -> KeyFacts | None:
        """The facts of the key with this hash, or None. Raises `Unavailable` when keys can't say.

        At most `TIMEOUT_S`.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._ask(key_sha256)
            if answer.status == _NOT_FOUND:
                return None
            if answer.status == _FOUND:
                return KeyFacts.model_validate_json(answer.body)
            _log.error("keys_refused", status=answer.status)
        except TimeoutError:
            _log.error("keys_timed_out", timeout_s=TIMEOUT_S)
        except ValidationError as error:  # a trace would show the values
            _log.error("keys_unreadable", fields=[item["loc"] for item in error.errors()])
        except Error as error:  # the way there has said it already
            _log.error("keys_unreachable", code=error.code)
        except Exception:  # noqa: BLE001 - whatever fault of keys: nobody is let in, nobody is told no
            _log.exception("keys_failed")
        raise Unavailable(
            "credentials_unavailable", "API keys can't be checked just now.", retry_after_s=1
        )

    async def _ask(self, key_sha256: str) -> Answer:
        origin = current_origin()
        return await call(
            self._app,
            "POST",
            PATH,
            headers=[
                (b"content-type", b"application/json"),
                (HEADER.encode(), self._internal_tokens.mint(ITSELF).encode()),
                (b"x-request-id", origin.correlation_id.encode()),
                (b"traceparent", (origin.traceparent or "").encode()),
            ],
            body=json.dumps({"key_sha256": key_sha256}).encode(),
            answer_bytes_max=ANSWER_BYTES_MAX,
        )
