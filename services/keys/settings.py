"""What keys reads from the environment; it knows no secret but by the kernel's settings."""

from typing import Literal

from pydantic import Field

from kernel.http.access_tokens import AccessTokenSettings


class KeysSettings(AccessTokenSettings):
    password_hashes_at_once_max: int = Field(
        4, validation_alias="PASSWORD_HASHES_AT_ONCE_MAX", ge=1, le=64
    )
    """Each takes 64 MiB and a few threads while it runs."""
    mfa_policy: Literal["required", "enrolled", "off"] = Field(
        "required", validation_alias="KEYS_MFA_POLICY"
    )
