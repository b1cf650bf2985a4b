"""The one extractor of credentials: which key or token a request shows, whatever header it uses.

It judges form and ambiguity only; whether a credential is good is not known here.
"""

from enum import Enum
from typing import Final, NamedTuple

from kernel.errors import Malformed, Unauthenticated
from services.gateway.adapters.request_headers import RequestHeaders

LENGTH_MAX: Final = 4_096
"""Bytes of a credential; a longer one is no credential of ours."""
_JWT_START: Final = "eyJ"
_JWT_DOTS: Final = 2


class Form(Enum):
    KEY = "key"
    JWT = "jwt"


class Credential(NamedTuple):
    form: Form
    text: str


def invalid_key() -> Unauthenticated:
    """The one answer to every credential that is not good, whatever the reason."""
    return Unauthenticated("invalid_api_key", "The API key or token is not valid.")


def extract(headers: RequestHeaders) -> Credential:
    """The request's credential, from `X-API-Key` or `Authorization: Bearer`; never from the query.

    Raises:
        Malformed: `ambiguous_credentials`, for a repeated header or both headers.
        Unauthenticated: `missing_credentials`, or `invalid_api_key` for what can't be one.
    """
    keys, authorizations = headers.all(b"x-api-key"), headers.all(b"authorization")
    shown = len(keys) + len(authorizations)
    if shown == 0:
        raise Unauthenticated("missing_credentials", "Send X-API-Key or Authorization: Bearer.")
    if shown > 1:
        raise Malformed("ambiguous_credentials", "Send one credential, in one header.")
    if keys:
        return Credential(Form.KEY, _readable(keys[0]))
    scheme, _, text = _readable(authorizations[0]).partition(" ")
    if scheme.lower() != "bearer" or not text or " " in text:
        raise invalid_key()
    is_jwt = text.startswith(_JWT_START) and text.count(".") == _JWT_DOTS
    return Credential(Form.JWT if is_jwt else Form.KEY, text)


def _readable(value: bytes) -> str:
    if not value or len(value) > LENGTH_MAX or not value.isascii():
        raise invalid_key()
    return value.decode("ascii")
