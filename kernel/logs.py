"""Logs: one JSON object a line on stdout, with the request's id, and no secret or prompt in it.

The redactor runs last, over everything that any module logs, the standard library's included.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, TextIO

import orjson
import structlog

REDACTED = "[redacted]"
DEPTH_MAX = 6

_SECRET_NAMES = re.compile(
    r"(?i)(password|passwd|secret|token|api_?key|authorization|prompt|cookie|credential|signature)"
)
_SECRET_VALUES = re.compile(
    r"""(?x)
    \b(?:sk_live_|nb_live_)[A-Za-z0-9]+            # our API keys
    | \bmfa_[A-Za-z0-9_-]{32,}                     # our proofs of a second factor
    | \brt_[A-Za-z0-9_-]{16,}                      # our refresh tokens
    | \beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+   # JSON Web Tokens
    | \bsk-[A-Za-z0-9_-]{16,}                      # vendors' keys
    | (?i:bearer|basic)\s+[A-Za-z0-9._~+/-]{8,}=*  # credentials of any vendor
    | (?<=://)[^/\s@]+(?=@)                        # user:password in an address
    | (?<=signature=)[A-Za-z0-9_-]+                # signed links
    """
)
_NAMED_SECRETS = re.compile(
    r"""(?xi)                                      # `prompt='...'` in the text of an object
    (\b[a-z_]*(?:password|passwd|secret|token|api_?key|authorization|prompt|cookie|credential)s?
    ['"]?\s*[=:]\s*)
    (?!\[redacted\])(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'",;&)}\]]+)
    | (\binput_value=).*?(?=,\ input_type=|$)      # what pydantic quotes of what it refuses
    """
)

_MAY_HOLD_SECRETS = re.compile(r"=|:|_live_|mfa_|rt_|eyJ|sk-|b(?i:earer|asic)|B(?i:earer|asic)")
"""What each of the above needs in a text: looking for it first is a tenth of their cost, as long as
each way begins with a plain character, so that `re` skips to the next of those."""
NAMES_MAX = 1_024


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blank values under secret names and secrets inside texts, at any depth up to `DEPTH_MAX`."""
    return {name: _redacted(name, value, 0) for name, value in event.items()}


def _redacted(name: str, value: Any, depth: int) -> Any:
    if depth > DEPTH_MAX or (value is not None and _is_secret(name)):
        return REDACTED
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, Mapping):
        return {
            _clean(str(key)): _redacted(str(key), item, depth + 1) for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _clean(str(value))


@lru_cache(maxsize=NAMES_MAX)
def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAMES.search(name))


def _clean(text: str) -> str:
    if not _MAY_HOLD_SECRETS.search(text):
        return text
    text = _SECRET_VALUES.sub(REDACTED, text)
    return _NAMED_SECRETS.sub(lambda found: f"{found[1] or found[2]}{REDACTED}", text)


class _Lines(structlog.stdlib.ProcessorFormatter):
    """A record as one line of JSON."""

    def __init__(self, of_others: Sequence[structlog.types.Processor]) -> None:
        """`of_others` makes of the standard library's records what structlog's are already."""
        super().__init__(
            foreign_pre_chain=of_others,
            processors=[self.remove_processors_meta, redact, _TIMESTAMP, _JSON],
        )

    def format(self, record: logging.LogRecord) -> str:
        """Structlog's records are rendered as they are: the general way copies each, twice."""
        if not isinstance(record.msg, dict):
            return super().format(record)
        event = _TIMESTAMP(None, "", redact(None, "", record.msg))
        return str(_JSON(None, "", event))


def _dumped(event: object, **how: Any) -> str:
    """By orjson, but for what it refuses: half of a surrogate pair, or a value without a form in
    JSON, which is shown by `how`'s default."""
    try:
        return orjson.dumps(event).decode()
    except TypeError:
        return json.dumps(event, **how)


_TIMESTAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)
_JSON = structlog.processors.JSONRenderer(_dumped)


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's logs to `stream` (stdout) as JSON lines."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=logging.getLogger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream if stream is not None else sys.stdout)
    handler.setFormatter(_Lines(shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "asyncio", "uvicorn.access", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for anxious in ("aio_pika", "aiormq"):  # the bus says what it lost, without their traces
        logging.getLogger(anxious).setLevel(logging.CRITICAL)
