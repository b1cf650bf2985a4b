"""`/metrics`: the registry as Prometheus reads it, and an app that serves nothing else.

The app is for a port of its own (`METRICS_PORT`) that no client reaches; the public edge has no
route to it.
"""

from typing import Final

from prometheus_client.exposition import choose_encoder
from starlette.types import Receive, Scope, Send

from kernel.telemetry.metrics import REGISTRY

PATH: Final = "/metrics"
_GOING_AWAY: Final = 1001


def exposition(accept: str = "") -> tuple[bytes, str]:
    """The body and its content type, in the format that `accept` asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type


async def metrics_app(scope: Scope, receive: Receive, send: Send) -> None:
    """`GET /metrics` as plain ASGI; anything else is 404."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": _GOING_AWAY})
        return
    if scope["path"] != PATH or scope["method"] not in {"GET", "HEAD"}:
        await _answer(send, 404, "text/plain; charset=utf-8", b"")
        return
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
    body, content_type = exposition(accept.decode("latin-1"))
    await _answer(send, 200, content_type, b"" if scope["method"] == "HEAD" else body)


async def _answer(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
