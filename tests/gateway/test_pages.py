import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel

from contracts.generate import SCHEMAS
from kernel.http import Caller, create_app
from services.gateway.api.openapi import merge
from services.gateway.api.routes import ROUTES, Auth, Route
from tests.gateway.driving import World

MERGED_ROUTES = (
    Route("POST", "/things", "keys", "Make a thing", scope="keys:write"),
    Route("GET", "/others/{id}", "credits", "Another", Auth.JWT),
    Route("GET", "/plain/{key:path}", "storage", "Plain", Auth.NONE),
)


def document(path: str, method: str, **schemas: Any) -> dict[str, Any]:
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
    framework = {
        "application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}
    }
    return {
        "paths": {
            path: {
                method: {
                    "summary": f"{method} {path}",
                    "responses": {
                        "200": {"description": "OK", "content": body},
                        "422": {"description": "Validation Error", "content": framework},
                    },
                }
            },
            "/internal/secret": {"post": {}},
            "/livez": {"get": {}},
        },
        "components": {"schemas": {"HTTPValidationError": {}, "Unused": {}, **schemas}},
    }


def merged() -> Any:
    thing = {"properties": {"part": {"$ref": "#/components/schemas/Part"}}}
    tree = {"properties": {"children": {"items": {"$ref": "#/components/schemas/Thing"}}}}
    return merge(
        MERGED_ROUTES,
        {
            "keys": document("/things", "post", Thing=thing, Part={"title": "of keys"}),
            "credits": document("/others/{other_id}", "get", Thing=tree),
        },
        "/",
    )


def test_only_routed_paths_are_in_the_document() -> None:
    assert set(merged()["paths"]) == {"/things", "/others/{other_id}", "/plain/{key}"}


def test_schemas_of_one_name_keep_apart() -> None:
    schemas = merged()["components"]["schemas"]
    surfaces = {"Error", "KlikyaiError", "NanoBananaError"}
    assert set(schemas) == surfaces | {"Thing", "Part", "CreditsThing"}
    reference = {"$ref": "#/components/schemas/CreditsThing"}
    assert schemas["CreditsThing"]["properties"]["children"]["items"] == reference
    answer = merged()["paths"]["/others/{other_id}"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"] == reference


def test_an_operation_says_its_credentials_and_the_form_of_its_errors() -> None:
    paths = merged()["paths"]
    made = paths["/things"]["post"]
    assert made["security"] == [{"apiKey": ["keys:write"]}, {"bearer": ["keys:write"]}]
    assert set(made["responses"]) == {"200", "default"}
    assert paths["/others/{other_id}"]["get"]["security"] == [{"bearer": []}]
    plain = paths["/plain/{key}"]["get"]
    assert plain["security"] == []
    assert [parameter["name"] for parameter in plain["parameters"]] == ["key"]


async def test_the_document_of_the_edge_has_every_route_and_no_more(world: World) -> None:
    world.keys.openapi = document("/api/keys", "post", Thing={"title": "A key"})
    answer = await world.ask("GET", "/openapi.json")
    assert answer.one("content-type") == "application/json"
    described = {
        (method.upper(), path)
        for path, operations in answer.json["paths"].items()
        for method in operations
    }
    assert described == {(r.method, r.path.replace(":path", "")) for r in ROUTES}
    assert answer.json["components"]["schemas"]["Thing"] == {"title": "A key"}


async def test_the_services_are_asked_for_their_documents_once(world: World) -> None:
    first, second = await asyncio.gather(*(world.ask("GET", "/openapi.json") for _ in range(2)))
    assert first.body == second.body
    assert world.keys.documents_read == 1


async def test_reads_the_document_of_a_real_service(world: World) -> None:
    class Thing(BaseModel):
        name: str

    router = APIRouter()

    @router.post("/api/keys")
    async def make(
        caller: Caller, thing: Thing, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Thing:
        return thing

    @router.post("/internal/keys/resolve")
    async def resolve() -> None: ...

    async def ready() -> bool:
        return True

    app = create_app("keys", [router], internal_tokens=world.internal_tokens, ready=ready)
    world.keys.openapi = app.openapi()
    answer = await world.ask("GET", "/openapi.json")
    operation = answer.json["paths"]["/api/keys"]["post"]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert answer.json["components"]["schemas"][reference.rsplit("/", 1)[1]]["required"] == ["name"]
    assert "internal" not in json.dumps(answer.json["paths"])


async def test_a_service_without_a_document_is_a_bad_gateway_and_asked_again(world: World) -> None:
    world.keys.openapi = [1]  # type: ignore[assignment]
    assert (await world.ask("GET", "/openapi.json")).status == 502
    world.keys.openapi = {"paths": {}}
    assert (await world.ask("GET", "/openapi.json")).status == 200


async def test_serves_the_document_of_the_events_as_it_was_committed(world: World) -> None:
    answer = await world.ask("GET", "/asyncapi.json")
    assert (answer.status, answer.one("content-type")) == (200, "application/json")
    assert answer.body == (SCHEMAS / "asyncapi.json").read_bytes()


async def test_the_page_lists_every_route_and_loads_nothing(world: World) -> None:
    answer = await world.ask("GET", "/docs")
    page = answer.body.decode()
    assert [route.path for route in ROUTES if f"<code>{route.path}</code>" not in page] == []
    assert "default-src 'none'" in answer.one("content-security-policy")
    assert "<script" not in page
    assert "http" not in page.replace("https://", "http")


async def test_shows_no_key_where_tokens_have_a_shared_secret(world: World) -> None:
    answer = await world.ask("GET", "/.well-known/jwks.json")
    assert (answer.status, json.loads(answer.body)) == (200, {"keys": []})
