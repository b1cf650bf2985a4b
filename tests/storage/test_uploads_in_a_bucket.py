"""Uploads where objects lie in a bucket: put and got past us, confirmed and deleted by us."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kernel.objects.bucket import Bucket
from kernel.projections import ensure
from kernel.service import Platform
from kernel.settings import read_settings
from services.storage.adapters.quotas import Room
from services.storage.app import create_service
from services.storage.read_model import READ_MODEL
from services.storage.settings import StorageSettings
from tests.s3_server import s3_bucket, s3_server
from tests.storage.documents import png
from tests.storage.uploading import TEXT, Storage

__all__ = ["s3_bucket", "s3_server"]


@pytest.fixture
async def storage(platform: Platform, tmp_path: Path, s3_bucket: Bucket) -> AsyncIterator[Storage]:
    settings = read_settings(
        StorageSettings,
        SMARTSPEC_HOME=tmp_path,
        SMARTSPEC_NSFW_CHECK=False,
        CLOUDFLARE_R2_ACCESS_KEY_ID=s3_bucket.access_key_id,
        CLOUDFLARE_R2_SECRET_ACCESS_KEY=s3_bucket.secret,
        CLOUDFLARE_R2_BUCKET_NAME=s3_bucket.name,
        CLOUDFLARE_R2_ENDPOINT=s3_bucket.endpoint,
        SMARTSPEC_S3_REGION=s3_bucket.region,
    )
    service = create_service(settings, platform)
    async with platform.database.connection() as connection:
        await ensure(connection, READ_MODEL)
    for step in service.prepare:
        await step()
    storage = Storage(service, platform, tmp_path)
    yield storage
    await storage.client.aclose()
    for resource in service.resources:
        await resource.aclose()


async def test_a_file_is_uploaded_downloaded_in_parts_and_deleted(storage: Storage) -> None:
    body = (await storage.upload(png())).json()
    key = body["key"]

    whole = await storage.get(f"files/{key}")
    part = await storage.get(f"files/{key}", range="bytes=0-7")
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(body["url"])).content == whole.content
        assert (await storage.delete(key)).status_code == 204
        assert (await anybody.get(body["url"])).status_code == 404

    assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")
    assert (await storage.get(f"files/{key}")).status_code == 404
    assert await storage.room() == Room()


async def test_what_was_put_by_a_link_is_kept_when_it_is_confirmed(storage: Storage) -> None:
    link = await storage.put_link()
    early = await storage.confirm(link["key"])
    async with httpx.AsyncClient() as anybody:
        put = await anybody.put(link["url"], content=TEXT, headers={"Content-Type": "text/plain"})
        confirmed = await storage.confirm(link["key"])
        got = await anybody.get(confirmed.json()["url"])

    assert (early.status_code, put.status_code, confirmed.status_code) == (409, 200, 200)
    assert got.content == TEXT
    assert await storage.room() == Room(len(TEXT), 1, 0)


async def test_what_is_not_as_it_was_announced_ends_the_upload(storage: Storage) -> None:
    link = await storage.put_link(png(), "text/plain")
    async with httpx.AsyncClient() as anybody:
        await anybody.put(link["url"], content=png(), headers={"Content-Type": "text/plain"})

    refused = await storage.confirm(link["key"])

    assert (refused.status_code, refused.json()["error"]) == (422, "content_type_mismatch")
    assert await storage.room() == Room()
    assert (await storage.confirm(link["key"])).json()["error"] == "upload_ended"
