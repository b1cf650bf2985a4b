"""Files as a user brings, finds, shares and deletes them, over real HTTP through the gateway."""

import hashlib
import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import av
import httpx
import numpy as np
import pytest

from tests.storage.documents import PDF, png
from tests.system.conftest import BOTH_MODES, prepared
from tests.system.product import V2, Product, User, new_key, new_user, running, wait_until
from tests.system.test_models import file_of, made

STORE = "/api/v2/storage"
SCOPES = ("storage:read", "storage:write", "storage:delete")
TEXT = b"words of a user\n" * 1_000
QUOTA = 1_000_000


@pytest.fixture
def files(product: Product, user: User) -> Iterator[httpx.Client]:
    with client_of(product, user) as client:
        yield client


def client_of(product: Product, user: User) -> httpx.Client:
    return product.client(**{"X-API-Key": new_key(product, user.token, SCOPES)})


def upload(client: httpx.Client, content: bytes, name: str = "a.txt") -> httpx.Response:
    return client.post(f"{STORE}/upload", files={"file": (name, content)})


@BOTH_MODES
def test_a_file_is_uploaded_found_downloaded_and_deleted(
    product: Product, files: httpx.Client
) -> None:
    answer = upload(files, TEXT)
    body = answer.json()
    assert answer.status_code == 201, body
    key = body["key"]
    assert (body["success"], body["size"]) == (True, len(TEXT))
    assert body["sha256"] == hashlib.sha256(TEXT).hexdigest()

    assert [file["key"] for file in files.get(f"{STORE}/files").json()["files"]] == [key]
    assert files.get(f"{STORE}/usage").json()["used_bytes"] == len(TEXT)
    whole = files.get(f"{STORE}/files/{key}")
    part = files.get(f"{STORE}/files/{key}", headers={"Range": "bytes=-5"})
    known = files.get(f"{STORE}/files/{key}", headers={"If-None-Match": whole.headers["etag"]})
    assert (whole.status_code, whole.content) == (200, TEXT)
    assert (part.status_code, part.content) == (206, TEXT[-5:])
    assert (known.status_code, known.content) == (304, b"")
    with product.client() as anybody:
        assert anybody.get(body["url"]).content == TEXT

    assert files.delete(f"{STORE}/files/{key}").status_code == 204
    assert files.get(f"{STORE}/files/{key}").status_code == 404
    assert files.get(f"{STORE}/usage").json()["used_bytes"] == 0
    with product.client() as anybody:
        assert anybody.get(body["url"]).status_code == 404


def test_a_picture_has_its_facts_and_a_small_picture(files: httpx.Client) -> None:
    body = upload(files, png(64, comment="canary"), "x.bin").json()

    assert (body["mime_type"], body["width"], body["height"]) == ("image/png", 64, 64)
    assert b"canary" not in files.get(f"{STORE}/files/{body['key']}").content
    assert httpx.get(body["thumbnail_url"]).headers["content-type"] == "image/webp"


@BOTH_MODES
def test_a_file_is_put_by_a_link_and_confirmed(product: Product, files: httpx.Client) -> None:
    asked = {"method": "put_object", "size": len(PDF), "content_type": "application/pdf"}
    link = files.post(f"{STORE}/presigned-url", json=asked).raise_for_status().json()
    early = files.post(f"{STORE}/confirm-upload", json={"key": link["key"]})
    with product.client() as anybody:
        put = anybody.put(link["url"], content=PDF, headers={"Content-Type": "application/pdf"})
    confirmed = files.post(f"{STORE}/confirm-upload", json={"key": link["key"]})

    assert (early.status_code, put.status_code, confirmed.status_code) == (409, 200, 200)
    assert files.get(f"{STORE}/files/{link['key']}").content == PDF
    got = files.post(f"{STORE}/presigned-url", json={"key": link["key"], "method": "get_object"})
    with product.client() as anybody:
        assert anybody.get(got.json()["url"]).content == PDF


def test_what_was_generated_is_a_file_too(user: User, files: httpx.Client) -> None:
    task = user.wait(user.generate("[[sim:canned]] a picture")["id"])

    (file,) = files.get(f"{STORE}/files", params={"kind": "output"}).json()["files"]
    assert file["key"] == task["outputs"][0]["key"]
    assert files.get(f"{STORE}/usage").json()["files"] == 1
    assert files.delete(f"{STORE}/files/{file['key']}").status_code == 204
    wait_until(lambda: files.get(f"{STORE}/usage").json()["files"] == 0)
    assert files.get(f"{STORE}/files").json()["files"] == []

    wait_until(lambda: user.wait(task["id"])["outputs"][0]["deleted"])
    shown = user.wait(task["id"])
    assert (shown["status"], shown["output_url"]) == ("completed", None)
    assert shown["outputs"][0]["url"] is None
    assert shown["credits_used"] == task["credits_used"]


