"""What can be asked of API keys, checked field by field and written in one spelling."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from kernel.money import PLACES
from services.keys.api.words import Words
from services.keys.domain import Scope, canonical_range, canonical_rate

NAME_LENGTH_MAX: Final = 100
EXPIRES_IN_DAYS_MAX: Final = 3_650
MONTHLY_CREDIT_LIMIT_MAX: Final = 1_000_000_000
ALLOWED_IPS_MAX: Final = 50
RANGE_LENGTH_MAX: Final = 64
RATE_LENGTH_MAX: Final = 32
GRACE_PERIOD_HOURS: Final = 24
GRACE_PERIOD_HOURS_MAX: Final = 168
VERSION_MAX: Final = 2**31 - 1


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic renders ValueError
    return value


Range = Annotated[str, Field(max_length=RANGE_LENGTH_MAX), AfterValidator(canonical_range)]
OwnRate = Annotated[str, Field(max_length=RATE_LENGTH_MAX), AfterValidator(canonical_rate)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RateLimits(_Request):
    """A key's own rates, like `10/minute`, by class of routes; null stands for the plan's."""

    api: OwnRate | None = None
    generation: OwnRate | None = None
    upload: OwnRate | None = None
    download: OwnRate | None = None

    def asked(self) -> Mapping[str, str]:
        return self.model_dump(exclude_none=True)


class CreateKeyRequest(_Request):
    """`monthly_credit_limit` in credits; null stands for no end and no limit. With `allowed_ips`
    (addresses and CIDR ranges) the key works from there alone."""

    name: Annotated[Words, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(Scope))]
    expires_in_days: Annotated[int, Field(ge=1, le=EXPIRES_IN_DAYS_MAX, strict=True)] | None = None
    monthly_credit_limit: (
        Annotated[
            Decimal,
            Field(ge=0, le=MONTHLY_CREDIT_LIMIT_MAX, decimal_places=PLACES),
            BeforeValidator(_number),
        ]
        | None
    ) = None
    allowed_ips: Annotated[tuple[Range, ...], Field(max_length=ALLOWED_IPS_MAX)] = ()
    rate_limits: RateLimits = RateLimits()
    format: Literal["sk_live", "nb_live"] = "sk_live"


class RotateKeyRequest(_Request):
    """How long the secret before stays good, and which `version` the caller means to replace: 409
    when the key has another by then. Without one it is what the key has when the request comes."""

    grace_period_hours: Annotated[int, Field(ge=0, le=GRACE_PERIOD_HOURS_MAX, strict=True)] = (
        GRACE_PERIOD_HOURS
    )
    version: Annotated[int, Field(ge=1, le=VERSION_MAX, strict=True)] | None = None


class RevokeQuery(_Request):
    """A misspelt `dry_run` is refused: it must not revoke."""

    dry_run: bool = False
