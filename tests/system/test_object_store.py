"""The whole product with its objects in a bucket of an S3 server that checks signatures."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from kernel.clock import SystemClock
from kernel.encryption import Encryption
from kernel.links import MediaLinks
from kernel.objects.bucket import Bucket
from tests.s3_server import S3Server, s3_server, waiting_client
from tests.system.conftest import prepared
from tests.system.product import V2, Product, User, new_user, running, wait_until

__all__ = ["s3_server"]


def settings_of(bucket: Bucket) -> dict[str, str]:
    return {
        "CLOUDFLARE_R2_ACCESS_KEY_ID": bucket.access_key_id,
        "CLOUDFLARE_R2_SECRET_ACCESS_KEY": bucket.secret,
        "CLOUDFLARE_R2_BUCKET_NAME": bucket.name,
        "CLOUDFLARE_R2_ENDPOINT": bucket.endpoint,
        "SMARTSPEC_S3_REGION": bucket.region,
    }


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> Bucket:
    return s3_server.new_bucket()


@pytest.fixture(scope="module")
def product(bucket: Bucket) -> Iterator[Product]:
    with prepared("separate") as product:
        product.settings = {**product.settings, **settings_of(bucket)}
        with running(product):
            yield product


@pytest.fixture
def user(product: Product) -> Iterator[User]:
    with new_user(product) as user:
        yield user


def keys_in(bucket: Bucket, prefix: str = "") -> set[str]:
    page = waiting_client(bucket).list_objects_v2(Bucket=bucket.name, Prefix=prefix)
    return {entry["Key"] for entry in page.get("Contents", ())}


def made(user: User) -> dict[str, Any]:
    task = user.wait(user.generate("a lighthouse at dawn")["id"])
    assert task["status"] == "completed", task["error"]
    return task


def proof(product: Product, *command: str) -> tuple[int, str]:
    """Exit status and words of a command beside the product, set as it is."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=product.environment(),
        cwd=product.home.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_an_output_is_opened_by_a_link_into_the_bucket(
    product: Product, user: User, bucket: Bucket
) -> None:
    output = made(user)["outputs"][0]

    assert urlsplit(output["url"]).netloc == urlsplit(bucket.endpoint).netloc
    answer = httpx.get(output["url"])
    small = httpx.get(output["thumbnail_url"])

    assert (answer.status_code, answer.headers["content-type"]) == (200, output["mime_type"])
    assert hashlib.sha256(answer.content).hexdigest() == output["sha256"]
    assert (small.status_code, small.headers["content-type"]) == (200, "image/webp")
    assert httpx.get(f"{output['url'][:-4]}0000").status_code == 403
    assert not (product.home / "objects").exists()
    assert list((product.home / "incoming").iterdir()) == []


def test_storages_own_links_serve_what_is_in_the_bucket(product: Product, user: User) -> None:
    """As those that were handed out before the bucket was."""
    output = made(user)["outputs"][0]
    whole = httpx.get(output["url"]).content
    link = media_link(product, output["key"])

    with product.client() as anonymous:
        got = anonymous.get(link)
        assert got.content == whole, got.text[:200]
        part = anonymous.get(link, headers={"range": "bytes=10-19"})

    assert (part.status_code, part.content) == (206, whole[10:20])


def media_link(product: Product, key: str) -> str:
    secrets = json.loads((product.home / "secrets.json").read_text())
    encryption = Encryption(tuple(secrets["master_keys"]))
    links = MediaLinks(encryption.derived_secret("links"), product.url)
    return links.sign(key, expires_at=SystemClock().now() + timedelta(hours=1))


def test_what_is_removed_leaves_the_bucket(user: User, bucket: Bucket) -> None:
    task = made(user)
    output = task["outputs"][0]
    assert output["key"] in keys_in(bucket)

    user.client.delete(f"{V2}/tasks/{task['id']}").raise_for_status()

    thumbnail = urlsplit(output["thumbnail_url"]).path.removeprefix(f"/{bucket.name}/")
    wait_until(lambda: not {output["key"], thumbnail} & keys_in(bucket))
    assert httpx.get(output["url"]).status_code == 404


def test_seals_are_in_the_bucket_and_prove_the_logs(
    product: Product, user: User, bucket: Bucket
) -> None:
    made(user)
    product.rows("UPDATE keys.audit_seals SET due_at = now()")
    wait_until(lambda: bool(keys_in(bucket, "audit/seals/")))
    wait_until(lambda: bool(keys_in(bucket, "ledger/")))

    audit = proof(product, "services.keys", "audit", "verify")
    ledger = proof(product, "services.credits", "ledger", "verify")

    assert audit[0] == 0, audit[1]
    assert ledger[0] == 0, ledger[1]

    seal = min(keys_in(bucket, "audit/seals/"))
    waiting_client(bucket).delete_object(Bucket=bucket.name, Key=seal)

    assert proof(product, "services.keys", "audit", "verify")[0] == 1


def test_refuses_to_start_with_a_secret_that_the_server_refuses(bucket: Bucket) -> None:
    with prepared("memory") as product:
        product.settings = {
            **product.settings,
            **settings_of(bucket),
            "CLOUDFLARE_R2_SECRET_ACCESS_KEY": "x" * 40,
        }

        status, words = product.words_at_end()

    assert status == 1
    assert "SmartSpec can't start: the object store refuses us bucket" in words
    assert "CLOUDFLARE_R2_SECRET_ACCESS_KEY" in words
    assert "Traceback" not in words
    assert "x" * 40 not in words


def test_neither_the_secret_nor_a_link_is_in_what_the_processes_say(
    product: Product, user: User, bucket: Bucket
) -> None:
    made(user)

    words = product.words()

    assert bucket.secret not in words
    assert "X-Amz-Signature" not in words


def test_the_sweep_finds_a_file_whose_object_is_not_in_the_bucket(
    product: Product, user: User, bucket: Bucket
) -> None:
    key = made(user)["outputs"][0]["key"]
    assert proof(product, "services.storage", "sweep")[0] == 0

    waiting_client(bucket).delete_object(Bucket=bucket.name, Key=key)
    status, words = proof(product, "services.storage", "sweep")

    assert status == 1, words
    assert f"sweep: row: no_object: {key}" in words
