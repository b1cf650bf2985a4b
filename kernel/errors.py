"""The error tree. A refusal is raised anywhere below the edge and rendered once, by `kernel.http`.

Error                         what a client may be told: code, message, details
├── Malformed            400  cannot be read at all
├── Unauthenticated      401  who is asking is not known
├── PaymentRequired      402  the balance does not cover it
├── Forbidden            403  known, but not allowed
├── NotFound             404  none, or another user's
├── TooSlow              408  the client sends too little for too long
├── Rejected             409  contradicts the state of what it is about
├── TooLarge             413
├── UnsupportedMedia     415
├── Invalid              422  read, but not acceptable; `details` names the field
├── RateLimited          429  carries `retry_after_s`
└── Unavailable          503  for now; carries `retry_after_s`

Deferred                      not an answer: a message came before what it needs; heard again later
"""

from collections.abc import Mapping
from typing import ClassVar


class Error(Exception):
    """A refusal with a stable code; its words may reach the client, so no secret is in them."""

    status: ClassVar[int] = 500

    def __init__(
        self,
        code: str,
        message: str,
        details: Mapping[str, object] | None = None,
        *,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.retry_after_s = retry_after_s


class Malformed(Error):
    status = 400


class Unauthenticated(Error):
    status = 401


class PaymentRequired(Error):
    status = 402


class Forbidden(Error):
    status = 403


class NotFound(Error):
    status = 404


class TooSlow(Error):
    status = 408


class Rejected(Error):
    status = 409


class TooLarge(Error):
    status = 413


class UnsupportedMedia(Error):
    status = 415


class Invalid(Error):
    status = 422


class RateLimited(Error):
    status = 429


class Unavailable(Error):
    status = 503


class VendorFailed(Error):
    """Somebody outside, who was asked on the client's behalf, did not do it."""

    status = 502


class Deferred(Exception):
    """The message is right but early: what it is about is not known yet. Never declined."""
