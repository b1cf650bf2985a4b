import asyncio
import io
import json
import subprocess
import sys
from typing import Any

import httpx
import pytest
from PIL import Image

CREATE = "/kie/api/v1/jobs/createTask"


async def test_makes_a_real_picture_of_the_size_asked_for(vendor: Any) -> None:
    async with vendor() as kie:
        task = await kie.created("sunset over mountains", aspect_ratio="16:9", output_format="jpg")
        data = await kie.done(task)
        assert data["state"] == "success"
        (link,) = json.loads(data["resultJson"])["resultUrls"]
        answer = await kie.http.get(link)
        image = Image.open(io.BytesIO(answer.content))
        image.load()
        assert (image.size, image.format) == ((1376, 768), "JPEG")
        assert answer.headers["content-type"] == "image/jpeg"


async def test_answers_in_the_vendors_own_shape(canned: Any) -> None:
    data = await canned.done(await canned.created("a cat", resolution="2K"))
    assert json.loads(data["param"])["input"] == {"prompt": "a cat", "resolution": "2K"}
    assert data["model"] == "nano-banana-pro"
    assert data["createTime"] <= data["completeTime"] == data["updateTime"]
    assert data["createTime"] > 1_700_000_000_000
    assert (data["failCode"], data["progress"]) == ("", 100)


async def test_a_canned_picture_is_small_and_done_at_once(canned: Any) -> None:
    task = await canned.created("a cat", output_format="jpg")
    data = (await canned.look(task))["data"]
    assert data["state"] == "success"
    (link,) = json.loads(data["resultJson"])["resultUrls"]
    image = Image.open(io.BytesIO((await canned.http.get(link)).content))
    image.load()
    assert image.size == (64, 64)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic x"}])
async def test_refuses_to_work_without_a_key(canned: Any, header: dict[str, str]) -> None:
    for method, path in (
        ("POST", CREATE),
        ("GET", "/kie/api/v1/jobs/recordInfo?taskId=x"),
        ("GET", "/kie/api/v1/chat/credit"),
    ):
        answer = await canned.http.request(method, path, headers=header)
        assert (answer.status_code, answer.json()["code"]) == (200, 401)


async def test_refuses_an_invalid_order_in_the_body(canned: Any) -> None:
    answer = await canned.create("")
    assert (answer["code"], answer["data"]) == (422, None)


async def test_does_not_know_an_unknown_task_or_another_keys(canned: Any) -> None:
    task = await canned.created("a cat")
    assert (await canned.look("nothing"))["code"] == 404
    assert (await canned.look(task, key="other"))["code"] == 404


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'"' + b"x" * 1_100_000 + b'"'])
async def test_refuses_a_body_that_is_no_json_or_too_large(canned: Any, body: bytes) -> None:
    answer = await canned.http.post(CREATE, content=body, headers={"Authorization": "Bearer k"})
    assert answer.json()["code"] == 400


async def test_charges_each_key_for_its_own_successes(canned: Any) -> None:
    await canned.done(await canned.created("a cat", key="a"), key="a")
    await canned.done(await canned.created("[[sim:fail]]", key="a"), key="a")
    credit = {
        key: (
            await canned.http.get(
                "/kie/api/v1/chat/credit", headers={"Authorization": f"Bearer {key}"}
            )
        ).json()["data"]
        for key in ("a", "b")
    }
    assert credit == {"a": 1_000_000 - 18, "b": 1_000_000}
    (bill,) = (await canned.http.get("/_bill")).json()["bills"]
    assert (bill["succeeded"], bill["failed"], bill["charged_credits"]) == (1, 1, 18)


async def test_refuses_a_key_whose_credits_are_spent(vendor: Any) -> None:
    async with vendor(canned=True, granted_credits=20) as kie:
        await kie.created("a cat")
        assert (await kie.create("a cat"))["code"] == 402


async def test_the_journal_tells_what_was_asked_but_never_a_key(canned: Any) -> None:
    await canned.created("a cat", key="sk-very-secret-key")
    await canned.create("", key="sk-very-secret-key")
    asked = await canned.asked()
    assert [(one["prompt"], one["code"]) for one in asked] == [("a cat", 200), ("", 422)]
    assert "very-secret" not in (await canned.http.get("/_journal")).text


async def test_a_given_seed_decides_the_bytes(vendor: Any) -> None:
    async with vendor() as kie:
        tasks = [await kie.created("a cat", seed=9) for _ in range(2)]
        links = [json.loads((await kie.done(t))["resultJson"])["resultUrls"][0] for t in tasks]
        first, second = [(await kie.http.get(link)).content for link in links]
        assert first == second
        assert links[0] != links[1]


async def test_twenty_pictures_are_all_made(vendor: Any) -> None:
    async with vendor(workers=2, warm_after_s=0) as kie:
        tasks = [await kie.created(f"cat number {n}") for n in range(20)]
        results = await asyncio.gather(*(kie.done(task) for task in tasks))
        assert [one["state"] for one in results] == ["success"] * 20


async def test_refuses_more_work_than_it_can_hold(vendor: Any) -> None:
    async with vendor(max_unfinished=1) as kie:
        codes = {(await kie.create("a forest", resolution="4K"))["code"] for _ in range(6)}
        assert codes == {200, 429}


async def test_stops_at_once_even_with_work_queued(vendor: Any) -> None:
    async with vendor() as kie:
        for _ in range(6):
            await kie.created("a snowy mountain forest", resolution="4K")
        loop = asyncio.get_running_loop()
        before = loop.time()
    assert loop.time() - before < 1.5


def test_importing_the_app_loads_no_drawing_library() -> None:
    code = (
        "import sys, services.simulator.app as a;"
        "sys.exit(any(m in sys.modules for m in ('numpy', 'PIL', 'av', 'hibari', 'onnxruntime')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_an_unknown_file_is_not_found(canned: Any) -> None:
    answers: list[httpx.Response] = [
        await canned.http.get(f"/kie/files/{name}") for name in ("x.png", "..%2Fjournal.jsonl")
    ]
    assert [one.status_code for one in answers] == [404, 404]
