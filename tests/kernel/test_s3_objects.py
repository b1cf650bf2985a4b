"""The suite over a server that checks signatures, and over a real bucket where the run has one.

ministack does not compare a body with the hash that its request is signed by, and takes parts of
any size: of those two it is looked at what we send.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from kernel.clock import SystemClock
from kernel.errors import NotFound, Rejected
from kernel.objects import ObjectStore, ObjectStoreAway, object_store, s3
from kernel.objects.bucket import LINK_LIFETIME_MAX, Bucket
from kernel.objects.s3 import S3ObjectStore
from kernel.objects.s3_client import until_usable
from kernel.settings import Settings, WrongSettings, read_settings
from tests.cutting_proxy import FOREVER, Cut, CuttingProxy, proxied
from tests.kernel.object_files import Source, read, source
from tests.kernel.object_suite import HOUR, LARGE_BYTES, PNG, Answer, ObjectStoreSuite
from tests.kernel.totals import eventually
from tests.s3_server import S3Server, real_bucket, s3_bucket, s3_server, waiting_client

__all__ = ["s3_bucket", "s3_server", "source"]

KEY: Final = "images/generated/u1/t1.png"
REFUSALS: Final = frozenset({400, 401, 403})


@pytest.fixture
async def store(s3_bucket: Bucket, tmp_path: Path) -> AsyncIterator[S3ObjectStore]:
    made = S3ObjectStore(s3_bucket, tmp_path / "incoming")
    yield made
    await made.aclose()


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[CuttingProxy]:
    async with proxied(s3_server.port) as proxy:
        yield proxy


@pytest.fixture
async def cut_off(
    proxy: CuttingProxy, s3_bucket: Bucket, tmp_path: Path
) -> AsyncIterator[S3ObjectStore]:
    """A store whose connections can be cut, and are open."""
    endpoint = f"http://127.0.0.1:{proxy.port}"
    made = S3ObjectStore(replace(s3_bucket, endpoint=endpoint), tmp_path / "incoming")
    await made.check()
    yield made
    await made.aclose()


class OverHttp(ObjectStoreSuite):
    async def fill(self, store: ObjectStore, keys: Iterable[str]) -> None:
        """By links, which is many times quicker than by the client."""
        end = SystemClock().now() + HOUR
        headers = {"content-type": "text/plain"}
        async with httpx.AsyncClient(headers=headers) as client:
            for key in keys:
                link = store.put_link(key, expires_at=end, size=1, content_type="text/plain")
                (await client.put(link, content=b"x")).raise_for_status()

    async def follow(
        self,
        store: ObjectStore,
        method: str,
        link: str,
        content: bytes = b"",
        content_type: str = "",
    ) -> Answer:
        headers = {"content-type": content_type} if content_type else {}
        body = content if method == "PUT" else None
        async with httpx.AsyncClient() as client:
            answer = await client.request(method, link, content=body, headers=headers)
        return 403 if answer.status_code in REFUSALS else answer.status_code, answer.content


@pytest.fixture(scope="session")
def workers_bucket(s3_server: S3Server) -> Bucket:
    """Of all tests of a worker, which have folders of their own in it."""
    return s3_server.new_bucket()


class TestS3ObjectStore(OverHttp):
    @pytest.fixture
    async def store(self, workers_bucket: Bucket, tmp_path: Path) -> AsyncIterator[S3ObjectStore]:
        made = S3ObjectStore(workers_bucket, tmp_path / "incoming")
        yield made
        await made.aclose()


if real_bucket() is not None:

    class TestRealBucket(OverHttp):
        @pytest.fixture
        async def store(self, folder: str, tmp_path: Path) -> AsyncIterator[S3ObjectStore]:
            bucket = real_bucket()
            assert bucket is not None, "else there is no such class"
            made = S3ObjectStore(bucket, tmp_path / "incoming")
            yield made
            async for left in made.listed(folder):
                await made.delete(left.key)
            await made.aclose()


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def unfinished(bucket: Bucket) -> list[Any]:
    return list(
        waiting_client(bucket).list_multipart_uploads(Bucket=bucket.name).get("Uploads", ())
    )


def settings_of(bucket: Bucket, home: Path) -> Settings:
    return read_settings(
        Settings,
        SMARTSPEC_HOME=home,
        CLOUDFLARE_R2_ACCESS_KEY_ID=bucket.access_key_id,
        CLOUDFLARE_R2_SECRET_ACCESS_KEY=bucket.secret,
        CLOUDFLARE_R2_BUCKET_NAME=bucket.name,
        CLOUDFLARE_R2_ENDPOINT=bucket.endpoint,
        SMARTSPEC_S3_REGION=bucket.region,
    )


async def test_objects_are_in_a_bucket_where_one_is_set(s3_bucket: Bucket, tmp_path: Path) -> None:
    store = object_store(settings_of(s3_bucket, tmp_path))

    await store.put_bytes(KEY, b"content")

    assert waiting_client(s3_bucket).get_object(Bucket=s3_bucket.name, Key=KEY)["Body"].read() == (
        b"content"
    )
    assert store.incoming == tmp_path / "incoming"
    await store.aclose()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"secret": "x" * 40}, "CLOUDFLARE_R2_SECRET_ACCESS_KEY"),
        ({"access_key_id": "AKIANOBODY0000000000"}, "CLOUDFLARE_R2_ACCESS_KEY_ID"),
        ({"name": "no-such-bucket"}, "no bucket 'no-such-bucket'"),
    ],
)
async def test_refuses_to_start_with_what_the_server_refuses(
    s3_bucket: Bucket, tmp_path: Path, wrong: dict[str, str], words: str
) -> None:
    bucket = replace(s3_bucket, **wrong)
    store = S3ObjectStore(bucket, tmp_path / "incoming")

    with capture_logs() as said:
        with pytest.raises(WrongSettings, match=words) as refused:
            await store.check()
        with pytest.raises(ObjectStoreAway) as away:
            await store.put_bytes(KEY, b"content")

    for told in (str(refused.value), str(away.value), str(away.value.details), str(said)):
        assert bucket.secret not in told
        assert bucket.access_key_id not in told
        assert urlsplit(bucket.endpoint).netloc not in told
    await store.aclose()


async def test_refuses_to_start_with_another_region_than_the_buckets(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    """The client would find the way by itself; links into it would not open."""
    store = S3ObjectStore(replace(s3_bucket, region="eu-north-1"), tmp_path / "incoming")

    with pytest.raises(WrongSettings, match="SMARTSPEC_S3_REGION"):
        await store.check()

    await store.aclose()


async def test_waits_at_its_start_for_a_server_that_starts_later(
    cut_off: S3ObjectStore, proxy: CuttingProxy
) -> None:
    proxy.cut(Cut(sent=0, times=3))

    await until_usable(cut_off.bucket, SystemClock().now(), again_after_s=0)

    assert proxy.cuts == 3


async def test_refuses_to_start_where_no_server_ever_answers(
    cut_off: S3ObjectStore, proxy: CuttingProxy
) -> None:
    await proxy.stop()

    with pytest.raises(WrongSettings, match="CLOUDFLARE_R2_ENDPOINT"):
        await until_usable(cut_off.bucket, SystemClock().now(), again_after_s=0)


async def test_nothing_that_the_machine_says_of_aws_is_read(
    s3_bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody's")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another's")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another's")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    store = S3ObjectStore(s3_bucket, tmp_path / "incoming")

    await store.check()

    await store.aclose()


async def test_a_large_file_goes_in_parts_and_a_small_one_at_once(
    store: S3ObjectStore, source: Source
) -> None:
    large = await store.put_file("large.png", source(bytes(LARGE_BYTES)), PNG)
    small = await store.put_file("small.png", source(bytes(8 << 20)), PNG)

    assert large.etag.endswith('-3"')
    assert "-" not in small.etag


async def test_of_a_large_file_that_loses_no_part_stays(
    store: S3ObjectStore, s3_bucket: Bucket, source: Source
) -> None:
    await store.put_bytes(KEY, b"one")

    with pytest.raises(Rejected):
        await store.put_file(KEY, source(bytes(LARGE_BYTES)), PNG, replace=False)

    assert unfinished(s3_bucket) == []


class Unconditional(Bucket):
    """Of a server that reads no conditions."""

    takes_conditions = False


async def test_asks_first_where_a_server_reads_no_conditions(
    s3_bucket: Bucket, tmp_path: Path, source: Source
) -> None:
    store = S3ObjectStore(Unconditional(**vars(s3_bucket)), tmp_path / "incoming")

    await store.put_bytes(KEY, b"one", replace=False)
    for put in (
        store.put_bytes(KEY, b"two", replace=False),
        store.put_file(KEY, source(b"two"), PNG, replace=False),
    ):
        with pytest.raises(Rejected):
            await put

    assert await read(store, KEY) == b"one"
    await store.aclose()


async def test_every_body_is_signed_by_its_hash(
    cut_off: S3ObjectStore, proxy: CuttingProxy
) -> None:
    proxy.keeps = True

    await cut_off.put_bytes(KEY, b"content")

    digest = hashlib.sha256(b"content").hexdigest()
    head = proxy.sent.lower().decode()
    assert f"x-amz-content-sha256: {digest}\r\n" in head
    signed = head.partition("signedheaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-content-sha256", "x-amz-date"} <= set(signed)


async def test_a_large_file_whose_connection_is_cut_arrives_whole(
    cut_off: S3ObjectStore, proxy: CuttingProxy, source: Source
) -> None:
    content = os.urandom(LARGE_BYTES)
    proxy.cut(Cut(sent=10 << 20))

    await cut_off.put_file(KEY, source(content), PNG)

    assert proxy.cuts == 1
    assert await read(cut_off, KEY) == content


@pytest.mark.parametrize("size_bytes", [4 << 20, LARGE_BYTES])
async def test_a_file_that_never_gets_through_leaves_nothing(
    cut_off: S3ObjectStore,
    proxy: CuttingProxy,
    s3_bucket: Bucket,
    source: Source,
    size_bytes: int,
) -> None:
    path = source(bytes(size_bytes))
    proxy.cut(Cut(sent=2 << 20, times=FOREVER))

    with pytest.raises(ObjectStoreAway):
        await cut_off.put_file(KEY, path, PNG)

    proxy.cut(None)
    assert path.exists()
    assert unfinished(s3_bucket) == []
    with pytest.raises(NotFound):
        await cut_off.stat(KEY)


async def test_a_put_that_is_cancelled_leaves_no_parts(
    cut_off: S3ObjectStore,
    proxy: CuttingProxy,
    s3_bucket: Bucket,
    source: Source,
) -> None:
    proxy.keeps = True
    putting = asyncio.ensure_future(cut_off.put_file(KEY, source(bytes(LARGE_BYTES)), PNG))
    await eventually(lambda: len(proxy.sent) > 9 << 20)

    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert unfinished(s3_bucket) == []
    with pytest.raises(NotFound):
        await cut_off.stat(KEY)


@pytest.mark.parametrize("size_bytes", [7, LARGE_BYTES])
async def test_who_did_not_hear_that_it_won_has_won_all_the_same(
    cut_off: S3ObjectStore, proxy: CuttingProxy, source: Source, size_bytes: int
) -> None:
    content = os.urandom(size_bytes)
    path = source(content)
    # Of a large file the last answer is lost; those before it say less than what it is.
    await lose_the_answer_that_ends(cut_off, proxy, size_bytes)

    stored = await cut_off.put_file(KEY, path, PNG, replace=False)

    assert proxy.cuts == 1
    assert stored.size_bytes == size_bytes
    assert await read(cut_off, KEY) == content


async def lose_the_answer_that_ends(
    store: S3ObjectStore, proxy: CuttingProxy, size_bytes: int
) -> None:
    if size_bytes < LARGE_BYTES:
        proxy.cut(Cut(received=0))
        return
    client = await store._opened()

    def lose(**_: object) -> None:
        proxy.cut(Cut(received=0))

    client.meta.events.register_first("before-call.s3.CompleteMultipartUpload", lose)


async def test_an_object_whose_connection_is_cut_is_no_shorter_object(
    cut_off: S3ObjectStore, proxy: CuttingProxy, tmp_path: Path
) -> None:
    await cut_off.put_bytes(KEY, bytes(4 << 20))
    proxy.cut(Cut(received=1 << 20, times=FOREVER))

    with pytest.raises(ObjectStoreAway):
        await read(cut_off, KEY)
    with pytest.raises(ObjectStoreAway):
        await cut_off.fetch(KEY, tmp_path / "copy")

    assert not (tmp_path / "copy").exists()
    assert {path.name for path in files_in(tmp_path)} == {"incoming"}


async def test_a_server_that_is_away_is_said_to_be_and_comes_back(
    cut_off: S3ObjectStore, proxy: CuttingProxy, source: Source, tmp_path: Path
) -> None:
    await cut_off.put_bytes(KEY, b"content")
    await proxy.stop()

    asked = (
        cut_off.put_bytes(KEY, b"other"),
        cut_off.put_file(KEY, source(bytes(LARGE_BYTES)), PNG),
        cut_off.open(KEY),
        cut_off.fetch(KEY, tmp_path / "copy"),
        cut_off.stat(KEY),
        cut_off.delete(KEY),
        anext(aiter(cut_off.listed(""))),
    )
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, ObjectStoreAway)
        assert (answer.status, answer.code, answer.details) == (503, "object_store_away", {})
        assert answer.retry_after_s is not None
        assert "127.0.0.1" not in str(answer)

    await proxy.start()
    assert await read(cut_off, KEY) == b"content"


async def test_a_put_ends_while_a_server_says_nothing(
    cut_off: S3ObjectStore, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "SMALL_PUT_TIMEOUT_S", 0.1)
    proxy.hangs = True

    with pytest.raises(ObjectStoreAway):
        await cut_off.put_bytes(KEY, b"content")


async def test_a_bucket_that_is_gone_is_no_missing_object(
    store: S3ObjectStore, s3_bucket: Bucket
) -> None:
    waiting_client(s3_bucket).delete_bucket(Bucket=s3_bucket.name)

    for ask in (store.open(KEY), store.put_bytes(KEY, b"content")):
        with pytest.raises(ObjectStoreAway):
            await ask


@pytest.mark.parametrize(
    ("key", "content_type", "shown"),
    [("a/t1.png", PNG, "inline"), ("a/page.html", "application/octet-stream", "attachment")],
)
async def test_a_link_shows_only_what_can_run_nothing(
    store: S3ObjectStore, key: str, content_type: str, shown: str
) -> None:
    await store.put_bytes(key, b"<script>alert(1)</script>")

    async with httpx.AsyncClient() as client:
        headers = (await client.get(store.link(key, expires_at=SystemClock().now() + HOUR))).headers

    assert headers["content-type"] == content_type
    assert headers["content-disposition"] == f'{shown}; filename="{key.rpartition("/")[2]}"'


def test_links_are_made_without_a_loop_and_a_server(tmp_path: Path) -> None:
    bucket = Bucket("https://127.0.0.1:1", "bucket", "auto", "key", "secret")
    store = S3ObjectStore(bucket, tmp_path / "incoming")

    assert store.link(KEY, expires_at=SystemClock().now() + HOUR).startswith(
        f"https://127.0.0.1:1/bucket/{KEY}?"
    )


async def test_another_secret_signs_no_link(
    store: S3ObjectStore, s3_bucket: Bucket, tmp_path: Path
) -> None:
    await store.put_bytes(KEY, b"content")
    other = S3ObjectStore(replace(s3_bucket, secret="x" * 40), tmp_path / "incoming")

    async with httpx.AsyncClient() as client:
        answer = await client.get(other.link(KEY, expires_at=SystemClock().now() + HOUR))

    assert answer.status_code == 403
    await other.aclose()


NOW: Final = datetime(2013, 5, 24, tzinfo=UTC)
EXAMPLE: Final = Bucket(
    "https://s3.amazonaws.com",
    "examplebucket",
    "us-east-1",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
)


def test_signs_the_example_that_aws_has_published() -> None:
    link = EXAMPLE.link("GET", "test.txt", now=NOW, expires_at=NOW + timedelta(days=1))

    assert link.startswith("https://examplebucket.s3.amazonaws.com/test.txt?")
    assert link.endswith("=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


@pytest.mark.parametrize(
    ("endpoint", "name", "begins"),
    [
        ("https://acc.r2.cloudflarestorage.com", "b1", "https://b1.acc.r2.cloudflarestorage.com/k"),
        ("https://s3.eu-north-1.amazonaws.com", "b1", "https://b1.s3.eu-north-1.amazonaws.com/k"),
        ("https://s3.amazonaws.com", "b.1", "https://s3.amazonaws.com/b.1/k"),
        ("https://storage.googleapis.com", "b1", "https://storage.googleapis.com/b1/k"),
        ("http://minio:9000", "b1", "http://minio:9000/b1/k"),
        ("http://minio:80", "b1", "http://minio/b1/k"),
    ],
)
def test_a_bucket_is_in_the_path_or_in_the_hosts_name(
    endpoint: str, name: str, begins: str
) -> None:
    bucket = replace(EXAMPLE, endpoint=endpoint, name=name)

    link = bucket.link("GET", "k", now=NOW, expires_at=NOW + HOUR)

    assert link.partition("?")[0] == begins


@pytest.mark.parametrize(
    ("lives_for", "signed_for"),
    [
        (timedelta(days=8), LINK_LIFETIME_MAX),
        (timedelta(seconds=90, microseconds=900_000), timedelta(seconds=90)),
        (timedelta(days=-1), timedelta(seconds=1)),
    ],
)
def test_no_link_lives_longer_than_servers_sign_for(
    lives_for: timedelta, signed_for: timedelta
) -> None:
    asked = parse_qs(urlsplit(EXAMPLE.link("GET", "k", now=NOW, expires_at=NOW + lives_for)).query)

    signed_at = datetime.strptime(asked["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
    assert timedelta(seconds=int(asked["X-Amz-Expires"][0])) == signed_for
    assert signed_at <= NOW
    assert signed_at + signed_for <= max(NOW + lives_for, NOW - timedelta(days=1))


def test_google_alone_reads_no_conditions() -> None:
    assert EXAMPLE.takes_conditions
    assert not replace(EXAMPLE, endpoint="https://storage.googleapis.com").takes_conditions


def test_a_bucket_does_not_show_its_secret() -> None:
    assert EXAMPLE.secret not in repr(EXAMPLE)
