"""What generation reads from the environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from kernel.base_urls import BaseUrls
from kernel.settings import Settings


class GenerationSettings(Settings):
    kie_ai_api_key: SecretStr | None = Field(None, validation_alias="KIE_AI_API_KEY")
    kie_ai_base_url: str = Field("https://api.kie.ai", validation_alias="KIE_AI_BASE_URL")
    google_api_key: SecretStr | None = Field(None, validation_alias="GOOGLE_API_KEY")
    google_base_url: str = Field(
        "https://generativelanguage.googleapis.com", validation_alias="GOOGLE_BASE_URL"
    )
    heygen_api_key: SecretStr | None = Field(None, validation_alias="HEYGEN_API_KEY")
    heygen_base_url: str = Field("https://api.heygen.com", validation_alias="HEYGEN_BASE_URL")
    heygen_api: Literal["v3", "v2"] = Field("v3", validation_alias="SMARTSPEC_HEYGEN_API")
    leonardo_api_key: SecretStr | None = Field(None, validation_alias="LEONARDO_API_KEY")
    leonardo_base_url: str = Field(
        "https://cloud.leonardo.ai", validation_alias="LEONARDO_BASE_URL"
    )
    elevenlabs_api_key: SecretStr | None = Field(None, validation_alias="ELEVENLABS_API_KEY")
    elevenlabs_base_url: str = Field(
        "https://api.elevenlabs.io", validation_alias="ELEVENLABS_BASE_URL"
    )
    reserve_timeout_s: float = Field(
        3.0, gt=0, le=60, validation_alias="SMARTSPEC_RESERVE_TIMEOUT_S"
    )
    first_look_s: float = Field(0.5, gt=0, le=60, validation_alias="SMARTSPEC_FIRST_LOOK_S")
    unknown_for_s: float = Field(60.0, gt=0, le=3_600, validation_alias="SMARTSPEC_UNKNOWN_FOR_S")
    deadline_s: int | None = Field(
        None, ge=1, le=86_400, validation_alias="SMARTSPEC_TASK_DEADLINE_S"
    )

    own_key_price_percent: int = Field(
        20, ge=0, le=100, validation_alias="SMARTSPEC_OWN_KEY_PRICE_PERCENT"
    )
    """Of the price, where the user's own key pays the provider."""
    moderation_file: Path | None = Field(None, validation_alias="SMARTSPEC_MODERATION_FILE")
    """Rules for prompts instead of ours; those of the floor stay."""
    keys_url: BaseUrls = Field((), validation_alias="KEYS_URL")
    """Read where generation has a process of its own."""

    @property
    def vendors(self) -> Mapping[str, tuple[str, SecretStr | None]]:
        """Where each is, and its key if there is one; named as in the catalogue."""
        return {
            "kie": (self.kie_ai_base_url, self.kie_ai_api_key),
            "google": (self.google_base_url, self.google_api_key),
            "heygen": (self.heygen_base_url, self.heygen_api_key),
            "leonardo": (self.leonardo_base_url, self.leonardo_api_key),
            "elevenlabs": (self.elevenlabs_base_url, self.elevenlabs_api_key),
        }
