"""Google's part in tests: a server of our own that tells the keys of ID tokens."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


@dataclass
class Google:
    """Tells the keys in `told`; `url` is where. `asked` counts."""

    told: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"first": KEYS[0]})
    status: int = 200
    asked: int = 0
    url: str = ""

    def body(self) -> bytes:
        keys = []
        for key_id, key in self.told.items():
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            keys.append({**public, "kid": key_id, "alg": "RS256", "use": "sig"})
        keys.append({"kty": "EC", "kid": "of another kind"})
        return json.dumps({"keys": keys}).encode()


@contextmanager
def playing_google() -> Iterator[Google]:

    found = Google()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            self.send_response(found.status)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(found.body())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/jwks"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()
