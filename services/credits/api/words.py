"""What clients say to credits, field by field: exact amounts, moments, ids, words, cursors."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from kernel.errors import Invalid
from kernel.identifiers import parsed
from kernel.money import PLACES

AMOUNT_MAX: Final = Decimal(10**12)
REASON_LENGTH_MAX: Final = 200
NAME_LENGTH_MAX: Final = 100
VERSION_MAX: Final = 2**31 - 1
VERSION_DIGITS_MAX: Final = 10
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9998
"""So that a month more or less is a time still."""

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _amount(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic renders ValueError
    if isinstance(value, float):  # NaN, Infinity: all other numbers are exact here
        raise ValueError("must be a finite number")  # noqa: TRY004 - pydantic renders ValueError
    amount = Decimal(value)
    if not amount.is_finite():
        raise ValueError("must be a finite number")
    if amount <= 0:
        raise ValueError("must be more than 0")
    if amount > AMOUNT_MAX:
        raise ValueError(f"must be at most {AMOUNT_MAX}")
    if _places(amount) > PLACES:
        raise ValueError(f"must have at most {PLACES} decimal places")
    return amount


def _places(amount: Decimal) -> int:
    """Behind the point, without zeros at the end. Arithmetic would round to 28 digits first."""
    _, digits, exponent = amount.as_tuple()
    significant = "".join(map(str, digits)).rstrip("0")
    return -int(exponent) - (len(digits) - len(significant))


def _moment(text: object) -> datetime:
    """RFC 3339, with an offset. Numbers, which pydantic takes for seconds, are none."""
    if not isinstance(text, str) or not _RFC_3339.fullmatch(text):
        raise ValueError("must be a time like 2026-11-24T09:30:00Z")
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        moment = None
    if moment is None or not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(f"must be within the years {YEAR_MIN} to {YEAR_MAX}")
    return moment


def _printable(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    if not text.isprintable():
        raise ValueError("must hold printable characters alone")
    return text


def _id_of(prefix: str) -> Callable[[object], UUID]:
    def read(text: object) -> UUID:
        identity = parsed(prefix, text) if isinstance(text, str) else None
        if identity is None:
            raise ValueError(f"must be an id like {prefix}_ and 32 hex digits")
        return identity

    return read


Amount = Annotated[
    Decimal,
    PlainValidator(_amount),
    WithJsonSchema(
        {"type": "number", "exclusiveMinimum": 0, "maximum": int(AMOUNT_MAX), "multipleOf": 0.0001}
    ),
]
"""Credits of a body: more than 0, at most 10^12, exact to 4 places. Needs an `ExactRoute`."""
Moment = Annotated[
    datetime,
    BeforeValidator(_moment, json_schema_input_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Reason = Annotated[str, Field(max_length=REASON_LENGTH_MAX), AfterValidator(_printable)]
Name = Annotated[str, Field(max_length=NAME_LENGTH_MAX), AfterValidator(_printable)]
_ID = WithJsonSchema({"type": "string"})
UserId = Annotated[UUID, PlainValidator(_id_of("user")), _ID]
AccountId = Annotated[UUID, PlainValidator(_id_of("account")), _ID]
TaskId = Annotated[UUID, PlainValidator(_id_of("task")), _ID]


class StrictRequest(BaseModel):
    """A body of which no unknown field and no value is repeated in an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def refuse(field: str, words: str) -> Invalid:
    """What a body's fields say together can be wrong where each alone is right."""
    return Invalid("invalid_request", f"{field}: {words}", {"field": field})


def before_version(cursor: str | None) -> int:
    """Where a list of an account's entries, newest first, goes on: with those before this version.
    Raises `Invalid`."""
    if cursor is None:
        return VERSION_MAX
    # The length first: Python refuses to read a number of thousands of digits.
    is_number = len(cursor) <= VERSION_DIGITS_MAX and cursor.isascii() and cursor.isdigit()
    if not is_number or int(cursor) > VERSION_MAX:
        raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"})
    return int(cursor)
