"""What keys reads from the environment; it knows no secret but by the kernel's settings."""

from pydantic import Field

from kernel.settings import Settings


class KeysSettings(Settings):
    jwt_algorithm: str = Field(
        "HS256", validation_alias="JWT_ALGORITHM", pattern=r"^HS(256|384|512)$"
    )
    jwt_expire_minutes: int = Field(30, validation_alias="JWT_EXPIRE_MINUTES", ge=1, le=1_440)
    password_hashes_at_once_max: int = Field(
        4, validation_alias="PASSWORD_HASHES_AT_ONCE_MAX", ge=1, le=64
    )
    """Each takes 64 MiB and a few threads while it runs."""
