"""The scenarios that stand, and how often a prompt's own scenario has been played."""

import hashlib
from collections import OrderedDict
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


class Stage:
    def __init__(self, max_scenarios: int, *, canned: bool) -> None:
        self._max = max_scenarios
        self._always = (Scenario("canned"),) if canned else ()
        self._asked_times: OrderedDict[str, int] = OrderedDict()
        self.standing: tuple[Scenario, ...] = ()

    def add(self, scenario: Scenario) -> None:
        if len(self.standing) >= self._max:
            raise Rejected("too_many_scenarios", f"at most {self._max} scenarios stand at a time")
        self.standing = (*self.standing, scenario)

    def clear(self) -> None:
        self.standing = ()
        self._asked_times.clear()

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
