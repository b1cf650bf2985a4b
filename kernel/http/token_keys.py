"""What signs access tokens and what verifies them: a shared secret, or the keys of a PEM file.

Of a file the first key signs; whoever only reads tokens can do with the public halves. The others
verify alone: a new key is put in front, and the old one taken out once its last token has ended.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

SHARED_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
SECRET_BYTES_MIN: Final = 32
RSA_BITS_MIN: Final = 2_048
KEYS_MAX: Final = 8
_BLOCK: Final = re.compile(
    r"-----BEGIN (?P<kind>(?:RSA )?PRIVATE KEY|PUBLIC KEY)-----.+?-----END (?P=kind)-----",
    re.DOTALL,
)
_THUMBPRINT_MEMBERS: Final = {"OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
"""RFC 7638, 3.2, and RFC 8037, 2."""

Private = Ed25519PrivateKey | RSAPrivateKey
Public = Ed25519PublicKey | RSAPublicKey


@dataclass(frozen=True, slots=True)
class TokenKey:
    """`key_id` is None for a shared secret, and `signs` for a key whose private half is not here;
    `jwk` (RFC 7517) is what others may see of it."""

    key_id: str | None
    algorithm: str
    signs: Private | bytes | None
    verifies: Public | bytes
    jwk: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """At least one; the first signs, each verifies what names it."""

    keys: Sequence[TokenKey]

    @classmethod
    def shared(cls, secret: str, algorithm: str) -> Self:
        """Raises ValueError for another algorithm than `SHARED_ALGORITHMS`, or a short secret
        (RFC 7518, 3.2: no shorter than the hash)."""
        if algorithm not in SHARED_ALGORITHMS:
            raise ValueError(f"JWT_ALGORITHM must be one of {', '.join(sorted(SHARED_ALGORITHMS))}")
        raw = secret.encode()
        secret_bytes_min = max(SECRET_BYTES_MIN, int(algorithm[2:]) // 8)
        if len(raw) < secret_bytes_min:
            raise ValueError(f"JWT_SECRET_KEY needs at least {secret_bytes_min} bytes")
        return cls((TokenKey(None, algorithm, raw, raw, None),))

    @classmethod
    def of_pem(cls, text: str) -> Self:
        """Ed25519 keys (EdDSA) and RSA keys (RS256), private or public, unencrypted.

        Raises ValueError, which quotes nothing of the text.
        """
        keys = tuple(_read(text))
        if not keys:
            raise ValueError("holds no PEM key")
        if len(keys) > KEYS_MAX:
            raise ValueError(f"holds more than {KEYS_MAX} keys")
        return cls(keys)

    @property
    def signing(self) -> TokenKey:
        return self.keys[0]

    def named(self, key_id: object) -> TokenKey | None:
        """The key of a token that says `key_id` (None: that says none)."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    @property
    def jwks(self) -> Mapping[str, Any]:
        """The public halves as a JWK set (RFC 7517, 5); a shared secret is in none."""
        return {"keys": [key.jwk for key in self.keys if key.jwk is not None]}


def _read(text: str) -> Iterator[TokenKey]:
    for block in _BLOCK.finditer(text):
        raw = block[0].encode()
        try:
            if block["kind"] == "PUBLIC KEY":
                yield _key(None, load_pem_public_key(raw))
            else:
                private = load_pem_private_key(raw, None)
                yield _key(private, private.public_key())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError(
                "holds a key that is no unencrypted Ed25519 key, nor an RSA key of"
                f" {RSA_BITS_MIN} bits or more"
            ) from None


def _key(private: object, public: object) -> TokenKey:
    signs = private if isinstance(private, Private) else None
    if isinstance(public, Ed25519PublicKey):
        algorithm, jwk = "EdDSA", OKPAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, RSAPublicKey) and public.key_size >= RSA_BITS_MIN:
        algorithm, jwk = "RS256", RSAAlgorithm.to_jwk(public, as_dict=True)
    else:
        raise ValueError("another kind of key, or a short one")
    key_id = _thumbprint(jwk)
    shown = {name: value for name, value in jwk.items() if name != "key_ops"}
    return TokenKey(
        key_id, algorithm, signs, public, {**shown, "use": "sig", "alg": algorithm, "kid": key_id}
    )


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638: a key's name is what it is."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
