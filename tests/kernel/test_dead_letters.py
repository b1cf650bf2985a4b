"""The parked messages of one service, as the gateway asks for them."""

from collections.abc import AsyncIterator

import httpx
import pytest
import structlog

from contracts.envelope import Envelope
from contracts.keys import UserRegistered
from kernel.clock import new_id
from kernel.errors import Rejected
from kernel.event_store import EventStore
from kernel.http import Identity, InternalTokens, create_app
from kernel.http.dead_letters import PATH, dead_letter_routes
from kernel.http.identity import HEADER
from kernel.inbox import Inbox, Subscription, ensure_partitions
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from tests.kernel.totals import ADDING, SCHEMA, TOTAL, Add, registration

SECRET = b"a secret of tests, and of nothing else"


@pytest.fixture
def faults() -> list[Exception]:
    """What the handler raises before it works."""
    return []


@pytest.fixture
async def inbox(database: Database, clock: FakeClock, faults: list[Exception]) -> Inbox:
    async with database.connection() as connection:
        await ensure_partitions(connection, SCHEMA, clock.now())
    store = EventStore(database, SCHEMA, [TOTAL], clock=clock)

    async def handle(event: UserRegistered, unit: Unit) -> None:
        if faults:
            raise faults.pop(0)
        await unit.decide(ADDING, f"total-{event.account_id}", Add(1))

    heard = Subscription(UserRegistered, handle, lambda event: str(event.account_id))
    return Inbox("credits", store, [heard], tries_after_s=())


@pytest.fixture
def tokens(clock: FakeClock) -> InternalTokens:
    return InternalTokens(SECRET, clock)


@pytest.fixture
async def client(inbox: Inbox, tokens: InternalTokens) -> AsyncIterator[httpx.AsyncClient]:
    async def ready() -> bool:
        return True

    routers = [dead_letter_routes(inbox)]
    app = create_app("credits", routers, internal_tokens=tokens, ready=ready)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://credits") as client:
        yield client


def signed(tokens: InternalTokens, role: str = "admin", *, by_key: bool = False) -> dict[str, str]:
    scopes = frozenset({"admin"}) if by_key else frozenset[str]()
    key_id = new_id() if by_key else None
    who = Identity(new_id(), new_id(), role, "free", scopes, key_id)
    return {HEADER: tokens.mint(who)}


async def parked(inbox: Inbox, faults: list[Exception]) -> Envelope:
    message = registration(new_id())
    faults.append(Rejected("too_late", "Too late."))
    await inbox.receive(message)
    return message


async def test_a_letter_says_what_it_is_and_why_and_nothing_of_what_it_carries(
    client: httpx.AsyncClient, inbox: Inbox, tokens: InternalTokens, faults: list[Exception]
) -> None:
    message = await parked(inbox, faults)
    answer = await client.get(PATH, headers=signed(tokens))
    assert answer.status_code == 200
    (letter,) = answer.json()["dead_letters"]
    assert letter.pop("parked_at").endswith("Z")
    assert letter == {
        "message_id": str(message.id),
        "consumer": "credits",
        "type": "UserRegistered",
        "subject": message.subject,
        "correlation_id": message.correlationid,
        "attempts": 1,
        "error": "Rejected: Too late.",
    }
    assert "registered_at" not in answer.text


async def test_what_has_been_parked_longest_comes_first(
    client: httpx.AsyncClient, inbox: Inbox, tokens: InternalTokens, faults: list[Exception]
) -> None:
    first, second, third = [await parked(inbox, faults) for _ in range(3)]
    faults.append(Rejected("too_late", "Too late."))
    await inbox.replay(first.id)
    await inbox.retry_due()  # parked anew, so it is the last now
    answer = await client.get(f"{PATH}?limit=2", headers=signed(tokens))
    letters = answer.json()["dead_letters"]
    assert [letter["message_id"] for letter in letters] == [str(second.id), str(third.id)]


async def test_a_replayed_letter_is_handled_and_the_log_says_who_wanted_it(
    client: httpx.AsyncClient, inbox: Inbox, tokens: InternalTokens, faults: list[Exception]
) -> None:
    message = await parked(inbox, faults)
    headers = signed(tokens)
    with structlog.testing.capture_logs() as logs:
        answer = await client.post(f"{PATH}/{message.id}/replay", headers=headers)
    assert answer.status_code == 202
    assert answer.json() == {"message_id": str(message.id), "consumer": "credits"}
    assert await inbox.retry_due() == 1
    assert await inbox.parked() == []
    (line,) = (line for line in logs if line["event"] == "dead_letter_replayed")
    assert line["message_id"] == str(message.id)
    assert line["by_user_id"] == str(tokens.read(headers[HEADER]).user_id)


async def test_what_is_not_parked_is_not_found(
    client: httpx.AsyncClient, inbox: Inbox, tokens: InternalTokens
) -> None:
    handled = registration()
    await inbox.receive(handled)
    for message_id in (handled.id, new_id()):
        answer = await client.post(f"{PATH}/{message_id}/replay", headers=signed(tokens))
        assert (answer.status_code, answer.json()["error"]) == (404, "dead_letter_not_found")


@pytest.mark.parametrize("limit", ["0", "101", "x"])
async def test_a_limit_out_of_its_range_is_refused(
    client: httpx.AsyncClient, tokens: InternalTokens, limit: str
) -> None:
    answer = await client.get(f"{PATH}?limit={limit}", headers=signed(tokens))
    assert answer.status_code == 422


async def test_nobody_but_a_signed_in_admin_is_admitted(
    client: httpx.AsyncClient, inbox: Inbox, tokens: InternalTokens, faults: list[Exception]
) -> None:
    message = await parked(inbox, faults)
    admitted = [
        ({}, 401),
        ({HEADER: "forged"}, 401),
        (signed(tokens, "user"), 403),
        (signed(tokens, "service"), 403),
        (signed(tokens, by_key=True), 403),
    ]
    for headers, status in admitted:
        listed = await client.get(PATH, headers=headers)
        replayed = await client.post(f"{PATH}/{message.id}/replay", headers=headers)
        assert (listed.status_code, replayed.status_code) == (status, status)
        assert str(message.id) not in listed.text
    assert len(await inbox.parked()) == 1
