"""The normal form of a path: decoded once, with one way to write each route; knows no route.

What has this form is matched, authorised and forwarded, so that no service can read the path in
another way than the edge has.
"""

import re
import string
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from kernel.errors import Malformed

LENGTH_MAX: Final = 2_048
"""Bytes of an undecoded path."""
# RFC 3986, 3.3 without `;`, whose meaning differs from server to server.
_PLAIN: Final = (string.ascii_letters + string.digits + "-._~!$&'()*+,=:@/").encode()
_QUOTE_SAFE: Final = "-._~!$&'()*+,=:@/"
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH: Final = re.compile(rb"%(2f|5c)", re.IGNORECASE)
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f;\\]")
_SHORT: Final = "/v2/"
_LONG: Final = "/api/v2/"


def normal_form(raw_path: bytes) -> str:
    """The decoded path, without a trailing slash, `/v2/...` as `/api/v2/...`.

    Raises `Malformed`, `invalid_path`: `..`, `.`, `//`, `;`, a backslash, a control character, an
    encoded slash, a broken escape, or what is not UTF-8.
    """
    if len(raw_path) > LENGTH_MAX or not raw_path.startswith(b"/"):
        raise _invalid()
    unusual = raw_path.translate(None, _PLAIN)
    path = _decoded(raw_path, unusual) if unusual else raw_path.decode("ascii")
    if "//" in path or ("/." in path and _has_dots(path)):
        raise _invalid()
    if path.endswith("/") and len(path) > 1:
        path = path[:-1]
    if path.startswith(_SHORT):
        path = _LONG + path[len(_SHORT) :]
    return path


def encoded(path: str) -> bytes:
    """`path` as it is sent on; `normal_form` reads the same from it."""
    return quote(path, safe=_QUOTE_SAFE).encode("ascii")


def _decoded(raw_path: bytes, unusual: bytes) -> str:
    if unusual.strip(b"%") or _BROKEN_ESCAPE.search(raw_path) or _ENCODED_SLASH.search(raw_path):
        raise _invalid()
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid() from None
    if _FORBIDDEN.search(path):
        raise _invalid()
    return path


def _has_dots(path: str) -> bool:
    return any(segment in {".", ".."} for segment in path.split("/"))


def _invalid() -> Malformed:
    return Malformed("invalid_path", "This path is not in its plain form.")
