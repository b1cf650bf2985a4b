"""What others see of keys: the gateway of a secret, the audit log of an operation."""

from typing import Any

from kernel.http.api_key_format import key_sha256
from tests.keys.conftest import GATEWAY, Keys


async def facts(keys: Keys, api_key: str) -> dict[str, Any] | None:
    """What the gateway is told of a secret."""
    body = {"key_sha256": key_sha256(api_key)}
    answer = await keys.call("POST", "/internal/keys/resolve", GATEWAY, body)
    assert answer.status_code in {200, 404}
    return dict(answer.json()) if answer.status_code == 200 else None


async def entries(keys: Keys, action: str) -> list[tuple[str, str]]:
    """The audit entries of an action: of which key, and with which outcome."""
    async with keys.platform.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT key_id, outcome FROM keys_read.key_audit_logs WHERE action = $1"
            " ORDER BY user_id, sequence",
            action,
        )
    return [(f"key_{row['key_id'].hex}" if row["key_id"] else "", row["outcome"]) for row in rows]
