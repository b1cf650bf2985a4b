"""Every fault that the simulator plays, and what must come of it: a row each, with who pays.

A row is what the prompt tells the simulator, the model, the row of the outcome policy, the code
that its user reads, and how often each vendor was asked to make something, in vain or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from services.generation.domain.outcomes import OUTCOMES

OWN_KEY_SHARE: Final = 0.2
LATE: Final = "late_delivery"


@dataclass(frozen=True, slots=True)
class Model:
    """As it is asked for here; `price` in credits of one output. `canned`: a tiny file will do,
    where others must be as large and as long as was asked for."""

    model_id: str
    price: float
    options: Mapping[str, Any]
    canned: bool = True


_TINY: Final = {"resolution": "256x256"}
_SPEAKER: Final = {
    "avatar_id": "Abigail_expressive_2024112501",
    "voice_id": "f38a635bee7a4d1f9b0a654a31d050d2",
    "dimension": "1:1",
    "quality": "low",
}
KIE: Final = Model("flux-2", 1.0, _TINY)
KIE_OR_GOOGLE: Final = Model("nano-banana-pro", 1.0, _TINY)
GOOGLE: Final = Model("gemini-image", 1.0, _TINY)
LEONARDO: Final = Model("leonardo-motion-2", 5.0, {"aspect_ratio": "1:1"}, canned=False)
CANNED_FILM: Final = replace(LEONARDO, canned=True)
HEYGEN: Final = Model("heygen-avatar", 5.0, _SPEAKER, canned=False)
ELEVENLABS: Final = Model("elevenlabs-tts", 0.5, {"format": "wav"})
ELEVENLABS_OR_KIE: Final = Model("elevenlabs-tts", 0.5, {"format": "mp3"})


@dataclass(frozen=True, slots=True)
class Case:
    """`standing` is set for the user's own key before. `hasty`: of a product whose deadlines are
    short. `loss` is why the ledger has entered one of the platform's."""

    said: str
    model: Model
    outcome: str
    code: str | None
    submits: Mapping[str, int]
    own_key: bool = False
    hasty: bool = False
    num_images: int = 1
    standing: Mapping[str, Any] = field(default_factory=dict)
    loss: str | None = None

    @property
    def price(self) -> float:
        """Credits."""
        share = OWN_KEY_SHARE if self.own_key else 1.0
        return round(self.model.price * self.num_images * share, 4)

    @property
    def charged(self) -> float:
        """Credits, by the outcome policy."""
        return self.price if OUTCOMES[self.outcome].user_pays else 0.0

    def prompt(self, words: str) -> str:
        wanted = [self.said, "canned"] if self.model.canned else [self.said]
        return " ".join([*(f"[[sim:{one}]]" for one in wanted if one), words])


def _made(said: str, model: Model, **submits: int) -> Case:
    return Case(said, model, "completed", None, submits)


def _failed(said: str, model: Model, **submits: int) -> Case:
    return Case(said, model, "provider_failed", "provider_failed", submits)


def _away(said: str, model: Model, **submits: int) -> Case:
    """The provider does not take the platform's key, and nobody else makes it."""
    return Case(said, model, "provider_failed", "provider_unavailable", submits)


def _withheld(said: str, model: Model, **submits: int) -> Case:
    return Case(said, model, "output_moderated", "content_moderated", submits)


def _unknown(said: str, model: Model, **submits: int) -> Case:
    """The answer was lost, and the vendor has no way to ask what came of it."""
    return Case(said, model, "provider_unknown", "provider_unknown", submits)


def _undelivered(said: str, model: Model, code: str, **submits: int) -> Case:
    return Case(said, model, "delivery_failed", code, submits)


