"""The vendors' bill, generation's jobs and the ledger, compared after a life with planted faults:
what was planted is found, by name, and nothing else."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kernel.clock import new_id
from tests.campaign.three_way import Difference, Item, Job, Kind, Task, compare
from tests.system.fault_table import GOOGLE, KIE, KIE_OR_GOOGLE, LATE, LEONARDO, Case, Model
from tests.system.product import Product, User, new_user, running
from tests.system.test_faults import Asked, play, simulator
from tests.system.test_own_provider_key import PLATFORM_KEY, digest

JOBS = """SELECT task_id::text, output_index, attempt, provider, provider_job_id
    FROM generation.provider_jobs WHERE key_owner_id IS NULL AND asked_at IS NOT NULL"""
EVENTS = "SELECT stream_id, type, data::text FROM generation.events WHERE stream_id LIKE 'task-%'"
CHARGED = """SELECT task_id::text, sum(amount_units)::bigint AS units
    FROM credits_read.credit_transactions WHERE kind = 'commit' GROUP BY task_id"""
SHORTLY = {"SMARTSPEC_UNKNOWN_FOR_S": "3", "SMARTSPEC_TASK_DEADLINE_S": "10"}
CREATE_TASK = "/kie/api/v1/jobs/createTask"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def billed(product: Product) -> Sequence[Item]:
    """The bill of the platform's key."""
    with simulator(product) as vendors:
        asked = vendors.get("/_journal").raise_for_status().json()["asked"]
        items = vendors.get("/_bill/items").raise_for_status().json()["items"]
    requests = {one["task_id"]: sha256(one["prompt"]) for one in asked if one["prompt"]}
    return [
        Item(
            one["vendor"],
            one["task_id"],
            requests.get(one["task_id"], ""),
            one["listed_credits"],
            one["charged_credits"],
        )
        for one in items
        if one["key"] == digest(PLATFORM_KEY)
    ]


def jobs(product: Product) -> Sequence[Job]:
    """Leonardo's ids have dashes, and are without on the bill; an answer that was the output itself
    named none."""
    return [
        Job(
            row["task_id"],
            row["output_index"],
            row["attempt"],
            row["provider"],
            (row["provider_job_id"] or "").replace("-", "") or None,
        )
        for row in product.rows(JOBS)
    ]


def tasks(product: Product) -> Mapping[str, Task]:
    charged = {row["task_id"]: row["units"] for row in product.rows(CHARGED)}
    told: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for row in product.rows(EVENTS):
        name = row["stream_id"].removeprefix("task-")
        told.setdefault(name, []).append((row["type"], json.loads(row["data"])))
    return {name: task(events, charged.get(name, 0)) for name, events in told.items()}


def task(events: Sequence[tuple[str, dict[str, Any]]], charged_units: int) -> Task:
    def indexes(name: str) -> frozenset[int]:
        return frozenset(data["index"] for kind, data in events if kind == name)

    [created] = [data for kind, data in events if kind == "TaskCreated"]
    return Task(
        request=created["prompt_sha256"],
        completed=any(kind == "TaskCompleted" for kind, _ in events),
        outputs=created["outputs"],
        kept=indexes("OutputKept"),
        late=indexes("OutputCameLate"),
        charged_units=charged_units,
    )


def differences(product: Product) -> list[Difference]:
    return compare(billed(product), jobs(product), tasks(product))


def case(said: str, model: Model, outcome: str = "completed", loss: str | None = None) -> Case:
    return Case(said, model, outcome, None, {}, loss=loss)


def ended(product: Product, user: User, *cases: Case) -> list[Asked]:
    asked = [play(one, product, user, "") for one in cases]
    for one in asked:
        assert one.ended()["outcome"] == one.case.outcome
    return asked


def made_behind_our_back(product: Product, prompt: str) -> str:
    """The vendor's id of a job that somebody ordered with the platform's key."""
    body = {"model": "nano-banana-pro", "input": {"prompt": prompt}}
    with simulator(product) as vendors:
        answer = vendors.post(
            CREATE_TASK, json=body, headers={"Authorization": f"Bearer {PLATFORM_KEY}"}
        )
    return str(answer.raise_for_status().json()["data"]["taskId"])


def vendor_job(one: Asked) -> str:
    """The id by which the vendor knows what was made of it."""
    with simulator(one.product) as vendors:
        asked = vendors.get("/_journal").raise_for_status().json()["asked"]
    [found] = [entry["task_id"] for entry in asked if entry["prompt"] == one.prompt]
    return str(found)


def test_reconciliation_finds_exactly_what_was_planted(embedded_product: Product) -> None:
    settings = {**embedded_product.settings, **SHORTLY}
    with (
        running(replace(embedded_product, settings=settings)) as product,
        new_user(product) as user,
    ):
        first, *_ = ended(
            product,
            user,
            case("canned", KIE),
            case("canned", GOOGLE),
            case("fail", KIE, "provider_failed"),
            case("unauthorized times=1", KIE_OR_GOOGLE),
            case("answer_lost", LEONARDO),
            case("moderated when=after", KIE, "output_moderated"),
            case("rate_limited_then_ok", GOOGLE),
        )
        assert differences(product) == []

        dearer, free, lost, unheard, cut, late = ended(
            product,
            user,
            case("price_drift factor=3", KIE),
            case("price_drift factor=0", KIE),
            case("answer_lost", KIE, "provider_unknown"),
            case("answer_lost", GOOGLE, "provider_unknown"),
            case("truncated", KIE, "delivery_failed"),
            case("latency seconds=12", KIE, "deadline_missed", LATE),
        )
        stranger = made_behind_our_back(product, f"[[sim:canned]] {new_id().hex}")
        twin = made_behind_our_back(product, first.prompt)
        planted = [
            (Kind.PRICE_DRIFT, "kie", vendor_job(dearer)),
            (Kind.DELIVERED_NOT_BILLED, "kie", vendor_job(free)),
            (Kind.BILLED_NOT_DELIVERED, "kie", vendor_job(lost)),
            (Kind.BILLED_NOT_DELIVERED, "google", vendor_job(unheard)),
            (Kind.BILLED_NOT_DELIVERED, "kie", vendor_job(cut)),
            (Kind.LATE, "kie", vendor_job(late)),
            (Kind.BILLED_NOT_DELIVERED, "kie", stranger),
            (Kind.SUBMITTED_TWICE, "kie", twin),
        ]
        assert differences(product) == sorted(Difference(*one) for one in planted)
