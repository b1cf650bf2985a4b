"""The words for vendors whose keys a user may bring, and what is said of one that is not there."""

from enum import StrEnum

from kernel.errors import NotFound


class Provider(StrEnum):
    """As generation's catalogue names them."""

    KIE = "kie"
    GOOGLE = "google"
    HEYGEN = "heygen"
    LEONARDO = "leonardo"
    ELEVENLABS = "elevenlabs"


def provider_key_not_found() -> NotFound:
    return NotFound("provider_key_not_found", "There is no key of yours for this provider.")
