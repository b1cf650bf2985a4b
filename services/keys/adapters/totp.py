"""Time-based one-time codes (RFC 6238: SHA-1, 6 digits, 30 s), as every authenticator takes them.

It must not know whose a secret is, nor which codes were used.
"""

import base64
import hmac
import io
from datetime import datetime
from typing import Final

import pyotp
import segno

from kernel.clock import random_token

ISSUER: Final = "SmartSpec"
SECRET_BYTES: Final = 20
"""As long as SHA-1's output (RFC 4226, 4, R6)."""
DIGITS: Final = 6
STEP_S: Final = 30
DRIFT_STEPS: Final = 1
"""A clock may be this many steps off, either way."""
_QR_SCALE: Final = 4


def new_totp_secret() -> str:
    """In base32, as it is typed into an authenticator that has no camera."""
    return base64.b32encode(random_token(SECRET_BYTES)).decode()


def otpauth_uri(secret: str, account: str) -> str:
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)


def qr_svg(text: str) -> str:
    """A QR code as one `svg` element, which holds a path and no script."""
    written = io.BytesIO()
    code = segno.make(text, micro=False)
    code.save(written, kind="svg", scale=_QR_SCALE, xmldecl=False, nl=False)
    return written.getvalue().decode()


def step_of(secret: str, code: str, at: datetime) -> int | None:
    """The time step whose code it is, the latest within `DRIFT_STEPS` of `at`; None if none is."""
    totp = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S)
    now = int(at.timestamp()) // STEP_S
    found = None
    for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step), code):
            found = step
    return found
