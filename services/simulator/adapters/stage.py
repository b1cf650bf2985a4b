"""The scenarios that stand, and how often a prompt's own scenario has been played."""

import hashlib
from collections import OrderedDict, deque
from typing import Final

from kernel.errors import Rejected
from services.simulator.domain.scenarios import (
    REQUEST_FAULTS,
    Scenario,
    choose,
    in_prompt,
    refusal,
)

MAX_COUNTED_PROMPTS: Final = 1_000
MAX_COUNTED_KEYS: Final = 1_000


class Stage:
    def __init__(self, max_scenarios: int, *, canned: bool) -> None:
        self._max = max_scenarios
        self._always = (Scenario("canned"),) if canned else ()
        self._asked_times: OrderedDict[str, int] = OrderedDict()
        self._starts: OrderedDict[str, deque[int]] = OrderedDict()
        self.standing: tuple[Scenario, ...] = ()

    def add(self, scenario: Scenario) -> None:
        if len(self.standing) >= self._max:
            raise Rejected("too_many_scenarios", f"at most {self._max} scenarios stand at a time")
        self.standing = (*self.standing, scenario)

    def clear(self) -> None:
        self.standing = ()
        self._asked_times.clear()
        self._starts.clear()

    def play(
        self, key: str, model: str, prompt: str
    ) -> tuple[Scenario | None, tuple[Scenario, ...]]:
        """(the fault that answers instead of the vendor, what else is due for the job)."""
        due, self.standing = choose(self.standing, key, model)
        own = in_prompt(prompt)
        refused = refusal(due, "create", 1) or self._own_refusal(own, key, prompt)
        rest = (*own, *due, *self._always)
        played = (one for one in rest if one.name not in REQUEST_FAULTS or one.strikes != "create")
        return refused, tuple(played)

    def standing_for(self, name: str, key: str, model: str) -> Scenario | None:
        """The first standing scenario of a name that is meant for a key and model; not counted."""
        matching = (one for one in self.standing if one.matches(key, model))
        return next((one for one in matching if one.name == name), None)

    def within_window(self, whose: str, now_ms: int, most: int, window_ms: int) -> bool:
        """Count one start of `whose`; no more than `most` fit, and what does not is not counted."""
        starts = self._starts.setdefault(whose, deque())
        while starts and starts[0] <= now_ms - window_ms:
            starts.popleft()
        if len(starts) >= most:
            return False
        starts.append(now_ms)
        self._starts.move_to_end(whose)
        while len(self._starts) > MAX_COUNTED_KEYS:
            self._starts.popitem(last=False)
        return True

    def _own_refusal(self, own: tuple[Scenario, ...], key: str, prompt: str) -> Scenario | None:
        """A prompt's own fault is counted by prompt; once it is over, the count begins again."""
        if not own:
            return None
        digest = hashlib.sha256(f"{key}:{prompt}".encode("utf-8", "replace")).hexdigest()
        nth = self._asked_times.pop(digest, 0) + 1
        refused = refusal(own, "create", nth)
        if refused is not None:
            self._asked_times[digest] = nth
            while len(self._asked_times) > MAX_COUNTED_PROMPTS:
                self._asked_times.popitem(last=False)
        return refused
