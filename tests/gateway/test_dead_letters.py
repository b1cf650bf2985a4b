"""The parked messages of all services, gathered by the edge."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from kernel.clock import new_id
from kernel.http import InternalTokens
from services.gateway.adapters.request_headers import Header
from services.gateway.api.dead_letters import CONSUMERS, DeadLetters
from tests.gateway.driving import Answer, Behind, World, api_key, bearer, respond

LETTERS = "/api/admin/dead-letters"


class Parking:
    """A service with letters; keeps what it was asked."""

    def __init__(self, name: str, behind: Behind, internal_tokens: InternalTokens) -> None:
        self.name = name
        self.letters: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.callers: list[tuple[str, bool]] = []
        self._internal_tokens = internal_tokens
        behind.act = self

    def park(self, message_id: str, minute: int) -> None:
        self.letters.append(
            {
                "message_id": message_id,
                "consumer": self.name,
                "type": "TaskCreated",
                "subject": "task-1",
                "correlation_id": "req_1",
                "attempts": 5,
                "error": "Rejected: No.",
                "parked_at": f"2026-01-01T00:{minute:02}:00Z",
                "data": {"canary": "of the message"},
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        caller = self._internal_tokens.read(headers[b"x-internal-token"].decode())
        self.callers.append((caller.role, caller.key_id is None))
        self.asked.append((f"{scope['method']} {scope['path']}", scope["query_string"].decode()))
        status, body = self._answer(scope)
        content: Sequence[Header] = [(b"content-type", b"application/json")]
        await respond(send, status, content, json.dumps(body).encode())

    def _answer(self, scope: Scope) -> tuple[int, object]:
        if scope["path"] == "/internal/dead-letters":
            return 200, {"dead_letters": self.letters}
        message_id = scope["path"].split("/")[3]
        if any(letter["message_id"] == message_id for letter in self.letters):
            return 202, {"message_id": message_id, "consumer": self.name}
        return 404, {"error": "dead_letter_not_found", "message": "None.", "details": {}}


@pytest.fixture
def parking(world: World) -> dict[str, Parking]:
    behind = {
        "credits": world.credits,
        "generation": world.generation,
        "keys": world.keys,
        "storage": world.storage,
    }
    return {name: Parking(name, app, world.internal_tokens) for name, app in behind.items()}


async def listed(world: World, query: str = "") -> Answer:
    return await world.ask("GET", LETTERS, [bearer(world.token("admin"))], query=query)


async def replayed(world: World, message_id: object) -> Answer:
    admin = bearer(world.token("admin"))
    return await world.ask("POST", f"{LETTERS}/{message_id}/replay", [admin])


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("password=hunter2")


async def nonsense(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, 200, [], b'{"dead_letters": [{"message_id": 1}]}')


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, 401, [], b"{}")


def test_every_consumer_of_the_contracts_is_asked() -> None:
    assert CONSUMERS == ["credits", "generation", "keys", "storage"]


async def test_the_letters_of_all_services_are_one_list_the_oldest_first(
    world: World, parking: dict[str, Parking]
) -> None:
    ids = [str(new_id()) for _ in range(4)]
    parking["credits"].park(ids[0], 1)
    parking["credits"].park(ids[3], 4)
    parking["generation"].park(ids[1], 2)
    parking["storage"].park(ids[2], 3)
    answer = await listed(world)
    assert (answer.status, answer.one("content-type")) == (200, "application/json")
    assert [letter["message_id"] for letter in answer.json["dead_letters"]] == ids
    assert (answer.json["success"], answer.json["unavailable"]) == (True, [])
    assert set(answer.json["dead_letters"][0]) == {
        *("message_id", "consumer", "type", "subject"),
        *("correlation_id", "attempts", "error", "parked_at"),
    }
    assert b"canary" not in answer.body


async def test_a_limit_holds_for_each_service_and_for_all(
    world: World, parking: dict[str, Parking]
) -> None:
    for minute, one in enumerate(parking.values()):
        one.park(str(new_id()), minute)
    answer = await listed(world, "limit=2")
    consumers = [letter["consumer"] for letter in answer.json["dead_letters"]]
    assert consumers == ["credits", "generation"]
    assert parking["storage"].asked == [("GET /internal/dead-letters", "limit=2")]
    await listed(world)
    assert parking["storage"].asked[1][1] == "limit=20"


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1e1", "", "\xb2", "9" * 5_000])
async def test_a_limit_out_of_its_range_is_refused(
    world: World, parking: dict[str, Parking], limit: str
) -> None:
    answer = await listed(world, f"limit={limit}")
    assert (answer.status, answer.code) == (422, "invalid_request")
    assert answer.json["details"]["fields"][0]["field"] == "limit"
    assert parking["credits"].asked == []


@pytest.mark.parametrize("act", [fail, nonsense, refuse])
async def test_a_service_that_does_not_answer_is_named_and_the_others_are_listed(
    world: World, parking: dict[str, Parking], act: Any
) -> None:
    parking["storage"].park(str(new_id()), 1)
    world.credits.act = act
    answer = await listed(world)
    assert answer.status == 200
    assert answer.json["unavailable"] == ["credits"]
    assert len(answer.json["dead_letters"]) == 1
    assert b"hunter2" not in answer.body


async def test_a_service_that_is_silent_is_not_waited_for_for_ever(world: World) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().create_future()

    letters = DeadLetters(dict.fromkeys(CONSUMERS, silent), 0.01)
    with capture_logs() as logs:
        page = await letters.answer("GET", LETTERS, b"", b"token")
    assert json.loads(page.body)["unavailable"] == CONSUMERS
    assert {line["error"] for line in logs} == {"TimeoutError"}


async def test_a_letter_is_replayed_wherever_it_is_parked(
    world: World, parking: dict[str, Parking]
) -> None:
    both, one = str(new_id()), str(new_id())
    parking["credits"].park(both, 1)
    parking["storage"].park(both, 1)
    parking["generation"].park(one, 1)
    first, second = await replayed(world, both), await replayed(world, one)
    assert (first.status, second.status) == (202, 202)
    assert first.json == {
        "success": True,
        "message_id": both,
        "consumers": ["credits", "storage"],
        "unavailable": [],
    }
    assert second.json["consumers"] == ["generation"]
    path = f"POST /internal/dead-letters/{both}/replay"
    assert parking["generation"].asked[0] == (path, "")


@pytest.mark.parametrize("message_id", [UUID(int=1), "nonsense", "1", f"{UUID(int=1)}x"])
async def test_what_no_service_has_parked_is_not_found(
    world: World, parking: dict[str, Parking], message_id: object
) -> None:
    answer = await replayed(world, message_id)
    assert (answer.status, answer.code) == (404, "dead_letter_not_found")


async def test_nothing_is_called_absent_while_a_service_can_not_be_asked(
    world: World, parking: dict[str, Parking]
) -> None:
    world.credits.act = fail
    message_id = str(new_id())
    unknown = await replayed(world, message_id)
    assert (unknown.status, unknown.code) == (503, "dead_letters_unavailable")
    parking["storage"].park(message_id, 1)
    found = await replayed(world, message_id)
    assert (found.json["consumers"], found.json["unavailable"]) == (["storage"], ["credits"])


async def test_the_services_are_asked_as_the_admin(
    world: World, parking: dict[str, Parking]
) -> None:
    await listed(world)
    assert [one.callers for one in parking.values()] == [[("admin", True)]] * len(CONSUMERS)


async def test_nobody_but_a_signed_in_admin_is_admitted(
    world: World, parking: dict[str, Parking]
) -> None:
    admins_key = world.key(role="admin", scopes=["admin"])
    refused = [
        ([], 401, "missing_credentials"),
        ([bearer(world.token())], 403, "access_denied"),
        ([bearer(world.token("moderator"))], 403, "access_denied"),
        ([api_key(admins_key)], 401, "access_token_required"),
        ([bearer(admins_key)], 401, "access_token_required"),
    ]
    for headers, status, code in refused:
        for method, path in (("GET", LETTERS), ("POST", f"{LETTERS}/{new_id()}/replay")):
            answer = await world.ask(method, path, headers)
            assert (answer.status, answer.code) == (status, code)
    assert [one.asked for one in parking.values()] == [[]] * len(CONSUMERS)


async def test_the_document_describes_both_routes(world: World) -> None:
    document = (await world.ask("GET", "/openapi.json")).json
    get, post = (
        document["paths"][LETTERS]["get"],
        document["paths"][f"{LETTERS}/{{message_id}}/replay"]["post"],
    )
    assert (set(get["responses"]), set(post["responses"])) == (
        {"200", "default"},
        {"202", "default"},
    )
    assert get["security"] == [{"bearer": ["admin"]}]
    assert {"DeadLetterList", "DeadLetterReplay"} <= set(document["components"]["schemas"])
