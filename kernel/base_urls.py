"""Where the replicas of a service listen, as settings say it."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

_PORTS: Final = range(1, 65_536)
_ORIGIN: Final = re.compile(
    r"(?P<origin>https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?)/?",
    re.ASCII,
)


def origin_of(base_url: str) -> str:
    """`base_url` without its slash. Raises ValueError unless it is `http(s)://host[:port]`."""
    found = _ORIGIN.fullmatch(base_url)
    if found is None or int(found["port"] or 1) not in _PORTS:
        raise ValueError("must be http(s)://host:port, without a path")
    return found["origin"]


def separated(value: object) -> object:
    """The parts of a comma-separated text; anything else as it is."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(origin_of(base_url) for base_url in value)


BaseUrls = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(separated), AfterValidator(_origins)
]
"""One address for each replica, comma-separated."""
