"""Uploads over HTTP as the service answers them: all or nothing, exact, and each one's own."""

import asyncio
import hashlib
import io
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from kernel.clock import new_id
from kernel.testing import FakeClock
from services.storage.adapters.quotas import Room
from tests.storage.documents import PDF, glb, png, zipped
from tests.storage.hostile_files import mp4_with
from tests.storage.test_pictures import png_claiming
from tests.storage.uploading import QUOTA, TEXT, Storage


async def test_an_uploaded_file_is_answered_as_it_is_kept(storage: Storage) -> None:
    answer = await storage.upload(TEXT, "notes.png", "image/png")

    body = answer.json()
    assert answer.status_code == 201, body
    assert (body["success"], body["size"], body["mime_type"]) == (True, len(TEXT), "text/plain")
    assert body["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert body["key"].startswith("uploads/")
    assert body["key"].endswith(".txt")
    assert (await storage.opened(body["url"])).content == TEXT
    assert await storage.room() == Room(len(TEXT), 1, 0)
    assert storage.there() == {body["key"]}
    assert await storage.count("storage.uploads") == 0


async def test_a_picture_is_written_anew_without_what_does_not_belong_to_it(
    storage: Storage,
) -> None:
    answer = await storage.upload(png(comment="canary") + b"<script>canary</script>")

    body = answer.json()
    assert answer.status_code == 201, body
    kept = (await storage.opened(body["url"])).content
    assert b"canary" not in kept
    assert hashlib.sha256(kept).hexdigest() == body["sha256"]
    assert (body["size"], body["width"], body["height"]) == (len(kept), 8, 8)
    small = await storage.opened(body["thumbnail_url"])
    assert Image.open(io.BytesIO(small.content)).format == "WEBP"


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [(PDF, "application/pdf"), (glb(), "model/gltf-binary"), (b"[1]", "application/json")],
)
async def test_documents_are_taken_as_they_are(
    storage: Storage, content: bytes, mime_type: str
) -> None:
    body = (await storage.upload(content)).json()

    assert body["mime_type"] == mime_type
    assert (await storage.opened(body["url"])).content == content


async def test_films_and_sounds_are_taken_with_their_facts(
    storage: Storage, recordings: Mapping[str, bytes]
) -> None:
    film, sound = await asyncio.gather(
        *(
            storage.client.post(
                "/api/v2/storage/upload",
                files={"file": ("x", recordings[name], "x/y")},
                headers=storage.headers(plan="pro"),
            )
            for name in ("film", "mp3")
        )
    )

    assert (film.status_code, film.json()["mime_type"]) == (201, "video/mp4")
    assert film.json()["duration_seconds"] == pytest.approx(1, abs=0.1)
    assert film.json()["width"] is not None
    assert (sound.status_code, sound.json()["mime_type"]) == (201, "audio/mpeg")
    assert sound.json()["thumbnail_url"] is not None


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"<html><script>alert(1)</script></html>", 415, "unsupported_type"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', 415, "unsupported_type"),
        (zipped(), 415, "unsupported_type"),
        (b"\x7fELF\x02\x01\x01\x00", 415, "unsupported_type"),
        (png()[:60], 422, "damaged_picture"),
        (png_claiming(60_000, 60_000), 422, "too_many_pixels"),
        (mp4_with(b"mvhd", 16, b"\xff" * 3), 422, "too_long"),
        (PDF[:-8], 422, "damaged_document"),
        (b"[" * 100, 422, "too_complex"),
        (b"", 422, "empty_file"),
    ],
)
async def test_what_may_not_be_kept_leaves_nothing(
    storage: Storage, content: bytes, status: int, code: str
) -> None:
    answer = await storage.upload(content, "x.png", "image/png")

    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert await storage.is_as_if_nothing_was()


async def test_a_file_beyond_the_quota_is_refused_with_the_figures(storage: Storage) -> None:
    await storage.upload(TEXT)

    answer = await storage.upload(b"a" * QUOTA)

    assert (answer.status_code, answer.json()["error"]) == (413, "quota_exceeded")
    assert answer.json()["details"] == {
        "used": len(TEXT),
        "quota": QUOTA,
        "requested": QUOTA - len(TEXT) + 1,
    }
    assert len(storage.there()) == 1


