"""The form of API keys, so that a mistyped or leaked one is told offline; it knows no stored key.

`sk_live_` + 43 base62 characters (32 random bytes) + 6 base62 characters of the CRC-32 over all
that precedes, or `nb_live_` + 32 hex digits.
"""

import hashlib
import re
import zlib
from typing import Final

PREFIX: Final = "sk_live_"
SECRET_BYTES: Final = 32
DISPLAYED_LENGTH: Final = len(PREFIX) + 4
"""What lists show of a key of either form: 4 of its secret characters."""

UNCHECKED_PREFIX: Final = "nb_live_"
UNCHECKED_SECRET_BYTES: Final = 16

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_CHECKED: Final = re.compile(r"sk_live_[0-9A-Za-z]{49}", re.ASCII)
_UNCHECKED: Final = re.compile(r"nb_live_[0-9a-f]{32}", re.ASCII)


def api_key_from(secret: bytes) -> str:
    """The key that shows `secret`. Raises ValueError unless it is `SECRET_BYTES` long."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"an API key is made of {SECRET_BYTES} random bytes")
    unchecked = PREFIX + _base62(int.from_bytes(secret), _SECRET_LENGTH)
    return unchecked + _checksum(unchecked)


def unchecked_api_key_from(secret: bytes) -> str:
    """The same for seed 004's clients. Raises ValueError unless `UNCHECKED_SECRET_BYTES` long."""
    if len(secret) != UNCHECKED_SECRET_BYTES:
        raise ValueError(f"such a key is made of {UNCHECKED_SECRET_BYTES} random bytes")
    return UNCHECKED_PREFIX + secret.hex()


def well_formed(key: str) -> bool:
    """Whether `key` could be one of ours; a mistyped `sk_live_` key could not."""
    if _UNCHECKED.fullmatch(key):
        return True
    if not _CHECKED.fullmatch(key):
        return False
    return _checksum(key[:-_CHECKSUM_LENGTH]) == key[-_CHECKSUM_LENGTH:]


def key_digest(key: str) -> bytes:
    """The hash by which a key is stored and found: SHA-256 of all its characters."""
    return hashlib.sha256(key.encode()).digest()


def key_sha256(key: str) -> str:
    """The same in hex."""
    return key_digest(key).hex()


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    """`number` in `length` digits, most significant first."""
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
