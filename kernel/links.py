"""Signed links of the local object store, with the meaning of S3's presigned ones; knows no store.

A link opens one key by one method until one moment; whoever holds it needs nothing else.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlsplit

from kernel.errors import Forbidden

MIN_SECRET_BYTES: Final = 32
METHODS: Final = frozenset({"GET", "HEAD"})

# Signatures of another purpose made with the same secret must not open media.
_PURPOSE: Final = b"smartspec media link 1"
_UNIX_SECONDS: Final = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


class MediaLinks:
    """Makes and checks `{base_url}/media/{key}?expires=<unix s>&signature=<base64url>`.

    `former` are the secrets by which links were signed before: they open what they did.

    Raises:
        ValueError: the secret is shorter than 32 bytes, or the base is no absolute http(s) URL.
    """

    def __init__(self, secret: bytes, base_url: str, former: Sequence[bytes] = ()) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the link secret needs at least {MIN_SECRET_BYTES} bytes")
        base = urlsplit(base_url)
        if base.scheme not in {"http", "https"} or not base.hostname or base.query or base.fragment:
            raise ValueError("the base of media links must be an absolute http or https URL")
        self._secrets = (secret, *former)
        self._base_url = base_url.rstrip("/")

    def sign(self, key: str, *, method: str = "GET", expires_at: datetime) -> str:
        """An absolute URL that opens `key` by `method` until `expires_at` (whole seconds, down).

        As on S3, a link for GET is none for HEAD.
        """
        if method not in METHODS:
            raise ValueError(f"no link is signed for {method}")
        if expires_at.tzinfo is None:
            raise ValueError("expires_at needs a timezone")
        expires = str(int(expires_at.timestamp()))
        signature = _signature(self._secrets[0], method, key, expires)
        return f"{self._base_url}/media/{quote(key)}?expires={expires}&signature={signature}"

    def sign_put(self, key: str, *, expires_at: datetime, size: int, content_type: str) -> str:
        """An absolute URL that takes `size` bytes of that type for `key`, as `sign` does."""
        if expires_at.tzinfo is None:
            raise ValueError("expires_at needs a timezone")
        expires = str(int(expires_at.timestamp()))
        signature = _signature(self._secrets[0], "PUT", key, expires, str(size), content_type)
        query = f"expires={expires}&size={size}&type={quote(content_type, safe='')}"
        return f"{self._base_url}/media/{quote(key)}?{query}&signature={signature}"

    def verify_put(
        self,
        key: str,
        expires: str,
        signature: str,
        now: datetime,
        *,
        size: str,
        content_type: str,
    ) -> None:
        """Pass if `sign_put` made this link and `now` is not past its end. Raises as `verify`."""
        self._check(("PUT", key, expires, size, content_type), expires, signature, now)

    def verify(self, method: str, key: str, expires: str, signature: str, now: datetime) -> None:
        """Pass if `sign` made this link (`key` unquoted once) and `now` is not past its end.

        Raises:
            Forbidden: `invalid_signature`, or `link_expired` for a genuine link come too late.
        """
        self._check((method, key, expires), expires, signature, now)

    def _check(self, parts: tuple[str, ...], expires: str, signature: str, now: datetime) -> None:
        given = signature.encode("utf-8", "replace")
        genuine = [
            hmac.compare_digest(_signature(secret, *parts).encode(), given)
            for secret in self._secrets
        ]
        if not any(genuine) or not _UNIX_SECONDS.fullmatch(expires):
            raise Forbidden("invalid_signature", "This link is not valid.")
        if now > datetime.fromtimestamp(int(expires), UTC):
            raise Forbidden("link_expired", "This link has expired.")


def _signature(secret: bytes, method: str, key: str, expires: str, *more: str) -> str:
    # Each part carries its length, so that no two links share the signed bytes.
    parts = (part.encode("utf-8", "replace") for part in (method, expires, key, *more))
    signed = _PURPOSE + b"".join(b"\n%d:%b" % (len(part), part) for part in parts)
    digest = hmac.digest(secret, signed, "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
