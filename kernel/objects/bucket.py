"""Where a bucket is, by what credentials, and links into it that are signed without asking it.

Links are AWS Signature Version 4 in the query, as R2, MinIO and Google's interoperability read it
too: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlsplit

LINK_LIFETIME_MAX: Final = timedelta(days=7)
"""Servers refuse to sign for longer."""
_BY_HOST: Final = (".r2.cloudflarestorage.com", ".amazonaws.com")
"""The bucket is in the host's name here; elsewhere in the path."""
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Bucket:
    """`endpoint` is `scheme://host[:port]`; `region` is `auto` on R2 and Google."""

    endpoint: str
    name: str
    region: str
    access_key_id: str
    secret: str = field(repr=False)

    @property
    def is_in_path(self) -> bool:
        host = urlsplit(self.endpoint).hostname or ""
        return "." in self.name or not host.endswith(_BY_HOST)

    @property
    def takes_conditions(self) -> bool:
        """Google reads `If-None-Match` of reads alone, and mixes no condition of its own with keys
        of this kind."""
        return urlsplit(self.endpoint).hostname != "storage.googleapis.com"

    def link(
        self,
        method: str,
        key: str,
        *,
        now: datetime,
        expires_at: datetime,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A URL that does `method` on `key` until `expires_at` (whole seconds, down; at most
        `LINK_LIFETIME_MAX` from `now`), for who sends exactly these `headers` (lower case)."""
        # Only what is past may be signed: servers count the lifetime from the signing on.
        signed_at = min(now, expires_at - timedelta(seconds=1)).replace(microsecond=0)
        lifetime = min(expires_at - signed_at, LINK_LIFETIME_MAX)
        host, path = self._place_of(key)
        signed_headers = {**(headers or {}), "host": host}
        scope = f"{signed_at:%Y%m%d}/{self.region}/s3/aws4_request"
        signed_query = {
            **(query or {}),
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.access_key_id}/{scope}",
            "X-Amz-Date": f"{signed_at:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": str(int(lifetime.total_seconds())),
            "X-Amz-SignedHeaders": ";".join(sorted(signed_headers)),
        }
        asked = _asked(method, path, signed_query, signed_headers)
        digest = hashlib.sha256(asked.encode()).hexdigest()
        signature = self._signature(
            f"{_ALGORITHM}\n{signed_query['X-Amz-Date']}\n{scope}\n{digest}", signed_at
        )
        scheme = urlsplit(self.endpoint).scheme
        return f"{scheme}://{host}{path}?{_encoded(signed_query)}&X-Amz-Signature={signature}"

    def _place_of(self, key: str) -> tuple[str, str]:
        """The host as clients name it, and the path."""
        address = urlsplit(self.endpoint)
        host = address.hostname or ""
        if address.port not in {None, _DEFAULT_PORTS[address.scheme]}:
            host = f"{host}:{address.port}"
        path = f"/{quote(key, safe='/')}"
        if self.is_in_path:
            return host, f"/{self.name}{path}"
        return f"{self.name}.{host}", path

    def _signature(self, text: str, signed_at: datetime) -> str:
        key = f"AWS4{self.secret}".encode()
        for part in (f"{signed_at:%Y%m%d}", self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def _asked(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The request as it is signed."""
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    names = ";".join(sorted(headers))
    return "\n".join((method, path, _encoded(query), lines, names, "UNSIGNED-PAYLOAD"))


def _encoded(query: Mapping[str, str]) -> str:
    pairs = ((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
