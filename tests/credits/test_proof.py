"""The proof of an account, as its owner reads it."""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from kernel.clock import new_id
from services.credits.adapters.seals import WAITING_MAX
from services.credits.read_model import OPEN_HOLDS_MAX
from tests.credits.conftest import Credits, completed, created, failed, registered

PRICE = 15_000
NOTHING_SEALED = {"head": "0" * 64, "seal_no": 0, "position": 0, "sealed_at": None}


async def proof(credits_service: Credits, account: UUID, query: str = "") -> dict[str, Any]:
    answer = await credits_service.get(f"/proof{query}", account)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def entries(credits_service: Credits, account: UUID) -> list[dict[str, Any]]:
    """Newest first."""
    history = await credits_service.get("/history?limit=100", account)
    return list(history.json()["transactions"])


def shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def test_sums_up_the_account_to_its_last_entry(credits_service: Credits) -> None:
    account, paid = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, paid, PRICE), completed(account, paid, 10_001)),
        created(account, new_id(), 20_000),
    )
    body = await proof(credits_service, account)
    assert (body["success"], body["open_holds_more"], body["next_cursor"]) == (True, False, None)
    assert body["account"] == {
        "granted": 10.0,
        "used": 1.0001,
        "held": 2.0,
        "posted": 8.9999,
        "available": 6.9999,
        "entries": 4,
    }
    assert len(await entries(credits_service, account)) == body["account"]["entries"]


async def test_lists_open_holds_with_the_entry_that_each_began_with(
    credits_service: Credits,
) -> None:
    account, ended, clock = new_id(), new_id(), credits_service.clock
    await credits_service.hear(registered(account), created(account, ended, PRICE))
    first, second = new_id(), new_id()
    await credits_service.hear(created(account, first, PRICE))
    clock.turn(timedelta(minutes=1))
    await credits_service.hear(created(account, second, 5), failed(account, ended))
    body = await proof(credits_service, account)
    (_, newer, older, *_) = await entries(credits_service, account)
    assert body["open_holds"] == [
        {
            "task_id": f"task_{task.hex}",
            "amount": amount,
            "since": entry["created_at"],
            "entry_id": entry["id"],
        }
        for task, amount, entry in ((second, 0.0005, newer), (first, 1.5, older))
    ]
    assert newer["created_at"] == shown(clock.now())
    assert body["account"]["held"] == 1.5005


async def test_says_when_more_holds_are_open_than_it_lists(credits_service: Credits) -> None:
    account = new_id()
    tasks = [new_id() for _ in range(OPEN_HOLDS_MAX + 1)]
    await credits_service.hear(registered(account), *(created(account, task, 1) for task in tasks))
    body = await proof(credits_service, account)
    assert body["open_holds_more"] is True
    assert [one["task_id"] for one in body["open_holds"]] == [
        f"task_{task.hex}" for task in tasks[:0:-1]
    ]
    await credits_service.hear(failed(account, tasks[-1]))
    body = await proof(credits_service, account)
    assert (body["open_holds_more"], len(body["open_holds"])) == (False, OPEN_HOLDS_MAX)


async def test_shows_how_each_hold_ended_between_which_entries(credits_service: Credits) -> None:
    account, paid, freed = new_id(), new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, paid, PRICE), created(account, freed, PRICE)),
        *(completed(account, paid, 10_000), failed(account, freed)),
    )
    body = await proof(credits_service, account)
    released, committed, hold_of_freed, hold_of_paid, _ = await entries(credits_service, account)
    now = shown(credits_service.clock.now())
    assert body["endings"] == [
        {
            "task_id": f"task_{freed.hex}",
            "held": 1.5,
            "committed": 0.0,
            "released": 1.5,
            "ended_at": now,
            "ended_by": "release",
            "hold_entry_id": hold_of_freed["id"],
            "ending_entry_id": released["id"],
            "balance_after": released["balance_after"],
        },
        {
            "task_id": f"task_{paid.hex}",
            "held": 1.5,
            "committed": 1.0,
            "released": 0.5,
            "ended_at": now,
            "ended_by": "commit",
            "hold_entry_id": hold_of_paid["id"],
            "ending_entry_id": committed["id"],
            "balance_after": committed["balance_after"],
        },
    ]
    assert body["open_holds"] == []


async def test_pages_through_every_ending_once(credits_service: Credits) -> None:
    account, tasks = new_id(), [new_id() for _ in range(5)]
    await credits_service.hear(registered(account))
    for task in tasks:
        await credits_service.hear(created(account, task, PRICE), failed(account, task))
    paged, cursor = [], ""
    for _ in range(3):
        page = await proof(credits_service, account, f"?limit=2{cursor}")
        paged += [one["task_id"] for one in page["endings"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert paged == [f"task_{task.hex}" for task in reversed(tasks)]


async def test_names_the_head_of_the_chain_and_counts_what_waits_for_it(
    credits_service: Credits,
) -> None:
    account = new_id()
    await credits_service.hear(registered(account))
    (row,) = await credits_service.rows(
        "SELECT count(*) AS events, max(position) AS last FROM credits.events"
    )
    before = (await proof(credits_service, account))["chain"]
    assert before == NOTHING_SEALED | {"unsealed_events": row["events"]}

    # As the sealer writes them; it waits for whatever else runs on the server.
    await credits_service.rows(
        "INSERT INTO credits.seals SELECT n, place, place, 1, '', '', sha256(n::text::bytea),"
        f" '2026-11-24T09:30:00Z' FROM (VALUES (1, 1), (2, {row['last']})) AS seal (n, place)"
    )
    await credits_service.hear(created(account, new_id(), PRICE))
    after = (await proof(credits_service, account))["chain"]
    assert after == {
        "head": sha256(b"2").hexdigest(),
        "seal_no": 2,
        "position": row["last"],
        "sealed_at": "2026-11-24T09:30:00Z",
        "unsealed_events": 2,
    }


async def test_does_not_count_every_event_of_a_ledger_that_nobody_seals(
    credits_service: Credits,
) -> None:
    await credits_service.rows(
        "INSERT INTO credits.events (event_id, stream_id, version, type, schema_version, data,"
        " metadata, recorded_at) SELECT gen_random_uuid(), 'posting-' || n, 1, 'PostingMade', 1,"
        f" '{{}}', '{{}}', now() FROM generate_series(1, {WAITING_MAX + 5}) AS n"
    )
    body = await proof(credits_service, new_id())
    assert body["chain"]["unsealed_events"] == WAITING_MAX


async def test_shows_nothing_of_another_account(credits_service: Credits) -> None:
    account, ended = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, ended, PRICE), failed(account, ended)),
        created(account, new_id(), PRICE),
    )
    body = await proof(credits_service, new_id())
    assert set(body["account"].values()) == {0}
    assert (body["open_holds"], body["endings"]) == ([], [])


async def test_refuses_what_is_no_cursor_and_no_limit(credits_service: Credits) -> None:
    for cursor in ("x", "2147483648"):
        answer = await credits_service.get(f"/proof?cursor={cursor}", new_id())
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_cursor")
        assert answer.json()["details"] == {"field": "cursor"}
    for limit in ("0", "101", "many"):
        assert (await credits_service.get(f"/proof?limit={limit}", new_id())).status_code == 422


async def test_answers_nobody_without_the_gateways_word(credits_service: Credits) -> None:
    assert (await credits_service.get("/proof", None)).status_code == 401