_ROWS: Final = (
    # A request that the vendor surely did not take is made again, or by another provider.
    _made("canned", KIE, kie=1),
    _made("rate_limited_then_ok", KIE, kie=2),
    _made("rate_limited_then_ok", GOOGLE, google=2),
    _made("rate_limited_then_ok times=2", ELEVENLABS, elevenlabs=3),
    _made("maintenance times=1", KIE, kie=2),
    _made("maintenance times=1", GOOGLE, google=2),
    _made("maintenance times=3", KIE_OR_GOOGLE, kie=3, google=1),
    _made("server_error times=1", GOOGLE, google=2),
    _made("server_error times=1", ELEVENLABS, elevenlabs=2),
    _made("too_many_at_once times=1", ELEVENLABS, elevenlabs=2),
    _made("no_credits times=1", KIE_OR_GOOGLE, kie=1, google=1),
    _made("unauthorized times=1", KIE_OR_GOOGLE, kie=1, google=1),
    _made("no_credits times=1", ELEVENLABS_OR_KIE, elevenlabs=1, kie=1),
    _away("no_credits", KIE, kie=1),
    _away("unauthorized", KIE, kie=1),
    _away("unauthorized", GOOGLE, google=1),
    _away("no_credits", LEONARDO, leonardo=1),
    _away("unauthorized", HEYGEN, heygen=1),
    _away("no_credits", ELEVENLABS, elevenlabs=1),
    Case(
        *("unauthorized", KIE_OR_GOOGLE, "provider_failed", "own_key_refused", {"kie": 1}),
        own_key=True,
    ),
    Case(
        *("no_credits", KIE_OR_GOOGLE, "provider_failed", "own_key_refused", {"kie": 1}),
        own_key=True,
    ),
    Case(
        *("", KIE, "completed", None, {"kie": 3}),
        own_key=True,
        num_images=2,
        standing={"name": "task_limit", "tasks": 1, "seconds": 3},
    ),
    # An answer that was lost is never simply asked for again.
    _unknown("connection_reset", KIE, kie=1),
    _unknown("server_error", KIE, kie=1),
    _unknown("answer_lost", KIE, kie=1),
    _unknown("connection_reset", GOOGLE, google=1),
    _unknown("malformed_json", GOOGLE, google=1),
    _unknown("answer_lost", GOOGLE, google=1),
    _unknown("answer_lost", ELEVENLABS, elevenlabs=1),
    _unknown("wrong_mime", ELEVENLABS, elevenlabs=1),
    _made("answer_lost", HEYGEN, heygen=1),
    _made("malformed_json times=1", HEYGEN, heygen=2),
    _made("request_in_progress times=1", HEYGEN, heygen=2),
    _made("answer_lost", LEONARDO, leonardo=1),
    _made("connection_reset times=1", LEONARDO, leonardo=2),
    # What goes wrong while it is made.
    _made("latency seconds=1", KIE, kie=1),
    _made("state_backwards", KIE, kie=1),
    _made("price_drift factor=3", KIE, kie=1),
    _made("malformed_json on=look", KIE, kie=1),
    _made("connection_reset on=look", KIE, kie=1),
    _made("unauthorized on=look", KIE, kie=1),
    _made("no_credits on=look", LEONARDO, leonardo=1),
    _failed("fail", KIE, kie=1),
    _failed("fail", GOOGLE, google=1),
    _failed("fail", HEYGEN, heygen=1),
    _failed("fail", LEONARDO, leonardo=1),
    _failed("fail", ELEVENLABS, elevenlabs=1),
    _failed("download_failed", KIE, kie=1),
    _failed("lost", KIE, kie=3),
    _failed("lost", LEONARDO, leonardo=3),
    _failed("lost", HEYGEN, heygen=3),
    _withheld("moderated", KIE, kie=1),
    _withheld("moderated when=after", KIE, kie=1),
    _withheld("moderated", GOOGLE, google=1),
    _withheld("moderated", HEYGEN, heygen=1),
    _withheld("moderated", LEONARDO, leonardo=1),
    _withheld("moderated", ELEVENLABS, elevenlabs=1),
    Case("hang", KIE, "deadline_missed", "deadline_missed", {"kie": 1}, hasty=True),
    Case("hang", LEONARDO, "deadline_missed", "deadline_missed", {"leonardo": 1}, hasty=True),
    Case(
        *("latency seconds=9", KIE, "deadline_missed", "deadline_missed", {"kie": 1}),
        hasty=True,
        loss=LATE,
    ),
    # Nothing that a callback says is believed.
    _made("callback_lost", KIE, kie=1),
    _made("callback_late seconds=1", KIE, kie=1),
    _made("callback_duplicate times=3", KIE, kie=1),
    _made("callback_forged", KIE, kie=1),
    _made("callback_reordered", KIE, kie=1),
    # What is brought is looked at.
    _undelivered("wrong_mime", KIE, "unsupported_type", kie=1),
    _undelivered("expired_link", KIE, "origin_refused", kie=1),
    _undelivered("oversized bytes=70000000", KIE, "too_large", kie=1),
    _undelivered("truncated", KIE, "damaged_picture", kie=1),
    _undelivered("truncated", GOOGLE, "damaged_picture", google=1),
    _undelivered("truncated", ELEVENLABS, "damaged_sound", elevenlabs=1),
    _undelivered("wrong_mime", CANNED_FILM, "unsupported_type", leonardo=1),
    _undelivered("expired_link", CANNED_FILM, "origin_refused", leonardo=1),
    _undelivered("oversized bytes=2000", CANNED_FILM, "unsupported_type", leonardo=1),
    _undelivered("canned", CANNED_FILM, "wrong_size", leonardo=1),
    _made("mislabelled", KIE, kie=1),
    _made("mislabelled", GOOGLE, google=1),
)
TABLE: Final[Mapping[str, Case]] = {
    " ".join(
        [
            *([case.said] if case.said else [str(case.standing["name"])]),
            f"at {' or '.join(case.submits)}",
            *(["under an own key"] if case.own_key else []),
        ]
    ): case
    for case in _ROWS
}
