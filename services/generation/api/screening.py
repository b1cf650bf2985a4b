"""Refuses a request whose words break a rule, before anything is written or held."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog
from prometheus_client import Counter
from pydantic import BaseModel

from kernel.errors import Invalid
from kernel.telemetry.metrics import REGISTRY
from services.generation.domain.moderation import Category, PromptRules

SERVICE: Final = "generation"
NOT_SCREENED: Final = frozenset(
    {
        *("model_id", "quote_id", "webhook_url", "metadata", "aspect_ratio", "resolution"),
        *("quality", "input_image", "voice_id", "format", "language", "avatar_id", "dimension"),
    }
)
"""Fields that are ids, addresses, choices or the user's own notes; every other text is screened,
so that a new field is unless it is named here."""
MESSAGES: Final = {
    Category.SEXUAL_MINORS: "Nothing sexual or undressed is made in connection with minors.",
    Category.SEXUAL: "Sexual content and nudity are not made here.",
    Category.REAL_PERSON_NUDITY: "Real people are not undressed here.",
    Category.VIOLENCE_GRAPHIC: "Graphic violence is not made here.",
    Category.SELF_HARM: (
        "Self-harm is not shown here. If you are in distress, please talk to somebody you trust,"
        " or to a helpline near you."
    ),
    Category.HATE: "Hatred against groups of people is not made here.",
    Category.EXTREMISM: "Praise of terror and extremism is not made here.",
    Category.ILLEGAL_GOODS: "Help with weapons, drugs and illegal goods is not made here.",
}
REJECTED: Final = Counter(
    "smartspec_prompts_rejected_total",
    "Requests that were refused for their words, by the category of the rule.",
    ("service", "type"),
    registry=REGISTRY,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Screening:
    rules: PromptRules

    def refuse(self, request: BaseModel) -> None:
        """Raises `Invalid` (`prompt_rejected`) with the rule and its category, and no word of what
        was asked: neither there, nor in the log."""
        verdict = self.rules.screened(list(texts_of(request.model_dump())))
        if verdict.category is None:
            return
        details = {"category": verdict.category.value, "rule": verdict.rule}
        REJECTED.labels(SERVICE, verdict.category.value).inc()
        _log.info("a prompt was refused", **details)
        raise Invalid("prompt_rejected", MESSAGES[verdict.category], details)


def texts_of(value: Any) -> Iterator[str]:
    """Every text of a request that says what is to be made, in whichever field."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in NOT_SCREENED:
                yield from texts_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_of(inner)
