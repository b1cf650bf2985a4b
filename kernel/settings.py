"""Settings: environment variables and `.env`, read once at start into frozen classes.

A malformed value, or an unknown `SMARTSPEC_*` name, refuses to start and names itself.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SMARTSPEC_"
ENV_FILE = ".env"
SECRET_BYTES_MIN = 32
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$"
GOOGLE_ENDPOINT = "https://storage.googleapis.com"


class WrongSettings(SystemExit):
    """The process can't start like this; the words name each variable."""


class Settings(BaseSettings):
    """What every service reads. Names and aliases: README, "Settings"."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=ENV_FILE,
        env_ignore_empty=True,  # `DATABASE_URL=` means that there is none
        extra="ignore",
        hide_input_in_errors=True,
    )

    database_url: str | None = Field(
        None, validation_alias=AliasChoices("DATABASE_URL", "SUPABASE_DB_URL")
    )
    database_connections_max: int = Field(
        12, ge=2, le=200, validation_alias="SMARTSPEC_DATABASE_CONNECTIONS_MAX"
    )
    """Of each process. A connection costs tens of ms to make (SCRAM), and two processors keep few
    of them busy."""
    rabbitmq_url: str | None = Field(
        None, validation_alias="RABBITMQ_URL", pattern=r"^amqps?://[^\s]+$"
    )
    queue_prefix: str = Field(
        "", validation_alias="SMARTSPEC_QUEUE_PREFIX", pattern=r"^[a-zA-Z0-9._-]{0,100}$"
    )
    """Before every name on the broker and in Redis, so that several systems can share them."""
    home: Path = Field(Path(".smartspec"), validation_alias="SMARTSPEC_HOME")
    r2_access_key_id: str | None = Field(
        None,
        validation_alias=AliasChoices(
            "CLOUDFLARE_R2_ACCESS_KEY_ID", "R2_ACCESS_KEY_ID", "R2_ACCESS_KEY"
        ),
    )
    r2_secret_access_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices(
            "CLOUDFLARE_R2_SECRET_ACCESS_KEY", "R2_SECRET_ACCESS_KEY", "R2_SECRET_KEY"
        ),
    )
    r2_bucket_name: str | None = Field(
        None,
        validation_alias=AliasChoices("CLOUDFLARE_R2_BUCKET_NAME", "R2_BUCKET_NAME", "R2_BUCKET"),
        pattern=BUCKET_PATTERN,
    )
    r2_endpoint: str | None = Field(
        None, validation_alias="CLOUDFLARE_R2_ENDPOINT", pattern=r"^https?://[^/\s@?#]+/?$"
    )
    r2_account_id: str | None = Field(
        None, validation_alias="R2_ACCOUNT_ID", pattern=r"^[A-Za-z0-9]{1,64}$"
    )
    gcs_bucket_name: str | None = Field(
        None, validation_alias="GCS_BUCKET_NAME", pattern=BUCKET_PATTERN
    )
    """By Google's interoperability keys, given as the access key and its secret."""
    s3_region: str = Field(
        "auto", validation_alias="SMARTSPEC_S3_REGION", pattern=r"^[a-z0-9-]{1,64}$"
    )
    simulator_url: str | None = Field(
        None, validation_alias="SIMULATOR_URL", pattern=r"^https?://[^/\s]+$"
    )
    """Where vendors that have no key are played, when not in this process."""
    sandbox: bool | None = Field(default=None, validation_alias="SMARTSPEC_SANDBOX")
    host: str = Field("127.0.0.1", validation_alias="HOST")
    port: int = Field(8000, ge=0, le=65535, validation_alias="PORT")
    public_base_url: str | None = Field(None, validation_alias="PUBLIC_BASE_URL")
    metrics_port: int | None = Field(None, ge=0, le=65535, validation_alias="METRICS_PORT")
    otlp_endpoint: str | None = Field(
        None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT", pattern=r"^https?://"
    )
    log_level: str = Field(
        "INFO",
        validation_alias="LOG_LEVEL",
        pattern=r"(?i)^(debug|info|warning|error|critical)$",
    )
    encryption_master_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("ENCRYPTION_MASTER_KEY", "ENCRYPTION_KEY")
    )
    jwt_secret_key: SecretStr | None = Field(None, validation_alias="JWT_SECRET_KEY")
    mode: str = Field(
        "development",
        validation_alias=AliasChoices("API_MODE", "APP_MODE"),
        pattern=r"^(development|production)$",
    )

    @field_validator("encryption_master_key", "jwt_secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """A short secret can be guessed; of master keys there may be several."""
        text = None if value is None else value.get_secret_value()
        parts = [] if text is None else [text]
        if text is not None and info.field_name == "encryption_master_key":
            parts = [part for part in text.split(",") if part.strip()]
        if any(len(part.strip().encode()) < SECRET_BYTES_MIN for part in parts):
            raise ValueError(f"needs at least {SECRET_BYTES_MIN} bytes")
        return value

    @model_validator(mode="after")
    def _object_store_whole(self) -> Self:
        """Of a bucket everything is given, or nothing."""
        if self.r2_bucket_name is not None and self.gcs_bucket_name is not None:
            raise ValueError("set CLOUDFLARE_R2_BUCKET_NAME or GCS_BUCKET_NAME, not both")
        parts = {
            "CLOUDFLARE_R2_ACCESS_KEY_ID": self.r2_access_key_id,
            "CLOUDFLARE_R2_SECRET_ACCESS_KEY": self.r2_secret_access_key,
            "CLOUDFLARE_R2_BUCKET_NAME": self.objects_bucket,
            "CLOUDFLARE_R2_ENDPOINT": self.objects_endpoint,
        }
        missing = [name for name, value in parts.items() if value is None]
        if missing and len(missing) < len(parts):
            raise ValueError(f"for objects in a bucket, set {', '.join(missing)} too")
        return self

    @property
    def objects_bucket(self) -> str | None:
        return self.r2_bucket_name or self.gcs_bucket_name

    @property
    def objects_endpoint(self) -> str | None:
        """`scheme://host[:port]` of the bucket's server; None: objects are files."""
        if self.r2_endpoint is not None:
            return self.r2_endpoint.rstrip("/")
        if self.r2_account_id is not None:
            return f"https://{self.r2_account_id}.r2.cloudflarestorage.com"
        return None if self.gcs_bucket_name is None else GOOGLE_ENDPOINT

    @property
    def in_production(self) -> bool:
        return self.mode == "production"

    @property
    def objects_root(self) -> Path:
        """The one object store of all services, where objects are files; each has folders of its
        own in it."""
        return self.home / "objects"

    @field_validator("public_base_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else None


S = TypeVar("S", bound=BaseSettings)


def read_settings(kind: type[S], **given: Any) -> S:
    """The settings of `kind` from the environment; `given` wins. Raises `WrongSettings`."""
    try:
        return kind(**given)
    except ValidationError as error:
        faults = [
            f"  {': '.join(filter(None, ('.'.join(map(str, item['loc'])), item['msg'])))}"
            for item in error.errors(include_input=False)
        ]
        raise WrongSettings("SmartSpec can't start:\n" + "\n".join(faults)) from None


def refuse_unknown(kinds: Iterable[type[BaseSettings]], environment: Mapping[str, str]) -> None:
    """Raise `WrongSettings` for a `SMARTSPEC_*` variable that no settings class knows."""
    known = {name for kind in kinds for name in _variables(kind)}
    present = {**dict.fromkeys(dotenv_values(ENV_FILE), ""), **environment}
    unknown = sorted(name for name in present if _is_ours(name) and name.upper() not in known)
    if unknown:
        raise WrongSettings(f"SmartSpec can't start: unknown setting {', '.join(unknown)}")


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)  # in any case, as they are read


def _variables(kind: type[BaseSettings]) -> Iterable[str]:
    for field in kind.model_fields.values():
        alias = field.validation_alias
        if isinstance(alias, str):
            yield alias
        elif isinstance(alias, AliasChoices):
            yield from (choice for choice in alias.choices if isinstance(choice, str))
