"""Faults on demand: which of them are due for a request or a job, decided without chance.

A scenario is set over HTTP for the jobs that match it, or written into a prompt as
`[[sim:NAME argument=value]]` for that job alone.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from kernel.errors import Invalid

REQUEST_FAULTS: Final = frozenset(
    {
        "rate_limited_then_ok",
        "no_credits",
        "unauthorized",
        "server_error",
        "connection_reset",
        "malformed_json",
        "maintenance",
        "request_in_progress",
        "too_many_at_once",
    }
)
JOB_FAULTS: Final = frozenset(
    {
        "latency",
        "fail",
        "moderated",
        "answer_lost",
        "canned",
        "state_backwards",
        "hang",
        "lost",
        "download_failed",
        "task_limit",
        "price_drift",
    }
)
CALLBACK_FAULTS: Final = frozenset(
    {
        "callback_lost",
        "callback_late",
        "callback_duplicate",
        "callback_forged",
        "callback_reordered",
    }
)
RESULT_FAULTS: Final = frozenset(
    {"wrong_mime", "expired_link", "oversized", "mislabelled", "truncated"}
)
NAMES: Final = REQUEST_FAULTS | JOB_FAULTS | CALLBACK_FAULTS | RESULT_FAULTS
MAX_ARGUMENTS: Final = 8
MAX_IN_PROMPT: Final = 8

Value = str | float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault and how it is played; a vendor that knows nothing of the kind does not play it.

    Arguments: `chance` (0..1 per job, drawn from `seed`), and for
    requests: `times` (how often refused), `on` (create or look), `status` (server_error),
    `retry_after` (s; rate_limited_then_ok);
    jobs: `seconds`, `spread_s` (latency: beyond a caller's deadline it is a success too late),
    `when` (before or after; moderated), `factor` (price_drift), `tasks`, `seconds` (task_limit);
    callbacks: `seconds` (callback_late), `times` (callback_duplicate),
    `when` (before or after the true one; callback_forged);
    results: `bytes` (oversized), `fraction` (truncated).
    """

    name: str
    key: str = ""
    model: str = ""
    left: int | None = None
    seed: int = 0
    considered: int = 0
    arguments: Mapping[str, Value] = field(default_factory=dict)

    def number(self, name: str, default: float) -> float:
        value = self.arguments.get(name, default)
        return value if isinstance(value, int | float) and math.isfinite(value) else default

    def text(self, name: str, default: str) -> str:
        return str(self.arguments.get(name, default))

    def matches(self, key: str, model: str) -> bool:
        return self.key in {"", key} and self.model in {"", model}

    @property
    def strikes(self) -> str:
        """Where a request fault is played: create or look."""
        return self.text("on", "create")

    @property
    def times(self) -> int | None:
        """How many requests in a row are refused; none: all of them."""
        once = self.name == "rate_limited_then_ok" or self.strikes == "look"
        given = self.number("times", 1 if once else 0)
        return int(given) if given > 0 else None


def checked(scenario: Scenario) -> Scenario:
    """The scenario itself, or `Invalid` if nothing of the kind can be played."""
    if scenario.name not in NAMES:
        raise Invalid(
            "unknown_scenario", f"no scenario {scenario.name!r}", {"names": sorted(NAMES)}
        )
    if len(scenario.arguments) > MAX_ARGUMENTS:
        raise Invalid("too_many_arguments", f"at most {MAX_ARGUMENTS} arguments")
    if scenario.strikes not in {"create", "look"}:
        raise Invalid("unknown_place", "`on` is create or look")
    return scenario


_EMBEDDED: Final = re.compile(
    r"\[\[sim:([a-z_]{1,40})((?:\s+[a-z_]{1,20}=[^\s\]]{1,40}){0,8})\s*\]\]"
)


def in_prompt(prompt: str) -> tuple[Scenario, ...]:
    """The scenarios a prompt carries; unknown names are words like any other."""
    found = []
    for match in _EMBEDDED.finditer(prompt):
        pairs = (pair.split("=", 1) for pair in match[2].split())
        one = Scenario(match[1], arguments={name: _value(text) for name, text in pairs})
        if one.name in NAMES and one.strikes in {"create", "look"}:
            found.append(one)
    return tuple(found[:MAX_IN_PROMPT])


def without_scenarios(prompt: str) -> str:
    """The prompt's own words."""
    return _EMBEDDED.sub(" ", prompt).strip()


def _value(text: str) -> Value:
    try:
        return float(text)
    except ValueError:
        return text


def draw(seed: int, salt: str) -> float:
    """A number in 0..1 that the same seed and salt always give."""
    digest = hashlib.sha256(f"{seed}:{salt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def choose(
    standing: tuple[Scenario, ...], key: str, model: str
) -> tuple[tuple[Scenario, ...], tuple[Scenario, ...]]:
    """(those that are due now, those that stand afterwards).

    Each that matches is counted down; of two with one name the earlier is played.
    """
    due: dict[str, Scenario] = {}
    after = []
    for one in standing:
        if not one.matches(key, model) or one.name in due:
            after.append(one)
            continue
        left = None if one.left is None else one.left - 1
        lucky = draw(one.seed, f"{one.name}:{one.considered}") < one.number("chance", 1.0)
        if lucky:
            due[one.name] = one
        if left is None or left > 0:
            after.append(replace(one, left=left, considered=one.considered + 1))
    return tuple(due.values()), tuple(after)


def refusal(due: tuple[Scenario, ...], strikes: str, nth: int) -> Scenario | None:
    """The fault that answers the `nth` (from 1) request of its kind instead of the vendor."""
    for one in due:
        here = one.name in REQUEST_FAULTS and one.strikes == strikes
        if here and (one.times is None or nth <= one.times):
            return one
    return None


def latency_ms(due: tuple[Scenario, ...], default_s: float) -> int:
    """How long a job is to take at least, drawn from the scenario's spread if it has one."""
    for one in due:
        if one.name == "latency":
            spread_s = one.number("spread_s", 0.0) * draw(one.seed, f"latency:{one.considered}")
            return round((min(one.number("seconds", 2.0), 86_400.0) + spread_s) * 1000)
    return round(default_s * 1000)
