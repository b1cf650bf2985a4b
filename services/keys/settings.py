"""What keys reads from the environment; it knows no secret but by the kernel's settings."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from kernel.http.access_tokens import AccessTokenSettings
from kernel.rates import Rate, RateClass, read_rates

RATES: Final = {
    RateClass.API: Rate(100, 60),
    RateClass.GENERATION: Rate(10, 60),
    RateClass.UPLOAD: Rate(10, 60),
    RateClass.DOWNLOAD: Rate(100, 60),
}
"""The classes of routes for which a key may have a rate of its own, and what everybody has."""


def _rates(value: object) -> object:
    return read_rates(value) if isinstance(value, str) else value


GOOGLE_JWKS_URL: Final = (
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
)


class KeysSettings(AccessTokenSettings):
    password_hashes_at_once_max: int = Field(
        4, validation_alias="PASSWORD_HASHES_AT_ONCE_MAX", ge=1, le=64
    )
    """Each takes 64 MiB and a few threads while it runs."""
    rate_limits: Annotated[Mapping[RateClass, Rate], NoDecode, BeforeValidator(_rates)] = Field(
        default_factory=dict, validation_alias="RATE_LIMITS"
    )
    """The gateway keeps them; here they are what no key's own rate may exceed."""
    mfa_policy: Literal["required", "enrolled", "off"] = Field(
        "required", validation_alias="KEYS_MFA_POLICY"
    )
    session_days: int = Field(30, validation_alias="SMARTSPEC_SESSION_DAYS", ge=1, le=365)
    """How long after its sign-in a session ends, however often it is refreshed."""
    smtp_host: str | None = Field(None, validation_alias="SMTP_HOST")
    smtp_port: int = Field(587, validation_alias="SMTP_PORT", ge=1, le=65535)
    smtp_username: str | None = Field(None, validation_alias="SMTP_USERNAME")
    smtp_password: SecretStr | None = Field(None, validation_alias="SMTP_PASSWORD")
    smtp_from: str = Field(
        "no-reply@smartspec.local", validation_alias="SMTP_FROM", pattern=r"^[^\s@]+@[^\s@]+$"
    )
    firebase_project_id: str | None = Field(
        None, validation_alias="FIREBASE_PROJECT_ID", pattern=r"^[a-z0-9-]{1,100}$"
    )
    firebase_jwks_url: str = Field(
        GOOGLE_JWKS_URL, validation_alias="FIREBASE_JWKS_URL", pattern=r"^https?://[^/\s]+/\S*$"
    )

    @property
    def rates_of_keys(self) -> Mapping[str, Rate]:
        """By class, as far as keys may have rates of their own."""
        return {kind.value: self.rate_limits.get(kind, rate) for kind, rate in RATES.items()}
