"""What storage reads from the environment."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from kernel.money import to_units
from kernel.settings import Settings
from services.storage.domain import ANY_PLAN, Quotas, Retention

BYTES_MAX: Final = 10**18
UPLOAD_BYTES_MAX: Final = 5 * 10**9
"""The largest object that S3 takes by one PUT is 5 GiB."""
VERIFY_BYTES_MAX: Final = 64 << 20
"""The gateway lets no larger body through."""
_SIZE: Final = re.compile(r"(?P<amount>[0-9]{1,18})(?P<unit>|B|kB|MB|GB|TB)", re.ASCII)
_DAYS: Final = re.compile(r"(?P<days>[1-9][0-9]{0,4})d", re.ASCII)
_PLAN: Final = re.compile(r"[a-z0-9_-]{1,50}|\*", re.ASCII)
_UNITS: Final = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def read_quotas(text: str) -> Quotas:
    """From `free=1GB,*=100GB`. Raises ValueError, saying what is wrong."""
    by_plan: dict[str, int] = {}
    for part in text.split(","):
        plan, _, size = (piece.strip() for piece in part.partition("="))
        found = _SIZE.fullmatch(size)
        if not _PLAN.fullmatch(plan) or found is None:
            raise ValueError("a quota is written like free=1GB (B, kB, MB, GB, TB)")
        if plan in by_plan:
            raise ValueError(f"{plan} is there twice")
        by_plan[plan] = int(found["amount"]) * _UNITS[found["unit"]]
        if by_plan[plan] > BYTES_MAX:
            raise ValueError(f"the quota of {plan} is more than {BYTES_MAX} bytes")
    if ANY_PLAN not in by_plan:
        raise ValueError("say the quota of any other plan too, as *=100GB")
    return Quotas(by_plan)


def read_retention(text: str) -> Retention:
    """From `free=90d,*=`, where nothing is for ever. Raises ValueError, saying what is wrong."""
    by_plan: dict[str, timedelta | None] = {}
    for part in filter(str.strip, text.split(",")):
        plan, equals, days = (piece.strip() for piece in part.partition("="))
        found = _DAYS.fullmatch(days)
        if not equals or not _PLAN.fullmatch(plan) or (days and found is None):
            raise ValueError("a retention is written like free=90d, for ever like pro=")
        if plan in by_plan:
            raise ValueError(f"{plan} is there twice")
        by_plan[plan] = None if found is None else timedelta(days=int(found["days"]))
    return Retention(by_plan)


def _retention(value: object) -> object:
    return read_retention(value) if isinstance(value, str) else value


def _quotas(value: object) -> object:
    return read_quotas(value) if isinstance(value, str) else value


def _exact(amount: Decimal) -> Decimal:
    to_units(amount)
    return amount


class StorageSettings(Settings):
    """Pictures are scored from 0 (safe) to 1: from where they wait for a review, or are blocked."""

    quotas: Annotated[Quotas, NoDecode, BeforeValidator(_quotas)] = Field(
        Quotas({"free": 10**9, ANY_PLAN: 100 * 10**9}), validation_alias="SMARTSPEC_STORAGE_QUOTAS"
    )
    """How much each plan's users may keep; only uploads are refused for it."""
    retention: Annotated[Retention, NoDecode, BeforeValidator(_retention)] = Field(
        Retention(), validation_alias="SMARTSPEC_STORAGE_RETENTION"
    )
    """How long each plan's files are kept; those of plans that are not named, for ever."""
    upload_bytes_max: int = Field(
        UPLOAD_BYTES_MAX, ge=1, le=UPLOAD_BYTES_MAX, validation_alias="SMARTSPEC_UPLOAD_BYTES_MAX"
    )
    """Of one upload, whatever the quota."""
    credits_per_gb_month: Annotated[Decimal, Field(ge=0), AfterValidator(_exact)] = Field(
        Decimal("0.01"), validation_alias="SMARTSPEC_STORAGE_CREDITS_PER_GB_MONTH"
    )
    """As credits reads it too, who charges it: here it is shown."""

    nsfw_check: bool = Field(default=True, validation_alias="SMARTSPEC_NSFW_CHECK")
    nsfw_review_from: float = Field(0.2, ge=0, le=1, validation_alias="SMARTSPEC_NSFW_REVIEW_FROM")
    nsfw_block_from: float = Field(0.8, ge=0, le=1, validation_alias="SMARTSPEC_NSFW_BLOCK_FROM")

    provenance: bool = Field(default=True, validation_alias="SMARTSPEC_PROVENANCE")
    """Outputs say that they were generated: by a watermark, XMP and a signature (C2PA)."""
    c2pa_certificate_file: Path | None = Field(None, validation_alias="C2PA_CERTIFICATE_FILE")
    """PEM, the leaf first, then its issuers; without it a root of the master key's signs."""
    c2pa_private_key_file: Path | None = Field(None, validation_alias="C2PA_PRIVATE_KEY_FILE")
    verify_bytes_max: int = Field(
        VERIFY_BYTES_MAX, ge=1, le=VERIFY_BYTES_MAX, validation_alias="SMARTSPEC_VERIFY_BYTES_MAX"
    )
    """Of a file that anybody may have verified."""

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        if self.nsfw_review_from > self.nsfw_block_from:
            raise ValueError("SMARTSPEC_NSFW_REVIEW_FROM is above SMARTSPEC_NSFW_BLOCK_FROM")
        return self
