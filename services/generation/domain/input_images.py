"""How a request may name the picture that its result begins with: an address, or an own key."""

from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from services.generation.domain.options import refused

SCHEMES: Final = frozenset({"http", "https"})


def check_input_image(reference: str, user_id: UUID) -> None:
    """Raises `Invalid` for what is neither; what is there, its form can't say."""
    if not is_address(reference) and not is_own_key(reference, user_id):
        raise refused("input_image", "an http or https address, or the key of an image of yours.")


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
