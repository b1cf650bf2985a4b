import pytest

from kernel.settings import WrongSettings, read_settings
from services.gateway.settings import GatewaySettings
from tests.gateway.driving import Answer, World

PAGE = ("Origin", "https://app.example.com")
PREFLIGHT = [
    PAGE,
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "x-api-key, idempotency-key, content-type"),
]


def opened(monkeypatch: pytest.MonkeyPatch, origins: str) -> World:
    monkeypatch.setenv("CORS_ORIGINS", origins)
    return World()


async def preflight(world: World) -> Answer:
    return await world.ask("OPTIONS", "/api/keys", PREFLIGHT)


async def test_no_page_of_another_origin_may_call_unless_one_is_named(world: World) -> None:
    answer = await preflight(world)
    assert answer.status == 405
    assert not answer.all("access-control-allow-origin")
    assert not (await world.ask("GET", "/livez", [PAGE])).all("access-control-allow-origin")


async def test_a_named_page_may_send_keys_and_read_what_limits_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = opened(monkeypatch, "https://other.example.com, https://app.example.com")
    asked = await preflight(world)
    assert asked.status == 200
    assert asked.one("access-control-allow-origin") == PAGE[1]
    assert "POST" in asked.one("access-control-allow-methods")
    answer = await world.ask("GET", "/api/keys", [PAGE])
    assert answer.status == 401
    assert answer.one("access-control-allow-origin") == PAGE[1]
    assert "X-RateLimit-Remaining" in answer.one("access-control-expose-headers")
    assert "Origin" in answer.one("vary")
    assert not answer.all("access-control-allow-credentials")


async def test_another_page_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened(monkeypatch, "https://other.example.com")
    assert (await preflight(world)).status == 400
    assert not (await world.ask("GET", "/livez", [PAGE])).all("access-control-allow-origin")


@pytest.mark.parametrize(
    "wrong", ["app.example.com", "https://app.example.com/", "https://a.com/path", "ftp://a.com"]
)
def test_what_is_no_origin_refuses_to_start(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", wrong)
    with pytest.raises(WrongSettings, match="CORS_ORIGINS"):
        read_settings(GatewaySettings)
