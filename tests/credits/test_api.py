"""The balance and the history as a client reads them."""

from kernel.clock import new_id
from services.credits.domain import month_after
from tests.credits.conftest import Credits, completed, created, failed, registered


def in_a_month(credits_service: Credits) -> str:
    return month_after(credits_service.clock.now(), 1).isoformat().replace("+00:00", "Z")


async def test_shows_the_balance_in_credits_and_nothing_else(credits_service: Credits) -> None:
    account, spent, held = new_id(), new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, spent, 15_000)),
        *(completed(account, spent, 15_000), created(account, held, 25_001)),
    )
    answer = await credits_service.get("", account)
    assert answer.status_code == 200
    assert answer.json() == {
        "total_credits": 10.0,
        "used_credits": 1.5,
        "reserved_credits": 2.5001,
        "available_credits": 5.9999,
    }
    asked = await credits_service.get("?ending=true", account)
    ending = [{"amount": 5.9999, "ends_at": in_a_month(credits_service)}]
    assert asked.json() == answer.json() | {"ending": ending}


async def test_an_account_that_is_not_open_yet_has_nothing(credits_service: Credits) -> None:
    answer = await credits_service.get("", new_id())
    assert list(answer.json().values()) == [0.0, 0.0, 0.0, 0.0]


async def test_lists_the_ledger_newest_first_with_the_balance_after_each_entry(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        registered(account), created(account, task, 15_000), failed(account, task)
    )
    body = (await credits_service.get("/history", account)).json()
    shown = [
        (entry["kind"], entry["amount"], entry["balance_after"]["available_credits"])
        for entry in body["transactions"]
    ]
    assert shown == [("release", 1.5, 10.0), ("hold", 1.5, 8.5), ("grant", 10.0, 10.0)]
    assert body["transactions"][0]["task_id"] == f"task_{task.hex}"
    assert body["transactions"][2]["task_id"] is None
    assert body["transactions"][0]["created_at"].endswith("Z")
    assert (body["success"], body["next_cursor"]) == (True, None)


async def test_shows_whose_credits_moved_where_why_and_until_when(
    credits_service: Credits,
) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        *(registered(account), created(account, task, 15_000)),
        completed(account, task, 10_000),
    )
    body = (await credits_service.get("/history", account)).json()
    names = ("kind", "change", "debit_account", "credit_account", "reason", "ends_at")
    assert [tuple(entry[name] for name in names) for entry in body["transactions"]] == [
        ("commit", 0.5, "account", "platform:revenue", None, None),
        ("hold", -1.5, "account", "platform:revenue", None, None),
        ("grant", 10.0, "platform:grants", "account", "plan:free", in_a_month(credits_service)),
    ]


async def test_a_page_knows_what_its_last_entry_changed(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(registered(account), created(account, new_id(), 15_000))
    (hold,) = (await credits_service.get("/history?limit=1", account)).json()["transactions"]
    assert (hold["kind"], hold["change"]) == ("hold", -1.5)


async def test_pages_through_every_entry_once(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(
        registered(account), *(created(account, new_id(), 10_000) for _ in range(4))
    )
    whole = (await credits_service.get("/history", account)).json()["transactions"]
    paged, cursor = [], ""
    for _ in range(3):
        page = (await credits_service.get(f"/history?limit=2{cursor}", account)).json()
        paged += page["transactions"]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert paged == whole
    assert len(paged) == 5


async def test_a_full_last_page_has_no_next(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(registered(account), created(account, new_id(), 10_000))
    body = (await credits_service.get("/history?limit=2", account)).json()
    assert (len(body["transactions"]), body["next_cursor"]) == (2, None)


async def test_shows_nothing_of_another_account(credits_service: Credits) -> None:
    await credits_service.hear(registered(new_id()))
    stranger = new_id()
    assert (await credits_service.get("/history", stranger)).json()["transactions"] == []
    assert (await credits_service.get("", stranger)).json()["total_credits"] == 0.0


NO_CURSORS = ("", "x", "-1", "1.5", "\u0663", "2147483648", "9" * 5_000, "%00")
NO_LIMITS = ("0", "101", "many")


async def test_refuses_what_is_no_cursor(credits_service: Credits) -> None:
    for cursor in NO_CURSORS:
        answer = await credits_service.get(f"/history?cursor={cursor}", new_id())
        assert answer.status_code == 422, cursor
        assert answer.json()["error"] == "invalid_cursor"
        assert answer.json()["details"] == {"field": "cursor"}


async def test_refuses_a_limit_out_of_bounds_naming_it(credits_service: Credits) -> None:
    for limit in NO_LIMITS:
        answer = await credits_service.get(f"/history?limit={limit}", new_id())
        assert answer.status_code == 422, limit
        assert [item["field"] for item in answer.json()["details"]["fields"]] == ["limit"]


async def test_answers_nobody_without_the_gateways_word(credits_service: Credits) -> None:
    for path in ("", "/history"):
        answer = await credits_service.get(path, None)
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers
