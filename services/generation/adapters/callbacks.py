"""Where vendors call back: an address for each job that nobody can guess. A call is a hint that the
job may have ended: it makes the next look due now, and nothing that it says is believed.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

PATH: Final = "/api/v2/generation/callbacks"
TOKEN_LENGTH_MAX: Final = 100
MAC_BYTES: Final = 24
ID_BYTES: Final = 16
MIN_SECRET_BYTES: Final = 32

# Signatures of another purpose made with the same secret must open nothing here.
_PURPOSE: Final = b"smartspec callback 1\n"


class Callbacks:
    """`former` are the secrets by which tokens were made before: they open what they did. Vendors
    are given an address where `public_base_url` is https.

    Raises:
        ValueError: the secret is shorter than 32 bytes.
    """

    def __init__(self, secret: bytes, public_base_url: str, former: Sequence[bytes] = ()) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the callback secret needs at least {MIN_SECRET_BYTES} bytes")
        self._secrets = (secret, *former)
        https = urlsplit(public_base_url).scheme == "https"
        self._base_url = public_base_url.rstrip("/") if https else None

    def url(self, provider: str, job_id: UUID) -> str | None:
        if self._base_url is None:
            return None
        return f"{self._base_url}{PATH}/{provider}/{self.token(provider, job_id)}"

    def token(self, provider: str, job_id: UUID) -> str:
        signed = job_id.bytes + _mac(self._secrets[0], provider, job_id.bytes)
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()

    def job_of(self, provider: str, token: str) -> UUID | None:
        """The job that the token was made for; None for any other text."""
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
            return None
        try:
            signed = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        except binascii.Error:
            return None
        job, mac = signed[:ID_BYTES], signed[ID_BYTES:]
        genuine = [hmac.compare_digest(_mac(one, provider, job), mac) for one in self._secrets]
        return UUID(bytes=job) if any(genuine) and len(job) == ID_BYTES else None


def _mac(secret: bytes, provider: str, job: bytes) -> bytes:
    signed = _PURPOSE + job + provider.encode("utf-8", "replace")
    return hmac.digest(secret, signed, "sha256")[:MAC_BYTES]
