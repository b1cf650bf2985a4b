"""What an order is at every vendor, and how its JSON is read: each refuses in its own words."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.simulator.domain.commissions import Commission
from services.simulator.domain.scenarios import without_scenarios

URL_CHARS_MAX: Final = 4_096
SHORT_SIDES_PX: Final[Mapping[str, int]] = {"480p": 480, "720p": 720, "1080p": 1080, "4k": 2160}
CHARS_PER_SECOND: Final = 15
"""How fast speech is taken to be where its length has to be priced before it is made."""


class Refused(Exception):
    """A vendor's refusal.

    `code` is the HTTP status (at kie.ai the body's code), `word` the vendor's own name of the
    error, `field` what is wrong in the request, `retry_after_s` when to come again (0: unsaid).
    """

    def __init__(
        self, code: int, message: str, word: str = "", field: str = "", retry_after_s: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.word = word
        self.field = field
        self.retry_after_s = retry_after_s

    def anew(self) -> "Refused":
        """The same words to raise: one exception raised twice keeps both ways it went."""
        return Refused(self.code, self.message, self.word, self.field, self.retry_after_s)


@dataclass(frozen=True, slots=True)
class Order:
    """A request that the vendor would accept.

    `price_credits` is in the vendor's own unit; `param` is JSON text that the protocol repeats
    later; `inputs` are the addresses or ids of pictures handed over.
    """

    model: str
    prompt: str
    commission: Commission
    price_credits: int
    param: str = ""
    callback_url: str = ""
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object read field by field; `refuse` makes the vendor's refusal of a field."""

    given: Mapping[str, Any]
    refuse: Callable[[str, str], Refused]

    def text(self, name: str, low: int, high: int) -> str:
        """Between `low` and `high` characters; it may be missing if `low` is 0."""
        value = self.given.get(name)
        if value is None and low == 0:
            return ""
        if not isinstance(value, str) or (low and not value.strip()):
            raise self.refuse(name, "is required")
        if not low <= len(value) <= high:
            raise self.refuse(name, f"must have between {low} and {high} characters")
        return value

    def one_of(self, name: str, known: Collection[str], default: str = "") -> str:
        """One of `known`; required if there is no default."""
        value = self.given.get(name, default)
        if not default and name not in self.given:
            raise self.refuse(name, "is required")
        if not isinstance(value, str) or value not in known:
            raise self.refuse(name, "is not within the range of allowed options")
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        value = self.given.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(name, "must be a number")
        if not low <= value <= high:
            raise self.refuse(name, f"must be between {low:g} and {high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        value = self.given.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refuse(name, f"must be an integer between {low} and {high}")
        return value

    def flag(self, name: str) -> bool:
        value = self.given.get(name) or False
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def urls(self, name: str, most: int) -> tuple[str, ...]:
        """At most `most` addresses; none if the field is missing."""
        value = self.given.get(name) or []
        fine = isinstance(value, list) and len(value) <= most
        if not fine or not all(isinstance(one, str) and is_url(one) for one in value):
            raise self.refuse(name, f"must be a list of at most {most} URLs")
        return tuple(value)

    def url(self, name: str) -> str:
        """An address, or "" if the field is missing."""
        value = self.given.get(name) or ""
        if not isinstance(value, str) or (value and not is_url(value)):
            raise self.refuse(name, "must be a URL")
        return value

    def within(self, name: str) -> "Fields":
        """The object in a field; empty if it is missing."""
        value = self.given.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(name, "must be an object")
        return Fields(value or {}, self.refuse)

    def seed(self, prompt: str, low: int = 0, high: int = 2**63 - 1) -> int:
        """The seed asked for, else one that the prompt's own words decide."""
        words = without_scenarios(prompt).encode("utf-8", "replace")
        own = int.from_bytes(hashlib.sha256(words).digest()[:8], "big")
        return self.whole("seed", low, high, own)


def is_url(text: str) -> bool:
    return len(text) <= URL_CHARS_MAX and text.startswith(("http://", "https://"))


def frame_size(resolution: str, ratio: str) -> tuple[int, int]:
    """Pixels across and down of a film: the short side is the resolution's, both are even."""
    short = SHORT_SIDES_PX[resolution]
    across, down = (int(part) for part in ratio.split(":"))
    long_px = short * max(across, down) // min(across, down) // 2 * 2
    return (long_px, short) if across >= down else (short, long_px)


def spoken_s(text: str, speed: float = 1.0) -> int:
    """Seconds that a text is billed for before it is spoken, rounded up; never less than one."""
    return max(1, -int(-len(text) // (CHARS_PER_SECOND * speed)))
