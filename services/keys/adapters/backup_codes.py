"""Backup codes: made once and shown once; what is kept of them finds a code, and can't tell one.

The hashes are keyed by a random key of their list, and both are kept together, encrypted. So a dump
alone tests no code, and the codes outlive the master key that they were made under: re-encryption
carries their key along, which a key derived from a master key could not be.
"""

import hmac
import json
from typing import Final

from kernel.clock import random_token

BACKUP_CODES: Final = 10
CODE_LENGTH: Final = 12
"""Of five bits each: 60 bits."""
KEY_BYTES: Final = 32
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32: no letter that looks like a digit."""
_GROUP: Final = 4


def new_backup_codes() -> tuple[str, ...]:
    """Like `8f3k-2mzq-x0ta`."""
    return tuple(_code() for _ in range(BACKUP_CODES))


def hashed(codes: tuple[str, ...]) -> str:
    """What to keep of them, in their order, as a text to encrypt."""
    key = random_token(KEY_BYTES)
    hashes = [_hash(key, code).hex() for code in codes]
    return json.dumps({"key": key.hex(), "hashes": hashes})


def place_of(code: str, kept: str) -> int | None:
    """Where `code` stands in the list of which `kept` was kept; None if it does not."""
    told = json.loads(kept)
    given = _hash(bytes.fromhex(told["key"]), code)
    found = None
    for place, known in enumerate(told["hashes"]):
        if hmac.compare_digest(bytes.fromhex(known), given):
            found = place
    return found


def _code() -> str:
    number = int.from_bytes(random_token(8))
    digits = "".join(_ALPHABET[number >> 5 * nth & 31] for nth in range(CODE_LENGTH))
    groups = (digits[start : start + _GROUP] for start in range(0, CODE_LENGTH, _GROUP))
    return "-".join(groups)


def _hash(key: bytes, code: str) -> bytes:
    return hmac.digest(key, _normalised(code).encode(), "sha256")


def _normalised(code: str) -> str:
    """As people may type it: in capitals, with other gaps, with letters for digits."""
    plain = code.lower().translate(str.maketrans("ilo", "110"))
    return "".join(character for character in plain if character in _ALPHABET)
