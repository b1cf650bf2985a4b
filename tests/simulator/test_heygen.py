"""HeyGen's own: idempotency keys, pages, assets, and what v3 and v2 refuse."""

from typing import Any

import pytest

from services.simulator.adapters.png import canned_png
from services.simulator.domain.commissions import Avatar
from services.simulator.domain.heygen import LOOKS, VOICES, read_v2, read_v3
from services.simulator.domain.orders import Refused
from tests.simulator.clients import LOOK, VENDORS, heygen_v2, heygen_v3, x_api_key
from tests.simulator.conftest import Caller, Vendor

KEY = x_api_key("k")
VIDEOS = VENDORS["heygen"]


def scenes(*given: Any) -> dict[str, Any]:
    return {"video_inputs": list(given)}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], 400),
        (heygen_v3(""), 400),
        (heygen_v3("x" * 5001), 400),
        (heygen_v3("Hello.", type="studio"), 400),
        (heygen_v3("Hello.", resolution="480p"), 400),
        (heygen_v3("Hello.", aspect_ratio="4:3"), 400),
        (heygen_v3("Hello.", output_format="webm"), 400),
        (heygen_v3("Hello.", audio_url="https://u.test/a.mp3"), 400),
        (heygen_v3("Hello.", voice_settings={"speed": 9}), 400),
        (heygen_v3("Hello.", engine={"type": "avatar_ix"}), 400),
        (heygen_v3("Hello.", caption="yes"), 400),
        (heygen_v3("Hello.", callback_url="here"), 400),
        (heygen_v3("Hello.", type="image", image={"type": "base64"}), 400),
        (heygen_v3("Hello.", avatar_id="nobody"), 404),
        (heygen_v3("Hello.", voice_id="nobody"), 404),
        (heygen_v3("[[sim:fail]]"), 400),
        (heygen_v3("Привет"), 400),
    ],
)
def test_v3_refuses_what_the_vendor_would(body: object, code: int) -> None:
    with pytest.raises(Refused) as refused:
        read_v3(body)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        {},
        scenes(),
        scenes(*[{}] * 51),
        scenes(7),
        scenes({"character": {"avatar_id": LOOK}, "voice": {"type": "audio"}}),
        heygen_v2("Hello.", dimension={"width": 64, "height": 64}),
        heygen_v2("Hello.", dimension=[1280, 720]),
        heygen_v2("Hello.", dimension={"width": 3840, "height": 3840}),
    ],
)
def test_v2_refuses_what_the_vendor_would(body: object) -> None:
    with pytest.raises(Refused) as refused:
        read_v2(body)
    assert refused.value.code == 400


def test_an_avatar_is_as_large_and_fast_and_costs_as_asked() -> None:
    settings = {"speed": 1.5, "emotion": "Excited"}
    read = read_v3(
        heygen_v3("x" * 150, resolution="720p", aspect_ratio="9:16", caption=True)
        | {"voice_settings": settings, "engine": {"type": "avatar_iii"}}
    )
    assert isinstance(read.commission, Avatar)
    assert (read.commission.width, read.commission.height) == (720, 1280)
    assert (read.commission.caption, read.commission.emotion) == (True, "happy")
    assert read.price_credits == 7 * 2


def test_v2s_scenes_are_spoken_as_one_and_a_test_costs_nothing() -> None:
    body = heygen_v2("One.", test=True, dimension={"width": 1081, "height": 720})
    body["video_inputs"] += heygen_v2("Two.")["video_inputs"]
    read = read_v2(body)
    assert isinstance(read.commission, Avatar)
    assert (read.commission.script, read.commission.width) == ("One.\nTwo.", 1080)
    assert read.price_credits == 0


async def test_one_idempotency_key_is_one_video(vendor: Vendor) -> None:
    async with vendor(canned=True) as caller:
        once = {"idempotency-key": "one"}
        answers = [await VIDEOS.create(caller.http, "Hello.", headers=once) for _ in range(2)]
        assert answers[0].json() == answers[1].json()
        changed = await VIDEOS.create(caller.http, "Goodbye.", headers=once)
        assert (changed.status_code, changed.json()["error"]["code"]) == (409, "conflict")
        others = await VIDEOS.create(caller.http, "Hello.", key="other", headers=once)
        assert others.json() != answers[0].json()
        assert (await caller.http.get("/_bill")).json()["bills"][0]["accepted"] == 1


async def test_a_refused_request_leaves_its_idempotency_key_free(canned: Caller) -> None:
    await canned.scenario("rate_limited_then_ok", next_n=1)
    once = {"idempotency-key": "one"}
    codes = [
        (await VIDEOS.create(canned.http, "Hello.", headers=once)).status_code for _ in range(2)
    ]
    assert codes == [429, 200]


async def test_lists_come_in_pages(canned: Caller) -> None:
    found, token = [], ""
    for _ in range(len(VOICES)):
        path = f"/heygen/v3/voices?limit=4&token={token}"
        page = (await canned.http.get(path, headers=KEY)).json()
        found += [one["voice_id"] for one in page["data"]]
        token = page["next_token"]
        if not page["has_more"]:
            break
    assert found == list(VOICES)
    for wrong in ("limit=0", "limit=101", "limit=" + "9" * 5000, "token=x", "limit=²"):
        answer = await canned.http.get(f"/heygen/v3/voices?{wrong}", headers=KEY)
        assert answer.json()["error"]["code"] == "validation_error"


async def test_an_avatars_look_can_be_ordered(canned: Caller) -> None:
    avatars = (await canned.http.get("/heygen/v3/avatars", headers=KEY)).json()["data"]
    path = f"/heygen/v3/avatars/looks?group_id={avatars[0]['id']}"
    looks = (await canned.http.get(path, headers=KEY)).json()["data"]
    assert len(looks) == avatars[0]["looks_count"]
    body = {"type": "avatar", "avatar_id": looks[0]["id"], "script": "Hello."}
    assert (await canned.http.post(VIDEOS.path, json=body, headers=KEY)).status_code == 200
    old = (await canned.http.get("/heygen/v2/avatars", headers=KEY)).json()["data"]["avatars"]
    assert [one["avatar_id"] for one in old] == list(LOOKS)
    voices = (await canned.http.get("/heygen/v2/voices", headers=KEY)).json()["data"]["voices"]
    assert [one["voice_id"] for one in voices] == list(VOICES)


async def test_a_picture_that_was_handed_over_speaks(canned: Caller) -> None:
    files = {"file": ("me.png", canned_png(1, 64))}
    asset = await canned.http.post("/heygen/v3/assets", files=files, headers=KEY)
    ends = []
    for one in (asset.json()["data"]["asset_id"], "nothing"):
        image = {"type": "asset_id", "asset_id": one}
        body = {"type": "image", "image": image, "script": "Hello."}
        answer = await canned.http.post(VIDEOS.path, json=body, headers=KEY)
        ends.append(await VIDEOS.done(canned.http, VIDEOS.read_id(answer.json())))
    assert [end.code for end in ends] == ["", "download_failed"]
    nothing = await canned.http.post(
        "/heygen/v3/assets", files={"file": ("x", b"text")}, headers=KEY
    )
    assert nothing.status_code == 400


async def test_what_was_spent_is_no_longer_left(canned: Caller) -> None:
    path = "/heygen/v2/user/remaining_quota"
    before = (await canned.http.get(path, headers=KEY)).json()["data"]["remaining_quota"]
    await VIDEOS.done(canned.http, await VIDEOS.created(canned.http))
    after = (await canned.http.get(path, headers=KEY)).json()["data"]["remaining_quota"]
    assert before - after == 5
