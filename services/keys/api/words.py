"""What people type: text that no database or terminal chokes on, addresses, passwords."""

import re
import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from services.keys.adapters.users import normalised

EMAIL_LENGTH_MAX: Final = 254
PASSWORD_LENGTH_MIN: Final = 8
PASSWORD_LENGTH_MAX: Final = 1_024
FULL_NAME_LENGTH_MAX: Final = 200
TOKEN_LENGTH_MAX: Final = 200

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@.\x00-\x1f\x7f]+(?:\.[^\s@.\x00-\x1f\x7f]+)+")


def _readable(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("must not hold control characters")
    return text


def email_of(text: str) -> str:
    """The address in the form in which it is ours. Raises ValueError."""
    address = normalised(text)
    if len(address) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(address):
        raise ValueError("not an e-mail address")
    return address


Words = Annotated[str, AfterValidator(_readable)]
FullName = Annotated[Words, Field(max_length=FULL_NAME_LENGTH_MAX)]
Email = Annotated[str, Field(max_length=EMAIL_LENGTH_MAX), AfterValidator(email_of)]
NewPassword = Annotated[
    SecretStr, Field(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX)
]
OldPassword = Annotated[SecretStr, Field(min_length=1, max_length=PASSWORD_LENGTH_MAX)]
MailedToken = Annotated[SecretStr, Field(min_length=1, max_length=TOKEN_LENGTH_MAX)]


class StrictRequest(BaseModel):
    """A body of which no unknown field and no value is repeated in an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
