"""Storage's HTTP side as the gateway calls it, and what a test needs to look behind it."""

from pathlib import Path
from uuid import UUID

import httpx

from kernel.clock import new_id
from kernel.http import Identity
from kernel.http.identity import HEADER
from kernel.objects import LocalObjectStore
from kernel.service import Platform, Service
from services.storage.adapters.quotas import Room, room_of

SCOPES = frozenset({"storage:read", "storage:write", "storage:delete"})
QUOTA = 100_000
TEXT = b"hello, store\n"


class Storage:
    """The service's HTTP side, and who calls it."""

    def __init__(self, service: Service, platform: Platform, home: Path) -> None:
        assert service.app is not None
        self.platform = platform
        self.database = platform.database
        self.service = service
        self.objects = LocalObjectStore(home / "objects", platform.links)
        self.root = home / "objects"
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=service.app), base_url="http://storage.test"
        )
        self.user_id = new_id()

    def headers(
        self, user_id: UUID | None = None, scopes: frozenset[str] = SCOPES, plan: str = "free"
    ) -> dict[str, str]:
        who = user_id or self.user_id
        identity = Identity(who, who, role="user", plan=plan, scopes=scopes)
        return {HEADER: self.platform.internal_tokens.mint(identity)}

    async def upload(
        self,
        content: bytes = TEXT,
        name: str = "a.bin",
        content_type: str = "application/octet-stream",
        *,
        user_id: UUID | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        more = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(
            "/api/v2/storage/upload",
            files={"file": (name, content, content_type)},
            headers={**self.headers(user_id), **more},
        )

    async def upload_from(self, url: str, key: str | None = None) -> httpx.Response:
        more = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(
            "/api/v2/storage/upload-from-url", json={"url": url}, headers={**self.headers(), **more}
        )

    async def presign(self, **body: object) -> httpx.Response:
        return await self.client.post(
            "/api/v2/storage/presigned-url", json=body, headers=self.headers()
        )

    async def put_link(
        self, content: bytes = TEXT, content_type: str = "text/plain", expires_in: int = 600
    ) -> dict[str, str]:
        answer = await self.presign(
            method="put_object",
            size=len(content),
            content_type=content_type,
            expires_in=expires_in,
        )
        assert answer.status_code == 200, answer.text
        body: dict[str, str] = answer.json()
        return body

    async def put(
        self, url: str, content: bytes = TEXT, content_type: str = "text/plain"
    ) -> httpx.Response:
        path = url.removeprefix(self.platform.public_base_url)
        return await self.client.put(path, content=content, headers={"Content-Type": content_type})

    async def confirm(self, key: str, user_id: UUID | None = None) -> httpx.Response:
        return await self.client.post(
            "/api/v2/storage/confirm-upload", json={"key": key}, headers=self.headers(user_id)
        )

    async def get(self, path: str, user_id: UUID | None = None, **more: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return await self.client.get(
            f"/api/v2/storage/{path}", headers={**self.headers(user_id), **named}
        )

    async def delete(self, key: str, user_id: UUID | None = None) -> httpx.Response:
        return await self.client.delete(
            f"/api/v2/storage/files/{key}", headers=self.headers(user_id)
        )

    async def opened(self, url: str) -> httpx.Response:
        return await self.client.get(url.removeprefix(self.platform.public_base_url))

    async def room(self) -> Room:
        return await room_of(self.database, self.user_id)

    def there(self) -> set[str]:
        """Every file of the object store, those on their way too."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix() for path in found}

    async def count(self, table: str) -> int:
        async with self.database.connection() as connection:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))

    async def is_as_if_nothing_was(self) -> bool:
        return (
            await self.room() == Room()
            and self.there() == set()
            and await self.count("storage_read.files") == 0
            and await self.count("storage.uploads") == 0
        )
