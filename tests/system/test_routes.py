import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.system.product import Product

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
INTERNAL = (
    "/internal/keys/resolve",
    "/internal/keys/used",
    "/internal/provider-keys/resolve",
    "/internal/sessions/resolve",
    "/internal/tasks/history",
    "/internal/tasks/live",
    "/internal/tasks/states",
    "/internal/tasks/unknown",
)
PARAMETER = re.compile(r"\{([^}]+)\}")
ROUTES = {
    ("POST", "/auth/register"),
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/verify-email"),
    ("POST", "/auth/password/forgot"),
    ("POST", "/auth/password/reset"),
    ("POST", "/auth/firebase"),
    ("GET", "/auth/me"),
    ("PATCH", "/auth/me"),
    ("DELETE", "/auth/me"),
    ("GET", "/api/admin/users"),
    ("POST", "/api/admin/users/{user_id}/disable"),
    ("POST", "/api/keys"),
    ("GET", "/api/keys"),
    ("GET", "/api/keys/{key_id}"),
    ("GET", "/api/keys/{key_id}/audit"),
    ("POST", "/api/keys/{key_id}/rotate"),
    ("POST", "/api/keys/{key_id}/revoke"),
    ("DELETE", "/api/keys/{key_id}"),
    ("GET", "/api/admin/users/{user_id}/keys"),
    ("POST", "/api/admin/users/{user_id}/keys/{key_id}/revoke"),
    ("GET", "/api/keys/providers"),
    ("PUT", "/api/keys/providers/{provider}"),
    ("DELETE", "/api/keys/providers/{provider}"),
    ("GET", "/api/keys/mfa/status"),
    ("POST", "/api/keys/mfa/totp/setup"),
    ("POST", "/api/keys/mfa/totp/verify-setup"),
    ("POST", "/api/keys/mfa/challenge"),
    ("POST", "/api/keys/mfa/verify"),
    ("POST", "/api/keys/mfa/backup-codes/regenerate"),
    ("POST", "/v1/auth/register"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys"),
    ("DELETE", "/v1/keys/{key_id}"),
    ("POST", "/v1/generate"),
    ("POST", "/api/v2/generation/generate"),
    ("POST", "/api/v2/generation/estimate"),
    ("GET", "/api/v2/generation/tasks"),
    ("GET", "/api/v2/generation/tasks/{task_id}"),
    ("DELETE", "/api/v2/generation/tasks/{task_id}"),
    ("GET", "/api/v2/generation/tasks/{task_id}/wait"),
    ("GET", "/api/v2/generation/tasks/{task_id}/events"),
    ("GET", "/api/v2/generation/outcomes"),
    ("POST", "/api/v2/generation/callbacks/{provider}/{token}"),
    ("GET", "/api/v2/generation/models"),
    ("GET", "/api/v2/generation/models/{model_id}"),
    ("GET", "/api/v2/generation/credits"),
    ("GET", "/api/v2/generation/credits/history"),
    ("GET", "/api/v2/generation/credits/history.csv"),
    ("GET", "/api/v2/generation/credits/proof"),
    ("GET", "/api/v2/generation/credits/explain/{task_id}"),
    ("POST", "/api/v2/generation/credits/redeem"),
    ("GET", "/api/v2/generation/usage"),
    ("GET", "/ai/heygen/avatars"),
    ("GET", "/ai/heygen/voices"),
    ("POST", "/ai/heygen/avatar-video-generation"),
    ("POST", "/ai/leonardo/video-generation"),
    ("GET", "/ai/videos/{video_id}"),
    ("POST", "/api/generation/generate"),
    ("GET", "/api/generation/tasks/{task_id}"),
    ("GET", "/api/generation/models"),
    ("GET", "/wallet"),
    ("GET", "/wallet/transactions"),
    ("POST", "/api/admin/credits/grants"),
    ("GET", "/api/admin/credits/plans"),
    ("PUT", "/api/admin/credits/plans/{plan_id}"),
    ("POST", "/api/admin/credits/codes"),
    ("PUT", "/api/admin/users/{user_id}/plan"),
    ("GET", "/media/{key}"),
    ("HEAD", "/media/{key}"),
    ("POST", "/api/v2/storage/verify"),
    ("PUT", "/media/{key}"),
    ("POST", "/api/v2/storage/upload"),
    ("POST", "/api/v2/storage/upload-from-url"),
    ("POST", "/api/v2/storage/presigned-url"),
    ("POST", "/api/v2/storage/confirm-upload"),
    ("GET", "/api/v2/storage/files"),
    ("GET", "/api/v2/storage/files/{key}"),
    ("HEAD", "/api/v2/storage/files/{key}"),
    ("DELETE", "/api/v2/storage/files/{key}"),
    ("GET", "/api/v2/storage/usage"),
    ("GET", "/api/admin/reconciliation"),
    ("GET", "/api/admin/dead-letters"),
    ("POST", "/api/admin/dead-letters/{message_id}/replay"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
    ("GET", "/asyncapi.json"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/docs"),
}

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document(product: Product) -> dict[str, Any]:
    with product.client() as anonymous:
        return dict(anonymous.get("/openapi.json").raise_for_status().json())


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield method.upper(), _without_form(path), item[method]


def _without_form(path: str) -> str:
    return PARAMETER.sub(lambda found: "{" + found[1].partition(":")[0] + "}", path)


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield document
        for value in document.values():
            yield from nodes(value)
    elif isinstance(document, list):
        for value in document:
            yield from nodes(value)


def test_lists_the_routes_that_exist(document: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(document)} == ROUTES


def test_is_an_openapi_3_1_document(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert document["servers"] == [{"url": "/"}]
    assert document.keys() <= {"openapi", "info", "servers", "paths", "components", "tags"}
    assert all(path.startswith("/") for path in document["paths"])


def test_describes_the_parameters_of_each_path(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            parameters = item[method].get("parameters", [])
            in_path = {one["name"] for one in parameters if one["in"] == "path"}
            assert in_path == set(PARAMETER.findall(path)), path
            assert all(one["required"] for one in parameters if one["in"] == "path"), path
            named = [(one["name"], one["in"]) for one in parameters]
            assert len(named) == len(set(named)), path


def test_describes_an_answer_and_an_error_of_each_route(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        responses = operation["responses"]
        assert any(status.startswith("2") for status in responses), (method, path)
        assert all(response["description"] for response in responses.values()), (method, path)
        assert "default" in responses, (method, path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)}
    assert references
    for reference in references:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert isinstance(found, dict)
        assert found, reference


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    schemas = [*document["components"]["schemas"].values()]
    schemas += [node["schema"] for node in nodes(document["paths"]) if "schema" in node]
    assert schemas
    for schema in schemas:
        Draft202012Validator.check_schema(schema)


def test_asks_for_credentials_by_schemes_that_it_defines(document: dict[str, Any]) -> None:
    defined = document["components"]["securitySchemes"].keys()
    for method, path, operation in operations(document):
        for requirement in operation["security"]:
            assert requirement.keys() <= defined, (method, path)


def test_names_each_operation_once(document: dict[str, Any]) -> None:
    names = [one["operationId"] for _, _, one in operations(document) if "operationId" in one]
    assert len(names) == len(set(names))


def test_each_listed_route_answers_and_its_trailing_slash_does_too(
    document: dict[str, Any], product: Product
) -> None:
    with product.client() as anonymous:
        for method, path, operation in operations(document):
            filled = PARAMETER.sub("1", path)
            for form in (filled, f"{filled}/"):
                status = anonymous.request(method, form).status_code
                wanted = {401} if operation["security"] else {200, 403, 404, 415, 422}
                assert status in wanted, (method, form, status)


def test_what_is_not_listed_does_not_exist(product: Product) -> None:
    with product.client() as anonymous:
        for path in (*INTERNAL, "/api/v2", "/_scenarios", "/metrics", "/redoc"):
            assert anonymous.post(path, json={}).status_code == 404, path
