"""What `/api/keys/mfa` is asked and what it answers."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from services.keys.domain import Operation

BACKUP_CODE_LENGTH_MAX: Final = 64
ID_LENGTH_MAX: Final = 100
TOKEN_LENGTH_MAX: Final = 200
_CODE_LENGTH_MAX: Final = 16
_SIX_DIGITS: Final = re.compile(r"[0-9]{6}", re.ASCII)


def _six_digits(text: SecretStr) -> SecretStr:
    """Authenticators show them in two groups."""
    digits = text.get_secret_value().replace(" ", "")
    if not _SIX_DIGITS.fullmatch(digits):
        raise ValueError("must be six digits")
    return SecretStr(digits)


Code = Annotated[SecretStr, Field(max_length=_CODE_LENGTH_MAX), AfterValidator(_six_digits)]
BackupCode = Annotated[SecretStr, Field(min_length=1, max_length=BACKUP_CODE_LENGTH_MAX)]
ShownId = Annotated[str, Field(max_length=ID_LENGTH_MAX)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class VerifySetupRequest(_Request):
    code: Code


class ChallengeRequest(_Request):
    """`key_id` names the key that the operation is about, and is left out where there is none."""

    operation: Operation
    key_id: ShownId | None = None


class VerifyRequest(_Request):
    """Exactly one of `code` and `backup_code`."""

    challenge_id: ShownId
    code: Code | None = None
    backup_code: BackupCode | None = None


class StatusAnswer(BaseModel):
    """`locked_until` is null unless no code is looked at right now."""

    success: Literal[True] = True
    enrolled: bool
    methods: list[str]
    backup_codes_left: int
    locked_until: datetime | None


class SetupAnswer(BaseModel):
    """Shown this once; `qr_svg` is an `svg` element of `otpauth_uri`."""

    secret: str
    otpauth_uri: str
    qr_svg: str


class BackupCodesAnswer(BaseModel):
    """Shown this once; each is good once."""

    backup_codes: list[str]


class ChallengeAnswer(BaseModel):
    challenge_id: str
    expires_at: datetime


class VerifyAnswer(BaseModel):
    """`mfa_token` is shown this once; send it as `X-MFA-Token`."""

    mfa_token: str
    expires_at: datetime
