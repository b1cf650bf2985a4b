"""What a second factor refuses, in words that say how to go on."""

from datetime import datetime
from math import ceil
from typing import Final

from kernel.errors import Forbidden, Invalid, NotFound, RateLimited, Rejected
from services.keys.domain.mfa_messages import Operation

_SET_UP: Final = ("POST /api/keys/mfa/totp/setup", "POST /api/keys/mfa/totp/verify-setup")
_PROVE: Final = ("POST /api/keys/mfa/challenge", "POST /api/keys/mfa/verify")
_HEADER: Final = "X-MFA-Token"


def mfa_required(operation: str, *, enrolled: bool) -> Forbidden:
    """Alike for a proof that is missing, unknown, spent, expired or for something else."""
    how = (
        f"ask for a challenge with the operation {operation}, verify it with a code, and send the"
        f" mfa_token as {_HEADER}; it is good for five minutes, for this alone, and once"
    )
    missing = "" if enrolled else "set up a second factor; then "
    return Forbidden(
        "mfa_required",
        f"This takes a second factor: {missing}{how}.",
        {
            "operation": operation,
            "enrolled": enrolled,
            "header": _HEADER,
            "steps": [*(() if enrolled else _SET_UP), *_PROVE],
        },
    )


def already_enrolled() -> Rejected:
    return Rejected(
        "mfa_already_enrolled",
        "You have a second factor. To replace it, ask for a challenge with the operation"
        f" {Operation.REPLACE_TOTP.value}, verify it with a code of the present one, and send the"
        f" mfa_token as {_HEADER} with this request.",
        {"operation": Operation.REPLACE_TOTP.value, "header": _HEADER, "steps": list(_PROVE)},
    )


def not_enrolled() -> Rejected:
    return Rejected(
        "mfa_not_enrolled",
        "You have no second factor yet: set one up, and verify it with its first code.",
        {"steps": list(_SET_UP)},
    )


def nothing_to_confirm() -> Invalid:
    return Invalid(
        "mfa_not_set_up",
        "No secret waits for its first code: ask for one, and verify it within 15 minutes.",
        {"field": "code", "steps": list(_SET_UP)},
    )


def challenge_not_found() -> NotFound:
    """No such challenge, another user's, or one that can't be verified any more: alike."""
    return NotFound(
        "challenge_not_found",
        "There is no such open challenge. One lasts five minutes, one right code or five wrong"
        " ones; ask for a new one.",
    )


def mfa_locked(until: datetime, at: datetime) -> RateLimited:
    return RateLimited(
        "mfa_locked",
        "Too many wrong codes in a row: no code is looked at for a while.",
        {"locked_until": until.isoformat().replace("+00:00", "Z")},
        retry_after_s=max(1, ceil((until - at).total_seconds())),
    )


def invalid_code(method: str, attempts_left: int) -> Invalid:
    """Alike for a code that is wrong, too old, or used already."""
    field = "code" if method == "totp" else method
    return Invalid(
        "invalid_code",
        f"{field}: not right, or used already; each code is good once.",
        {"field": field, "attempts_left": attempts_left},
    )
