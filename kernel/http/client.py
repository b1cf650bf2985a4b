"""From where a request came, as the gateway has seen it; for records, never for who may do what."""

from typing import Annotated, Final, NamedTuple

from fastapi import Depends, Request

ADDRESS_HEADER: Final = "x-client-address"
AGENT_HEADER: Final = "x-client-agent"
AGENT_LENGTH_MAX: Final = 200


class Client(NamedTuple):
    """`address` is the client's IP address and `agent` its `User-Agent`, cut to
    `AGENT_LENGTH_MAX`; each is empty when it is not known."""

    address: str
    agent: str


def _client(request: Request) -> Client:
    """The gateway lets no client send these headers."""
    return Client(
        request.headers.get(ADDRESS_HEADER, ""),
        request.headers.get(AGENT_HEADER, "")[:AGENT_LENGTH_MAX],
    )


FromClient = Annotated[Client, Depends(_client)]
"""The client of a request, as a parameter of a route."""
