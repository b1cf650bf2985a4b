"""The whole ledger as CSV."""

import csv
import io
from datetime import timedelta
from uuid import UUID

import pytest

from kernel.clock import new_id
from services.credits.api import statement
from tests.credits.conftest import ADMIN, Credits, created, failed, registered


async def rows_of(credits_service: Credits, account: UUID, query: str = "") -> list[dict[str, str]]:
    answer = await credits_service.get(f"/history.csv{query}", account)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_says_what_it_is(credits_service: Credits) -> None:
    answer = await credits_service.get("/history.csv", new_id())
    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    disposition = answer.headers["content-disposition"]
    assert disposition == 'attachment; filename="credits-history.csv"'
    assert answer.text == ",".join(statement.COLUMNS) + "\r\n"


async def test_shows_every_entry_exactly_and_newest_first(credits_service: Credits) -> None:
    account, task = new_id(), new_id()
    await credits_service.hear(
        registered(account), created(account, task, 15_001), failed(account, task)
    )
    rows = await rows_of(credits_service, account)
    assert [
        (row["kind"], row["amount"], row["change"], row["available_after"]) for row in rows
    ] == [
        ("release", "1.5001", "1.5001", "10.0000"),
        ("hold", "1.5001", "-1.5001", "8.4999"),
        ("grant", "10.0000", "10.0000", "10.0000"),
    ]
    assert rows[0]["task_id"] == f"task_{task.hex}"
    assert rows[2]["reason"] == "plan:free"
    assert rows[2]["ends_at"].endswith("Z")


async def test_goes_through_all_pages(
    credits_service: Credits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "PAGE", 2)
    account = new_id()
    for count in range(5):
        events = [registered(account)] if not count else [created(account, new_id(), 10_000)]
        await credits_service.hear(*events)
        rows = await rows_of(credits_service, account)
        assert [row["change"] for row in rows] == ["-1.0000"] * count + ["10.0000"]


async def test_ends_where_it_is_asked_to(credits_service: Credits) -> None:
    account = new_id()
    await credits_service.hear(registered(account))
    then = credits_service.clock.now().isoformat().replace("+00:00", "Z")
    credits_service.clock.turn(timedelta(seconds=1))
    await credits_service.hear(created(account, new_id(), 10_000))
    rows = await rows_of(credits_service, account, f"?as_of={then}")
    assert [row["kind"] for row in rows] == ["grant"]


async def test_the_document_says_that_it_is_csv_and_that_amounts_are_numbers(
    credits_service: Credits,
) -> None:
    document = (await credits_service.client.get("/openapi.json")).json()
    described = document["paths"]["/api/v2/generation/credits/history.csv"]["get"]
    assert list(described["responses"]["200"]["content"]) == [statement.MEDIA_TYPE]
    assert [one["name"] for one in described["parameters"]] == ["as_of"]
    schemas = document["components"]["schemas"]
    assert schemas["CreditsBody"]["properties"]["total_credits"]["type"] == "number"
    amount = schemas["PostingRequest"]["properties"]["amount"]
    assert (amount["type"], amount["exclusiveMinimum"], amount["maximum"]) == ("number", 0, 10**12)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        (" @SUM(A1)", "' @SUM(A1)"),
        ("-1, they said", "'-1, they said"),
        ('a "friend", of ours', 'a "friend", of ours'),
        ("für später \u20ac", "für später \u20ac"),
    ],
)
async def test_words_stay_words(credits_service: Credits, reason: str, shown: str) -> None:
    account = new_id()
    await credits_service.hear(registered(account))
    grant = {"account_id": f"account_{account.hex}", "amount": 1, "reason": reason}
    answer = await credits_service.call("POST", "/api/admin/credits/grants", ADMIN, grant)
    assert answer.status_code == 201, answer.text
    assert (await rows_of(credits_service, account))[0]["reason"] == shown
