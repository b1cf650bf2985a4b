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
    """A record of the standard library as one line of JSON."""

    def __init__(self, shared: Sequence[structlog.types.Processor]) -> None:
        """`shared` makes of a record what structlog's loggers are given."""
        super().__init__(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[self.remove_processors_meta, redact, _TIMESTAMP, _JSON],
        )


class _Line:
    """Where structlog's lines end: one write each. The standard library's way there, a record and
    handlers for each line, was an eighth of a reservation."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        """What can't be written is lost: whoever logs goes on."""
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more, or the stream is closed
            return

    debug = info = warning = error = critical = msg


def _named(
    logger: _Line, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    event["logger"] = logger.name
    return event


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
    to = stream if stream is not None else sys.stdout
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _named, redact, _TIMESTAMP, _JSON],
        logger_factory=lambda *names: _Line(str(names[0]) if names else "", to),
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(to)
    handler.setFormatter(_Lines(shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in (
        "httpx",
        "httpcore",
        "asyncio",
        "uvicorn.access",
        "alembic",
        "botocore",
        "aiobotocore",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for anxious in ("aio_pika", "aiormq"):  # the bus says what it lost, without their traces
        logging.getLogger(anxious).setLevel(logging.CRITICAL)
