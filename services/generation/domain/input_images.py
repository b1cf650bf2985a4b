"""How a request may name the picture that its result begins with: an address, or an own key.

The key of a generated picture names its owner; that of an upload names nobody, so whose it is, is
to be looked up.
"""

import re
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from kernel.errors import Invalid
from services.generation.domain.options import refused

SCHEMES: Final = frozenset({"http", "https"})
BYTES_MAX: Final = 20 * 1_024 * 1_024
_UPLOADED: Final = re.compile(r"uploads/[0-9a-f]{32}\.(?:png|jpg|webp)")


def check_input_image(reference: str, user_id: UUID) -> None:
    """Raises `Invalid` for what is neither; what is there, and whose an upload is, its form can't
    say."""
    if not (is_address(reference) or is_own_key(reference, user_id) or is_uploaded_key(reference)):
        raise no_such_image()


def check_upload(size: int | None) -> None:
    """`size` (bytes) of the user's upload, None for none of theirs. Raises `Invalid`."""
    if size is None:
        raise no_such_image()
    if size > BYTES_MAX:
        raise refused("input_image", f"a picture of at most {BYTES_MAX} bytes.")


def no_such_image() -> Invalid:
    """The same for whatever is no image of the user's."""
    return refused("input_image", "an http or https address, or the key of an image of yours.")


def is_address(reference: str) -> bool:
    """Whether it is meant as an address, and can be one."""
    try:
        parts = urlsplit(reference)
        named = bool(parts.hostname) and not (parts.username or parts.password)
    except ValueError:
        return False
    plain = reference.isprintable() and " " not in reference
    return plain and named and parts.scheme in SCHEMES


def is_own_key(reference: str, user_id: UUID) -> bool:
    """Generated pictures lie in their owner's folder."""
    folder, _, name = reference.rpartition("/")
    return folder == f"images/generated/{user_id.hex}" and bool(name)


def is_uploaded_key(reference: str) -> bool:
    """Whether it may be an uploaded picture's: anybody's."""
    return _UPLOADED.fullmatch(reference) is not None
