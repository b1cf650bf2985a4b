"""Each fault that a vendor can have, over HTTP: how the task ends, who pays, how often its vendors
were asked, and that nothing of a vendor is told to its user."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from kernel.clock import new_id
from kernel.identifiers import parsed
from services.generation.domain.outcomes import OUTCOMES
from services.simulator.domain import elevenlabs, google, heygen, kie, leonardo
from services.simulator.domain.orders import Refused
from services.simulator.domain.scenarios import NAMES, in_prompt
from tests.system.conftest import prepared
from tests.system.fault_table import TABLE, Case
from tests.system.product import V2, Product, User, new_user, running, wait_until
from tests.system.test_own_provider_key import PATH, PLATFORM_KEY, digest

QUICKLY: Final = {"SMARTSPEC_UNKNOWN_FOR_S": "4"}
HASTILY: Final = {**QUICKLY, "SMARTSPEC_TASK_DEADLINE_S": "6"}
UNITS: Final = 10_000
ENDED_WITHIN_S: Final = 60
LEDGER: Final = """SELECT kind, amount_units FROM credits_read.credit_transactions
    WHERE task_id = $1 ORDER BY account_version"""
LOSSES: Final = "SELECT reason, amount_units FROM credits_read.losses WHERE task_id = $1"
NOTED: Final = "SELECT DISTINCT error FROM generation.provider_jobs WHERE error IS NOT NULL"
PAID, FREE = ("hold", "commit"), ("hold", "release")


@dataclass(frozen=True)
class Asked:
    """A row of the table that is being played."""

    case: Case
    product: Product
    user: User
    prompt: str
    task_id: str
    own_key: str

    def ended(self) -> Mapping[str, Any]:
        """The task, once it has ended and the ledger has heard of it."""
        found: dict[str, Any] = {}

        def all_is_said() -> bool:
            found.update(self.user.wait(self.task_id))
            over = found["status"] in {"completed", "failed"} and len(self.entries()) == len(PAID)
            return over and (self.case.loss is None or bool(self.losses()))

        wait_until(all_is_said, ENDED_WITHIN_S)
        return found

    def entries(self) -> list[tuple[str, int]]:
        return [tuple(row) for row in self.product.rows(LEDGER, parsed("task", self.task_id))]

    def losses(self) -> list[tuple[str, int]]:
        return [tuple(row) for row in self.product.rows(LOSSES, parsed("task", self.task_id))]

    def told(self) -> str:
        """All that its user can read of it."""
        paths = (f"tasks/{self.task_id}", f"credits/explain/{self.task_id}")
        answers = [self.user.client.get(f"{V2}/{path}") for path in paths]
        listed = [one for one in self.user.tasks() if one["id"] == self.task_id]
        return f"{[answer.raise_for_status().text for answer in answers]} {listed}"


def vendors_words() -> Iterator[str]:
    """Whatever a simulated vendor says of a fault."""
    for vendor in (kie, google, heygen, leonardo, elevenlabs):
        yield from (refused.message for refused in vendor.FAULTS.values())
        for end in getattr(vendor, "ENDS", {}).values():
            yield end.message if isinstance(end, Refused) else end[1]


def simulator(product: Product) -> httpx.Client:
    port = (product.home / "simulator" / "port").read_text()
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)


def play(case: Case, product: Product, user: User, own_key: str) -> Asked:
    if case.standing:
        with simulator(product) as vendors:
            vendors.post("/_scenarios", json={**case.standing, "key": own_key}).raise_for_status()
    prompt = case.prompt(f"hello {new_id().hex[-8:]}")
    options = {**case.model.options} | (
        {"num_images": case.num_images} if case.num_images > 1 else {}
    )
    body = {"model_id": case.model.model_id, "prompt": prompt, "options": options}
    answer = user.client.post(f"{V2}/generate", json=body)
    assert answer.status_code == 201, answer.text
    task = answer.json()["task"]
    assert task["credits_reserved"] == case.price
    return Asked(case, product, user, prompt, task["id"], own_key)


def with_own_key(product: Product, user: User) -> str:
    key = f"own-{new_id().hex}"
    with product.client(Authorization=f"Bearer {user.token}") as me:
        me.put(f"{PATH}/kie", json={"api_key": key}).raise_for_status()
    return key


def as_it_was(one: Asked) -> Mapping[str, Any]:
    task = one.ended()
    with simulator(one.product) as vendors:
        asked = vendors.get("/_journal").raise_for_status().json()["asked"]
        base_url = str(vendors.base_url)
    mine = [entry for entry in asked if entry["prompt"] == one.prompt]
    told = one.told().lower()
    secrets = {
        *vendors_words(),
        *(entry["task_id"] for entry in mine if entry["task_id"]),
        *(base_url.partition("//")[2], one.own_key or PLATFORM_KEY),
        *(digest(one.own_key), digest(PLATFORM_KEY)),
    }
    return {
        "status": task["status"],
        "outcome": task["outcome"],
        "code": task["error"] and task["error"]["code"],
        "charged": task["credits_used"],
        "made_by": task["provider"] if task["status"] == "completed" else None,
        "submits": Counter(entry["vendor"] for entry in mine),
        "keys": {entry["key"] for entry in mine},
        "ledger": one.entries(),
        "losses": one.losses(),
        "leaks": {words for words in secrets if words.lower() in told.replace("-", "")}
        | {words for words in secrets if words.lower() in told},
    }


def as_it_must_be(one: Asked) -> Mapping[str, Any]:
    case = one.case
    units = round(case.price * UNITS)
    paid = OUTCOMES[case.outcome].user_pays
    return {
        "status": "completed" if case.outcome == "completed" else "failed",
        "outcome": case.outcome,
        "code": case.code,
        "charged": case.charged,
        "made_by": list(case.submits)[-1] if case.outcome == "completed" else None,
        "submits": case.submits,
        "keys": {digest(one.own_key or PLATFORM_KEY)},
        "ledger": [(kind, units) for kind in (PAID if paid else FREE)],
        "losses": [(case.loss, units)] if case.loss else [],
        "leaks": set(),
    }


def test_the_table_has_every_fault_that_the_simulator_plays() -> None:
    said = {one.name for case in TABLE.values() for one in in_prompt(case.prompt(""))}
    standing = {case.standing["name"] for case in TABLE.values() if case.standing}
    assert said | standing == NAMES


def test_each_fault_ends_as_the_table_says_and_tells_its_user_nothing_of_vendors() -> None:
    with ExitStack() as stack:
        products = {
            hasty: stack.enter_context(
                running(replace(unset, settings={**unset.settings, **settings}))
            )
            for hasty, mode, settings in ((True, "memory", HASTILY), (False, "separate", QUICKLY))
            for unset in [stack.enter_context(prepared(mode))]
        }
        users: dict[tuple[bool, str, bool], tuple[User, str]] = {}
        asked: dict[str, Asked] = {}
        for name, case in TABLE.items():
            product = products[case.hasty]
            whose = (case.hasty, case.model.model_id, case.own_key)
            if whose not in users:
                user = stack.enter_context(new_user(product))
                users[whose] = (user, with_own_key(product, user) if case.own_key else "")
            asked[name] = play(case, product, *users[whose])
        found = {name: as_it_was(one) for name, one in asked.items()}
        wrong = {
            name: {
                what: (found[name][what], must)
                for what, must in as_it_must_be(one).items()
                if found[name][what] != must
            }
            for name, one in asked.items()
        }
        assert {name: differences for name, differences in wrong.items() if differences} == {}
        noted = {row["error"] for row in products[False].rows(NOTED)}
        assert noted & set(vendors_words()), "operators are told, so that a leak would be seen"