async def test_fifty_uploads_at_once_into_room_for_ten_are_exactly_ten(storage: Storage) -> None:
    answers = await asyncio.gather(*(storage.upload(b"a" * (QUOTA // 10)) for _ in range(50)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * 10 + [413] * 40
    assert {answer.json()["error"] for answer in answers if answer.status_code == 413} == {
        "quota_exceeded"
    }
    assert await storage.room() == Room(QUOTA, 10, 0)
    assert len(storage.there()) == 10


async def test_an_object_store_that_fails_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "objects" / "uploads").write_text("in the way")

    answer = await storage.upload()

    assert answer.status_code >= 400
    (tmp_path / "objects" / "uploads").unlink()
    assert await storage.is_as_if_nothing_was()


async def test_the_same_upload_under_the_same_key_is_one_file(storage: Storage) -> None:
    first = await storage.upload(key="once")
    again = await storage.upload(key="once")
    other = await storage.upload(b"other", key="once")

    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_mismatch")
    assert await storage.room() == Room(len(TEXT), 1, 0)


async def test_a_key_of_an_upload_that_failed_can_be_used_again(storage: Storage) -> None:
    await storage.upload(b"a" * QUOTA)
    refused = await storage.upload(TEXT, key="again")

    assert refused.status_code == 413
    (kept,) = (await storage.get("files")).json()["files"]
    await storage.delete(kept["key"])
    assert (await storage.upload(TEXT, key="again")).status_code == 201


async def test_a_file_is_downloaded_whole_and_in_parts(storage: Storage) -> None:
    body = (await storage.upload()).json()
    path = f"files/{body['key']}"

    whole = await storage.get(path)
    part = await storage.get(path, range="bytes=0-4")
    known = await storage.get(path, if_none_match=whole.headers["etag"])
    beyond = await storage.get(path, range="bytes=999-")
    other = await storage.get(path, range="bytes=0-4", if_range='"another"')

    assert (whole.status_code, whole.content) == (200, TEXT)
    assert whole.headers["etag"] == f'"{body["sha256"]}"'
    assert whole.headers["content-disposition"].startswith("attachment;")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    assert (part.status_code, part.content) == (206, TEXT[:5])
    assert (known.status_code, known.content) == (304, b"")
    assert (beyond.status_code, other.status_code) == (416, 200)


async def test_looking_tells_the_same_without_the_bytes(storage: Storage) -> None:
    body = (await storage.upload()).json()

    looked = await storage.client.head(
        f"/api/v2/storage/files/{body['key']}", headers=storage.headers()
    )

    assert (looked.status_code, looked.content) == (200, b"")
    assert looked.headers["content-length"] == str(len(TEXT))


async def test_pictures_may_be_shown_inline(storage: Storage) -> None:
    body = (await storage.upload(png())).json()

    shown = await storage.get(f"files/{body['key']}")

    assert shown.headers["content-disposition"].startswith("inline;")


async def test_a_deleted_file_is_gone_with_its_small_picture_and_its_room(
    storage: Storage,
) -> None:
    body = (await storage.upload(png())).json()

    assert (await storage.delete(body["key"])).status_code == 204

    assert storage.there() == set()
    assert await storage.room() == Room()
    assert (await storage.delete(body["key"])).status_code == 404
    assert (await storage.get(f"files/{body['key']}")).status_code == 404
    assert (await storage.opened(body["url"])).status_code == 404


async def test_a_file_deleted_many_times_at_once_gives_its_room_back_once(
    storage: Storage,
) -> None:
    kept = (await storage.upload()).json()
    body = (await storage.upload(b"another")).json()

    answers = await asyncio.gather(*(storage.delete(body["key"]) for _ in range(10)))

    assert {answer.status_code for answer in answers} <= {204, 404}
    assert await storage.room() == Room(len(TEXT), 1, 0)
    assert storage.there() == {kept["key"]}


async def test_files_are_listed_newest_first_page_by_page(
    storage: Storage, clock: FakeClock
) -> None:
    made = []
    for nth in range(5):
        made.append((await storage.upload(b"file %d" % nth)).json()["key"])
        clock.turn(timedelta(seconds=1))

    seen: list[str] = []
    cursor = ""
    while True:
        page = (await storage.get(f"files?limit=2{cursor}")).json()
        seen += [file["key"] for file in page["files"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert seen == made[::-1]


@pytest.mark.parametrize("cursor", ["x", "%00", "bm90aGluZw", "A" * 50])
async def test_a_cursor_that_is_none_is_refused_by_name(storage: Storage, cursor: str) -> None:
    answer = await storage.get(f"files?cursor={cursor}")

    assert (answer.status_code, answer.json()["details"]) == (422, {"field": "cursor"})


async def test_usage_tells_what_there_is_and_what_it_costs(
    storage: Storage, clock: FakeClock
) -> None:
    await storage.upload(TEXT)
    await storage.upload(b"[1]")
    await storage.put_link(b"12345")
    clock.turn(timedelta(seconds=0))

    usage = (await storage.get("usage")).json()

    assert (usage["used_bytes"], usage["files"]) == (len(TEXT) + 3, 2)
    assert (usage["reserved_bytes"], usage["quota_bytes"]) == (5, QUOTA)
    assert usage["by_type"]["application/json"] == {"files": 1, "bytes": 3}
    assert (usage["gb_hours"], usage["charge_credits"]) == (0, 0)


KEYS_THAT_ARE_NOBODYS = (
    "uploads/0.txt",
    "uploads",
    "images/generated/x/y.png",
    "../secrets",
    "uploads/../uploads/x.txt",
    "uploads%2F..%2Fx",
    "%2e%2e/%2e%2e/etc/passwd",
    "uploads//x.txt",
    "uploads/%00.txt",
    "uploads/%ff.txt",
    "uploads/x.txt;a=b",
    ".incoming/x",
    "ü/😀.png",
    "a" * 2_000,
)


@pytest.mark.parametrize("key", KEYS_THAT_ARE_NOBODYS)
async def test_a_key_that_is_nobodys_is_not_there(storage: Storage, key: str) -> None:
    got, deleted = await storage.get(f"files/{key}"), await storage.delete(key)
    confirmed = await storage.confirm(key[:500])
    linked = await storage.presign(key=key[:500])

    assert (got.status_code, deleted.status_code) == (404, 404)
    assert (confirmed.status_code, linked.status_code) == (404, 404)


async def test_anothers_file_is_not_there_in_any_way(storage: Storage) -> None:
    key, stranger = (await storage.upload()).json()["key"], new_id()
    begun = (await storage.put_link())["key"]

    answers = [
        await storage.get(f"files/{key}", stranger),
        await storage.delete(key, stranger),
        await storage.confirm(key, stranger),
        await storage.confirm(begun, stranger),
        await storage.client.post(
            "/api/v2/storage/presigned-url",
            json={"key": key},
            headers=storage.headers(stranger),
        ),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert (await storage.get("files", stranger)).json()["files"] == []


async def test_a_scope_is_needed_for_each(storage: Storage) -> None:
    nothing = storage.headers(scopes=frozenset())
    reading = storage.headers(scopes=frozenset({"storage:read"}))
    link = "/api/v2/storage/presigned-url"
    put = {"method": "put_object", "size": 1, "content_type": "text/plain"}

    assert (await storage.client.get("/api/v2/storage/files", headers=nothing)).status_code == 403
    assert (await storage.client.post(link, json={"key": "x"}, headers=nothing)).status_code == 403
    assert (await storage.client.post(link, json=put, headers=reading)).status_code == 403
    assert (await storage.client.post(link, json={"key": "x"}, headers=reading)).status_code == 404
    assert (await storage.client.get("/api/v2/storage/files")).status_code == 401


async def test_a_link_to_get_opens_the_file_until_its_end(
    storage: Storage, clock: FakeClock
) -> None:
    key = (await storage.upload()).json()["key"]

    body = (await storage.presign(key=key, expires_in=60, method="get_object")).json()

    assert (body["success"], body["expires_in"], body["key"]) == (True, 60, key)
    assert (await storage.opened(body["url"])).content == TEXT
    clock.turn(timedelta(seconds=61))
    assert (await storage.opened(body["url"])).status_code == 403


async def test_what_was_put_by_a_link_is_kept_when_it_is_confirmed(storage: Storage) -> None:
    link = await storage.put_link()
    assert await storage.room() == Room(0, 0, len(TEXT))

    put = await storage.put(link["url"])
    confirmed = await storage.confirm(link["key"])
    again = await storage.confirm(link["key"])

    assert put.status_code == 200
    assert confirmed.status_code == 200, confirmed.text
    assert confirmed.json()["key"] == link["key"]
    assert again.json() | {"url": ""} == confirmed.json() | {"url": ""}
    assert (await storage.get(f"files/{link['key']}")).content == TEXT
    assert await storage.room() == Room(len(TEXT), 1, 0)


async def test_what_was_put_first_is_deleted_and_can_be_put_no_more(
    storage: Storage, clock: FakeClock
) -> None:
    link = await storage.put_link()
    await storage.put(link["url"])
    await storage.confirm(link["key"])

    late = await storage.put(link["url"])

    assert (late.status_code, late.json()["error"]) == (409, "upload_ended")
    unwanted = storage.service.workers[3].__self__  # type: ignore[attr-defined]
    await unwanted.delete_due()
    assert storage.there() == {link["key"]}
    clock.turn(timedelta(hours=2))
    await unwanted.delete_due()
    await unwanted.delete_due()
    assert await storage.count("storage.unwanted_objects") == 0


async def test_nothing_is_confirmed_before_something_was_put(storage: Storage) -> None:
    link = await storage.put_link()

    early = await storage.confirm(link["key"])
    await storage.put(link["url"])

    assert (early.status_code, early.json()["error"]) == (409, "nothing_uploaded")
    assert (await storage.confirm(link["key"])).status_code == 200


async def test_confirming_many_times_at_once_keeps_one_file(storage: Storage) -> None:
    link = await storage.put_link()
    await storage.put(link["url"])

    answers = await asyncio.gather(*(storage.confirm(link["key"]) for _ in range(10)))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert (await storage.confirm(link["key"])).status_code == 200
    assert await storage.room() == Room(len(TEXT), 1, 0)


async def test_what_is_not_as_it_was_announced_ends_the_upload(storage: Storage) -> None:
    link = await storage.put_link(PDF, "text/plain")
    await storage.put(link["url"], PDF)

    refused = await storage.confirm(link["key"])
    again = await storage.confirm(link["key"])

    assert (refused.status_code, refused.json()["error"]) == (422, "content_type_mismatch")
    assert (again.status_code, again.json()["error"]) == (409, "upload_ended")
    assert await storage.is_as_if_nothing_was()


async def test_a_link_to_put_takes_exactly_what_was_signed(storage: Storage) -> None:
    url = (await storage.put_link())["url"]

    larger = await storage.put(url, TEXT + b"x")
    smaller = await storage.put(url, TEXT[:-1])
    other_type = await storage.put(url, TEXT, "image/png")
    forged = await storage.put(url.replace(f"size={len(TEXT)}", "size=9999"), TEXT)
    got = await storage.opened(url)

    assert (larger.status_code, smaller.status_code) == (413, 422)
    assert (other_type.status_code, forged.status_code, got.status_code) == (403, 403, 403)
    assert storage.there() == set()


async def test_a_link_to_put_ends_with_its_time(storage: Storage, clock: FakeClock) -> None:
    url = (await storage.put_link(expires_in=60))["url"]

    clock.turn(timedelta(seconds=61))

    assert (await storage.put(url)).status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"method": "get_object"}, 422, "key"),
        ({"method": "put_object", "content_type": "text/plain"}, 422, "size"),
        ({"method": "put_object", "size": 1}, 422, "content_type"),
        ({"method": "put_object", "size": 1, "content_type": "text/html"}, 415, "content_type"),
        (
            {
                "method": "put_object",
                "size": 1,
                "content_type": "text/plain",
                "expires_in": 3_601,
            },
            422,
            "expires_in",
        ),
        ({"key": "x", "expires_in": 0}, 422, "expires_in"),
        ({"key": "x", "expires_in": 604_801}, 422, "expires_in"),
        ({"key": "x", "method": "delete_object"}, 422, "method"),
    ],
)
async def test_a_link_that_may_not_be_asked_for_is_refused_by_its_field(
    storage: Storage, body: dict[str, object], status: int, field: str
) -> None:
    answer = await storage.presign(**body)

    details = answer.json()["details"]
    named = details.get("field") or details["fields"][0]["field"]
    assert (answer.status_code, named) == (status, field)


async def test_a_link_beyond_the_quota_is_not_given(storage: Storage) -> None:
    answer = await storage.presign(method="put_object", size=QUOTA + 1, content_type="text/plain")

    assert (answer.status_code, answer.json()["error"]) == (413, "quota_exceeded")
    assert answer.json()["details"] == {"used": 0, "quota": QUOTA, "requested": QUOTA + 1}


UNREACHABLE = (
    "http://127.0.0.1/x",
    "http://127.0.0.1:22/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[fd00::1]/",
    "http://0/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://localhost/",
    "http://no-such-host.invalid/",
    "https://no-such-host.invalid:8443/",
)


async def test_what_is_refused_looks_like_what_is_not_there(storage: Storage) -> None:
    answers = [
        await storage.client.post(
            "/api/v2/storage/upload-from-url", json={"url": url}, headers=storage.headers()
        )
        for url in UNREACHABLE
    ]

    assert {answer.status_code for answer in answers} == {502}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["error"] == "fetch_failed"
    assert await storage.is_as_if_nothing_was()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "//host/x",
        "ftp://host/x",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://user:secret@host/",
        "http://host:99999/",
        "http://host:x/",
        "http://ho st/",
        "http://host/\r\nX: y",
        "http://[::1/",
        "http://host/" + "a" * 9_000,
    ],
)
async def test_what_is_no_address_is_refused_by_its_field(storage: Storage, url: str) -> None:
    answer = await storage.client.post(
        "/api/v2/storage/upload-from-url", json={"url": url}, headers=storage.headers()
    )

    assert answer.status_code == 422
    assert answer.json()["details"]["fields"][0]["field"] == "url"
