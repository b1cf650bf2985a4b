"""Ids on the outside: a prefix that tells what it is, and 32 hex digits of the UUIDv7 inside."""

from uuid import UUID

HEX_DIGITS = 32


def shown(prefix: str, identity: UUID) -> str:
    """`task_0190...` for `prefix` "task"."""
    return f"{prefix}_{identity.hex}"


def parsed(prefix: str, text: str) -> UUID | None:
    """The id inside, or None for anything that `shown` would not write."""
    digits = text.removeprefix(f"{prefix}_")
    if len(digits) != HEX_DIGITS or len(text) != len(prefix) + 1 + HEX_DIGITS:
        return None
    if any(digit not in "0123456789abcdef" for digit in digits):
        return None
    return UUID(hex=digits)
