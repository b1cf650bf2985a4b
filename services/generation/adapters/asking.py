"""How a vendor is asked over HTTP: bounded in time and size, and never an exception for what it or
the network does. It knows no vendor; what one says is read with `dig`, which finds nothing where a
stranger's answer is not what it should be.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final, Self

import httpx

from services.generation.adapters.providers import Fault, Job, Refused, Submission

CONNECT_TIMEOUT_S: Final = 5.0
WRITE_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 30.0
"""For a whole answer: httpx bounds only the wait for each piece of it."""
UPLOAD_TIMEOUT_S: Final = 20.0
"""All that one submit asks is over before a job's lease is: whoever waits is who records."""
LIMITS: Final = httpx.Limits(max_connections=32, max_keepalive_connections=16)
ANSWER_BYTES_MAX: Final = 1_000_000
MESSAGE_LENGTH_MAX: Final = 300
JOB_ID_LENGTH_MAX: Final = 200
URL_LENGTH_MAX: Final = 4_096
RETRY_AFTER_S: Final = 10.0
RETRY_AFTER_MAX_S: Final = 600.0
DIGITS_MAX: Final = 6
SUCCESSES: Final = range(200, 300)

FAULT_BY_STATUS: Final[Mapping[int, Fault]] = {
    400: Fault.INVALID,
    401: Fault.AUTH,
    402: Fault.CREDITS,
    403: Fault.AUTH,
    408: Fault.UNAVAILABLE,
    413: Fault.INVALID,
    415: Fault.INVALID,
    422: Fault.INVALID,
    429: Fault.RATE_LIMITED,
    503: Fault.UNAVAILABLE,
}
"""What most mean by HTTP's statuses. After any other, nobody knows whether it was taken."""
NOT_REACHED: Final = Refused(Fault.UNAVAILABLE, "The provider could not be reached.")
LOST_ANSWER: Final = Refused(Fault.UNKNOWN, "The provider's answer was lost.")
UNREADABLE: Final = Refused(Fault.UNKNOWN, "The provider's answer could not be read.")
_MODERATION_WORDS: Final = ("moderat", "nsfw", "sensitive", "polic", "prohibited", "safety")


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` is empty where it was longer than may be read."""

    status: int
    content: bytes
    headers: httpx.Headers

    @property
    def ok(self) -> bool:
        return self.status in SUCCESSES

    def json(self) -> Any:
        """The body, or None: it may be nested without end, or be no JSON at all."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None

    def refused(self, fault: Fault, words: object) -> Refused:
        """With the wait that the vendor asks for, where waiting helps."""
        asked_s = retry_after_s(self.headers)
        match fault:
            case Fault.RATE_LIMITED:
                return Refused(fault, shown(words), asked_s or RETRY_AFTER_S)
            case Fault.UNAVAILABLE:
                return Refused(fault, shown(words), asked_s)
            case _:
                return Refused(fault, shown(words))


class VendorApi(ABC):
    """A vendor's HTTP API under one key, over connections that its other keys share."""

    answer_timeout_s: ClassVar[float] = ANSWER_TIMEOUT_S

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        answer_timeout_s: float | None = None,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._base_url = self.host_of(base_url.rstrip("/"))
        self._answer_timeout_s = answer_timeout_s or self.answer_timeout_s
        self._key_headers = self.headers_with(api_key)
        self._client = client or httpx.AsyncClient(
            base_url=self._base_url,
            headers={"User-Agent": "SmartSpec"},
            timeout=httpx.Timeout(
                self._answer_timeout_s,
                connect=CONNECT_TIMEOUT_S,
                write=WRITE_TIMEOUT_S,
                pool=CONNECT_TIMEOUT_S,
            ),
            limits=LIMITS,
            trust_env=False,
        )

    @staticmethod
    @abstractmethod
    def headers_with(api_key: str) -> dict[str, str]:
        """How the vendor is told the key."""

    @staticmethod
    def host_of(base_url: str) -> str:
        """What paths are appended to, where that is not the address as it was set."""
        return base_url

    def under(self, api_key: str) -> Self:
        return type(self)(
            self._base_url, api_key, answer_timeout_s=self._answer_timeout_s, client=self._client
        )

    async def cancel(self, provider_job_id: str) -> bool:
        """Most vendors have no way to stop a job."""
        del provider_job_id
        return False

    async def find(self, job: Job) -> Submission | None:
        """Most vendors know no job but by the id that they gave it."""
        del job
        return None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        keyed: bool = True,
        bytes_max: int = ANSWER_BYTES_MAX,
        timeout_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        **sent: Any,
    ) -> Answer | Refused:
        """The answer, whatever it is; or that it was surely not sent, or that its answer was lost.
        An absolute address in place of a path gets the key only if `keyed`."""
        told = {**(self._key_headers if keyed else {}), **(headers or {})}
        try:
            async with (
                asyncio.timeout(timeout_s or self._answer_timeout_s),
                self._client.stream(method, path, headers=told, **sent) as answer,
            ):
                body = await _bounded(answer, bytes_max)
                return Answer(answer.status_code, body, answer.headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return NOT_REACHED
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return LOST_ANSWER


async def _bounded(answer: httpx.Response, bytes_max: int) -> bytes:
    """The body; one that is too long is cut off, and so unreadable."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > bytes_max:
            return b""
    return bytes(body)


def without_effect(refused: Refused) -> Refused:
    """The same of a question that orders nothing: a lost answer is only a reason to ask again."""
    if refused.fault != Fault.UNKNOWN:
        return refused
    return Refused(Fault.UNAVAILABLE, refused.message, refused.retry_after_s)


def dig(value: object, *path: str | int) -> Any:
    """What is found along the path of names and places, or None."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def items(value: object) -> list[Any]:
    """A list, empty where there is none."""
    return value if isinstance(value, list) else []


def kept(value: object, length_max: int) -> str | None:
    """Text that can be kept: PostgreSQL refuses NUL, and half a surrogate pair."""
    plain = isinstance(value, str) and 0 < len(value) <= length_max and value.isprintable()
    return str(value) if plain else None


def link(value: object) -> str | None:
    """An address that can be kept."""
    return kept(value, URL_LENGTH_MAX)


def shown(words: object) -> str:
    """A vendor's message for our operators: short, and such that it can be kept."""
    text = words if isinstance(words, str) else ""
    return "".join(mark for mark in text[:MESSAGE_LENGTH_MAX] if mark.isprintable())


def is_moderation(words: object) -> bool:
    """Whether a vendor that has no code for it says that the content is the reason."""
    return isinstance(words, str) and any(word in words.lower() for word in _MODERATION_WORDS)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """RFC 9110, 10.2.3: seconds, or a date, which is taken against the answer's own; bounded."""
    told = headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return RETRY_AFTER_MAX_S if len(told) > DIGITS_MAX else min(float(told), RETRY_AFTER_MAX_S)
    until, now = _date(told), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else None
