"""What storage reads from the environment."""

from typing import Self

from pydantic import Field, model_validator

from kernel.settings import Settings


class StorageSettings(Settings):
    """Pictures are scored from 0 (safe) to 1: from where they wait for a review, or are blocked."""

    nsfw_check: bool = Field(default=True, validation_alias="SMARTSPEC_NSFW_CHECK")
    nsfw_review_from: float = Field(0.2, ge=0, le=1, validation_alias="SMARTSPEC_NSFW_REVIEW_FROM")
    nsfw_block_from: float = Field(0.8, ge=0, le=1, validation_alias="SMARTSPEC_NSFW_BLOCK_FROM")

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        if self.nsfw_review_from > self.nsfw_block_from:
            raise ValueError("SMARTSPEC_NSFW_REVIEW_FROM is above SMARTSPEC_NSFW_BLOCK_FROM")
        return self
