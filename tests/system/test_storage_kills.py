"""The process is killed at each point of a file's way in and out: nothing lies in the store that
the sweep does not name, no room is lost or made up, and every file that is kept is whole."""

import contextlib
import hashlib
import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from PIL import Image

from kernel.clock import random_token
from kernel.runtime import quiet_port
from tests.system import dying
from tests.system.conftest import prepared
from tests.system.product import (
    SCOPES,
    Product,
    User,
    holder_of,
    new_key,
    new_user,
    running,
    wait_until,
)

FILES: Final = "/api/v2/storage"
AN_HOUR_AND_MORE_S: Final = 7_200
BIG: Final = b"a line of a text that is long enough to be written in parts\n" * 200_000


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((512, 384), 50).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Product]:
    with prepared("memory") as product:
        product.module = "tests.system.dying"
        product.settings = {
            **product.settings,
            "PORT": str(quiet_port(int.from_bytes(random_token(2)))),
            "DYING_FOLDER": str(tmp_path),
            "SMARTSPEC_NSFW_CHECK": "false",
        }
        with running(product):
            yield product


@pytest.fixture
def user(mortal: Product) -> Iterator[User]:
    with new_user(mortal) as registered:
        key = new_key(
            mortal,
            registered.token,
            (*SCOPES, "storage:read", "storage:write", "storage:delete"),
        )
        with holder_of(mortal, registered.email, registered.token, key) as user:
            yield user


def upload(user: User, content: bytes) -> httpx.Response:
    form = {"file": ("name.bin", content, "application/octet-stream")}
    return user.client.post(f"{FILES}/upload", files=form)


def listed(user: User) -> list[dict[str, Any]]:
    answer = user.client.get(f"{FILES}/files", params={"limit": 100}).raise_for_status()
    return list(answer.json()["files"])


def delete_newest(user: User) -> None:
    user.client.delete(f"{FILES}/files/{listed(user)[0]['key']}")


def used(user: User) -> tuple[int, int]:
    """Bytes and files, as usage tells them."""
    body = user.client.get(f"{FILES}/usage").raise_for_status().json()
    return body["used_bytes"], body["files"]


def test_a_process_that_is_killed_anywhere_loses_nothing_and_leaves_nothing_unnamed(
    mortal: Product, user: User, tmp_path: Path
) -> None:
    small = picture()
    assert upload(user, small).status_code == 201
    link = put_by_link(user, small)
    lives: Mapping[str, Callable[[], object]] = {
        dying.WHILE_RECEIVING: lambda: upload(user, BIG),
        dying.AFTER_RESERVE: lambda: upload(user, small),
        dying.AFTER_PUT: lambda: upload(user, small),
        dying.BETWEEN_PUTS: lambda: user.generate("of two [[sim:canned]]"),
        dying.AFTER_STORING: lambda: user.generate("of one [[sim:canned]]"),
        dying.BEFORE_DELETION: lambda: user.client.delete(
            f"{FILES}/files/{listed(user)[0]['key']}"
        ),
    }
    for point, act in lives.items():
        killed_at(mortal, tmp_path, point, act)
        wait_until(lambda: all(task["completed_at"] for task in user.tasks()), timeout_s=60)
    killed_at(mortal, tmp_path, dying.AFTER_PUT, lambda: confirm(user, link))
    wait_until(lambda: confirm(user, link).status_code == 200, timeout_s=120)
    wait_until(lambda: not mortal.rows("SELECT FROM storage.uploads"), timeout_s=60)

    assert [task["status"] for task in user.tasks()] == ["completed"] * 2
    files = listed(user)
    assert len(files) == 3, "one of two generated is deleted; two uploads are kept"
    assert used(user) == (sum(file["size"] for file in files), 3)
    for file in files:
        content = user.client.get(f"{FILES}/files/{file['key']}").raise_for_status().content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            file["size"],
            file["sha256"],
        )
        assert user.client.get(file["url"]).content == content
    assert mortal.interrupt()[0] == 0
    assert left_over(mortal) == ["sweep: whole: 6 objects, 3 files, 1 users"]


def killed_at(product: Product, folder: Path, point: str, act: Callable[[], object]) -> None:
    """What is done when the process dies at `point`, which is started again afterwards."""
    (folder / point).touch()
    with contextlib.suppress(httpx.TransportError):  # it may die before it answers
        act()
    wait_until(lambda: product.process.poll() is not None, timeout_s=30)
    assert not (folder / point).exists()
    product.kill()
    product.start()


def put_by_link(user: User, content: bytes) -> str:
    """Reserved and put, not confirmed: the key."""
    asked = {
        "method": "put_object",
        "size": len(content),
        "content_type": "image/png",
        "expires_in": 600,
    }
    link = user.client.post(f"{FILES}/presigned-url", json=asked).raise_for_status().json()
    put = user.client.put(link["url"], content=content, headers={"Content-Type": "image/png"})
    assert put.status_code == 200, put.text
    return str(link["key"])


def confirm(user: User, key: str) -> httpx.Response:
    return user.client.post(f"{FILES}/confirm-upload", json={"key": key})


def left_over(product: Product, *arguments: str, status: int = 0) -> list[str]:
    """What the command line says once nothing is young any more."""
    then = time.time() - AN_HOUR_AND_MORE_S  # noqa: TID251 - files' times are the machine's
    for path in (product.home / "objects").rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
    ended = subprocess.run(
        [product.python, "-m", "services.storage", "sweep", *arguments],
        cwd=product.home.parent,
        env=product.environment(),
        user=product.user,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stdout + ended.stderr
    return [line for line in ended.stdout.splitlines() if line.startswith("sweep: ")]


def test_the_sweep_names_what_was_planted_and_deletes_it_when_it_is_told_to(
    mortal: Product, user: User
) -> None:
    assert upload(user, picture()).status_code == 201
    assert mortal.interrupt()[0] == 0
    planted = mortal.home / "objects/uploads" / f"{'ab' * 16}.png"
    planted.write_bytes(b"planted")
    line = f"object: no_row_names_it: uploads/{planted.name} (7 bytes)"
    assert left_over(mortal, status=1) == [
        f"sweep: {line}",
        "sweep: 1 findings: 3 objects, 1 files, 1 users",
    ]
    assert left_over(mortal, "--delete") == [
        f"sweep: deleted: {line}",
        "sweep: whole: 1 objects deleted, 3 objects, 1 files, 1 users",
    ]
    assert not planted.exists()
