"""Tasks are followed through the gateway, as they go on, in every way to run it."""

import contextlib
import json
import signal
from collections.abc import Iterator
from typing import Any

import httpx

from tests.system.conftest import BOTH_MODES, prepared
from tests.system.product import V2, Product, User, new_user, running, wait_until

SLOW = "[[sim:latency seconds=1]] a slow pear"
Frame = dict[str, str]


@contextlib.contextmanager
def following(user: User, task: str, known: str | None = None) -> Iterator[Iterator[Frame]]:
    path = f"{V2}/tasks/{task}/events"
    headers = {} if known is None else {"Last-Event-ID": known}
    with user.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield frames(answer)


def frames(answer: httpx.Response) -> Iterator[Frame]:
    frame: Frame = {}
    for line in answer.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            frame[name] = value
        elif frame:
            yield frame
            frame = {}


def tasks_in(found: list[Frame]) -> list[tuple[int, dict[str, Any]]]:
    return [(int(one["id"]), json.loads(one["data"])) for one in found if one["event"] == "task"]


@BOTH_MODES
def test_each_change_is_seen_as_it_comes_and_once_over_a_reconnection(
    product: Product, user: User
) -> None:
    task = user.generate(SLOW, resolution="512x512")["id"]
    with following(user, task) as stream:
        first = next(one for one in stream if one["event"] == "task")
    assert json.loads(first["data"])["status"] in {"pending", "processing"}
    with following(user, task, first["id"]) as stream:
        found = tasks_in([first, *stream])
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert [body["status"] for _, body in found] == ["pending", "processing", "completed"]
    path = f"{V2}/tasks/{task}/events"
    again = user.client.get(path, headers={"Last-Event-ID": str(numbers[-1])})
    assert again.status_code == 204
    with product.client(Authorization=f"Bearer {user.token}") as signed_in:
        polled = signed_in.get(path, headers={"Accept": "application/json"}).raise_for_status()
    assert [entry["version"] for entry in polled.json()["events"]] == numbers
    with product.client() as anonymous:
        assert anonymous.get(path).status_code == 401


def test_a_removed_task_leaves_no_picture_and_its_price_stays(user: User) -> None:
    task = user.generate("[[sim:canned]] a pear", resolution="512x512")["id"]
    done = user.wait(task)
    assert httpx.get(done["output_url"], trust_env=False).status_code == 200
    assert user.client.delete(f"{V2}/tasks/{task}").json()["task"]["status"] == "completed"
    assert user.client.get(f"{V2}/tasks/{task}").status_code == 404
    assert user.client.delete(f"{V2}/tasks/{task}").status_code == 404
    assert user.tasks() == []
    links = (done["output_url"], done["thumbnail_url"])
    wait_until(lambda: {httpx.get(link, trust_env=False).status_code for link in links} == {404})
    assert user.balance()["used_credits"] == 1.0


def test_streams_end_in_order_where_the_product_does() -> None:
    with prepared("separate") as own, running(own) as product, new_user(product) as user:
        task = user.generate("[[sim:latency seconds=60]] a slow pear")["id"]
        with following(user, task) as stream:
            next(stream)
            product.process.send_signal(signal.SIGINT)
            for _ in stream:  # it raises when the connection breaks off
                pass
        assert product.process.wait(30) == 0
        assert "Traceback" not in product.words()