@BOTH_MODES
def test_a_film_begins_with_its_users_uploaded_picture_and_a_strangers_is_refused(
    product: Product, user: User, files: httpx.Client
) -> None:
    """Right after the upload was answered. The simulator's film shows the bytes that it was given;
    what it makes of words alone has other colours."""
    key = upload(files, png(512), "a.png").json()["key"]
    film = made(user, "leonardo-motion-2", "it turns", aspect_ratio="1:1", input_image=key)
    with av.open(io.BytesIO(file_of(user, film["outputs"][0])), "r") as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(frame.mean(axis=(0, 1)) - (10, 120, 200)).max() < 12

    body = {"model_id": "nano-banana-pro", "prompt": "a cup", "options": {"input_image": key}}
    with new_user(product) as stranger:
        foreign = stranger.client.post(f"{V2}/generate", json=body)
    assert files.delete(f"{STORE}/files/{key}").status_code == 204
    wait_until(lambda: user.client.post(f"{V2}/generate", json=body).status_code == 422)
    gone = user.client.post(f"{V2}/generate", json=body)
    assert foreign.status_code == gone.status_code == 422
    assert foreign.json()["details"] == gone.json()["details"] == {"field": "options.input_image"}
    assert foreign.json()["message"] == gone.json()["message"]


def test_a_strangers_file_is_not_there(product: Product, files: httpx.Client) -> None:
    key = upload(files, TEXT).json()["key"]
    with new_user(product) as stranger, client_of(product, stranger) as theirs:
        answers = [
            theirs.get(f"{STORE}/files/{key}"),
            theirs.delete(f"{STORE}/files/{key}"),
            theirs.post(f"{STORE}/presigned-url", json={"key": key}),
            theirs.post(f"{STORE}/confirm-upload", json={"key": key}),
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert theirs.get(f"{STORE}/files").json()["files"] == []
    assert files.get(f"{STORE}/files/{key}").content == TEXT


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    "key",
    [
        "..",
        "../x",
        "uploads/%2e%2e/x",
        "uploads//x",
        "x%2fy",
        "x%5cy",
        "x;y",
        "x%00",
        "x%ff",
        "%2e",
        "uploads/../../../media/x",
        "%252e%252e%252fx",
        "uploads/%c0%ae%c0%ae/x",
        "uploads/x%0d%0aSet-Cookie:x",
        "/etc/passwd",
    ],
)
def test_whatever_a_key_tries_there_is_no_such_file(
    product: Product, files: httpx.Client, method: str, key: str
) -> None:
    url = httpx.URL(product.url)
    secret = files.headers["x-api-key"]
    head = f"{method} {STORE}/files/{key} HTTP/1.1\r\nHost: x\r\nX-API-Key: {secret}\r\n"
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == b"404"


def test_what_may_not_be_fetched_looks_like_what_is_not_there(files: httpx.Client) -> None:
    urls = ("http://127.0.0.1/", "http://169.254.169.254/", "http://[::1]:22/", "http://x.invalid/")
    answers = [files.post(f"{STORE}/upload-from-url", json={"url": url}) for url in urls]

    bodies = [answer.json() for answer in answers]
    assert {answer.status_code for answer in answers} == {502}
    assert all(body == bodies[0] for body in bodies)


def test_a_key_without_the_scope_is_refused(product: Product, user: User) -> None:
    key = new_key(product, user.token, ("storage:read",))
    with product.client(**{"X-API-Key": key}) as reader:
        asked = {"method": "put_object", "size": 1, "content_type": "text/plain"}
        assert reader.get(f"{STORE}/files").status_code == 200
        assert upload(reader, TEXT).status_code == 403
        assert reader.post(f"{STORE}/presigned-url", json=asked).status_code == 403
        assert reader.delete(f"{STORE}/files/uploads/x.txt").status_code == 403


@pytest.mark.parametrize("mode", ["memory", "separate"])
def test_fifty_uploads_at_once_into_room_for_ten_are_exactly_ten(mode: str) -> None:
    with prepared(mode) as product:
        product.settings = {
            **product.settings,
            "SMARTSPEC_STORAGE_QUOTAS": f"*={QUOTA}B",
        }
        with running(product), new_user(product) as user, client_of(product, user) as client:
            content = b"a" * (QUOTA // 10)
            with ThreadPoolExecutor(50) as threads:
                answers = list(threads.map(lambda _: upload(client, content), range(50)))
            usage = client.get(f"{STORE}/usage").json()
            statuses = sorted(answer.status_code for answer in answers)
            assert statuses == [201] * 10 + [413] * 40
            assert (usage["used_bytes"], usage["files"], usage["reserved_bytes"]) == (QUOTA, 10, 0)
