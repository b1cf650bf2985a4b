"""kie.ai's films, speech, uploads, links and its limit of new tasks."""

import base64
import json
from typing import Any

import pytest

from services.simulator.adapters.png import canned_png
from services.simulator.domain.commissions import Film, Speech
from services.simulator.domain.kie import FILMS, SPEECHES, read_order
from services.simulator.domain.orders import Refused
from tests.simulator.clients import VENDORS, bearer
from tests.simulator.conftest import Caller, Vendor

FIRST_FRAME = canned_png(7, 64)
WAN, WAN_IMAGE = sorted(FILMS, reverse=True)
MULTILINGUAL, TURBO = sorted(SPEECHES)
API = "/kie/api"
KEY = bearer("k")


def order(model: str, **given: Any) -> dict[str, Any]:
    return {"model": model, "input": given}


@pytest.mark.parametrize(
    ("resolution", "ratio", "size", "seconds", "price"),
    [
        ("720p", "16:9", (1280, 720), "5", 70),
        ("720p", "9:16", (720, 1280), "10", 140),
        ("1080p", "16:9", (1920, 1080), "15", 315),
        ("1080p", "4:3", (1440, 1080), "5", 105),
        ("720p", "1:1", (720, 720), "5", 70),
    ],
)
def test_a_film_has_the_size_length_and_price_asked_for(
    resolution: str, ratio: str, size: tuple[int, int], seconds: str, price: int
) -> None:
    given = {"prompt": "a cat", "resolution": resolution, "aspect_ratio": ratio}
    read = read_order(order(WAN, **given, duration=seconds))
    assert isinstance(read.commission, Film)
    assert (read.commission.width, read.commission.height) == size
    assert (read.commission.duration_s, read.price_credits) == (int(seconds), price)


def test_speech_is_priced_by_the_thousand_characters_begun() -> None:
    read = read_order(order(MULTILINGUAL, text="x" * 1001, voice="Rachel", speed=1.2))
    assert isinstance(read.commission, Speech)
    assert (read.commission.voice, read.commission.speed, read.price_credits) == ("heart", 1.2, 24)
    assert read_order(order(TURBO, text="x")).price_credits == 6


@pytest.mark.parametrize(
    "body",
    [
        order(WAN, prompt="a cat", duration=5),
        order(WAN, prompt="a cat", duration="7"),
        order(WAN, prompt="a cat", resolution="480p"),
        order(WAN, prompt="a cat", aspect_ratio="21:9"),
        order(WAN, prompt="x"),
        order(WAN, prompt="a cat", multi_shots="yes"),
        order(WAN, prompt="a cat", image_urls=["https://u.test/"]),
        order(WAN_IMAGE, prompt="a cat"),
        order(WAN_IMAGE, prompt="a cat", image_urls=["ftp://u.test/"]),
        order(MULTILINGUAL, text=""),
        order(MULTILINGUAL, text="x" * 5001),
        order(MULTILINGUAL, text="x", speed=2),
        order(MULTILINGUAL, text="x", stability=1.5),
        order(MULTILINGUAL, text="x", voice=5),
        order(MULTILINGUAL, text="สวัสดี"),
        {**order(WAN, prompt="a cat"), "callBackUrl": "file:///etc/passwd"},
    ],
)
def test_refuses_an_order_the_vendor_would_refuse(body: object) -> None:
    with pytest.raises(Refused) as refused:
        read_order(body)
    assert refused.value.code == 422


async def test_more_new_tasks_than_a_window_takes_are_dropped(canned: Caller) -> None:
    await canned.scenario("task_limit", key="a", tasks=2, seconds=60)
    codes = [(await canned.create("a cat", key=key))["code"] for key in ("a", "a", "a", "b")]
    assert codes == [200, 200, 429, 200]
    (bill, _) = (await canned.http.get("/_bill")).json()["bills"]
    assert bill["accepted"] == 2
    await canned.http.delete("/_scenarios")
    assert (await canned.create("a cat", key="a"))["code"] == 200


async def test_a_setting_holds_every_key_to_twenty_tasks(vendor: Vendor) -> None:
    async with vendor(canned=True, kie_task_limit=True) as caller:
        codes = [(await caller.create("a cat"))["code"] for _ in range(21)]
        assert codes == [200] * 20 + [429]


async def test_pictures_are_handed_over_in_three_ways(vendor: Vendor) -> None:
    async with vendor(canned=True) as caller:
        http = caller.http
        data = base64.b64encode(FIRST_FRAME).decode()
        given = {"uploadPath": "images"}
        first = await http.post(
            f"{API}/file-base64-upload",
            json={**given, "base64Data": f"data:image/png;base64,{data}"},
            headers=KEY,
        )
        url = first.json()["data"]["downloadUrl"]
        second = await http.post(
            f"{API}/file-url-upload", json={**given, "fileUrl": url}, headers=KEY
        )
        third = await http.post(
            f"{API}/file-stream-upload",
            data={**given, "fileName": "mine.png"},
            files={"file": ("x.png", FIRST_FRAME)},
            headers=KEY,
        )
        found = [answer.json()["data"] for answer in (first, second, third)]
        assert {one["fileUrl"] for one in found} == {url}
        assert {one["mimeType"] for one in found} == {"image/png"}
        assert found[2]["fileName"] == "mine.png"
        assert (await http.get(url)).content == FIRST_FRAME


@pytest.mark.parametrize(
    ("way", "body", "code"),
    [
        ("base64", {"base64Data": "?", "uploadPath": "x"}, 422),
        (
            "base64",
            {"base64Data": base64.b64encode(b"no picture").decode(), "uploadPath": "x"},
            400,
        ),
        ("base64", {"base64Data": base64.b64encode(FIRST_FRAME).decode()}, 422),
        ("url", {"fileUrl": "http://192.0.2.1/x.png", "uploadPath": "x"}, 422),
        ("url", {"fileUrl": "http://127.0.0.1:1/x.png", "uploadPath": "x"}, 500),
        ("stream", {}, 400),
        ("base64", [], 422),
    ],
)
async def test_refuses_what_is_no_picture(canned: Caller, way: str, body: Any, code: int) -> None:
    answer = await canned.http.post(f"{API}/file-{way}-upload", json=body, headers=KEY)
    assert answer.json()["code"] == code


async def test_a_film_begins_with_the_picture_handed_over(vendor: Vendor) -> None:
    wan = VENDORS["kie"]
    async with vendor(canned=True) as caller:
        upload = await caller.http.post(
            f"{API}/file-stream-upload",
            data={"uploadPath": "x"},
            files={"file": ("x.png", FIRST_FRAME)},
            headers=KEY,
        )
        url = upload.json()["data"]["fileUrl"]
        ends = []
        for one in (url, url.replace("uploads/", "uploads/0")):
            body = order(WAN_IMAGE, prompt="a cat", image_urls=[one])
            answer = await caller.http.post(wan.path, json=body, headers=KEY)
            ends.append(await wan.done(caller.http, wan.read_id(answer.json())))
        assert [end.code for end in ends] == ["", "422"]


async def test_an_expired_link_is_made_anew(canned: Caller) -> None:
    data = await canned.done(await canned.created("a cat [[sim:expired_link]]"))
    (link,) = json.loads(data["resultJson"])["resultUrls"]
    assert (await canned.http.get(link)).status_code == 403
    path = f"{API}/v1/common/download-url"
    fresh = await canned.http.post(path, json={"url": link}, headers=KEY)
    assert (await canned.http.get(fresh.json()["data"])).status_code == 200
    others = await canned.http.post(path, json={"url": link}, headers=bearer("other"))
    assert others.json()["code"] == 422
