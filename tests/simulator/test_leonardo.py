"""Leonardo's own: films of pictures, deleting, its queue's end, its quota."""

import json
from typing import Any

import pytest

from services.simulator.adapters.png import canned_png
from services.simulator.domain.commissions import Film, Picture
from services.simulator.domain.leonardo import (
    FILMS,
    FILMS_V2,
    IMAGES,
    read_extension,
    read_image_to_video,
    read_text_to_video,
    read_v2,
)
from services.simulator.domain.orders import Refused
from tests.simulator.clients import VENDORS, bearer, leonardo_v2
from tests.simulator.conftest import Caller, Vendor

V1 = "/leonardo/api/rest/v1"
KEY = bearer("k")
FILM = VENDORS["leonardo_film"]
IMAGE = VENDORS["leonardo"]


@pytest.mark.parametrize("model", sorted(IMAGES))
def test_a_picture_has_the_size_asked_for(model: str) -> None:
    picture = read_v2(leonardo_v2("a cat", model, width=1024, height=768, seed=5)).commission
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height, picture.seed) == (1024, 768, 5)


@pytest.mark.parametrize("model", sorted(FILMS_V2))
def test_v2_makes_films_too(model: str) -> None:
    read = read_v2(leonardo_v2("a cat", model, width=720, height=1280))
    assert isinstance(read.commission, Film)
    assert read.commission.width < read.commission.height
    assert (read.model, read.price_credits > 0) == (model, True)


@pytest.mark.parametrize("model", sorted(FILMS))
def test_v1_makes_films_of_words_and_of_pictures(model: str) -> None:
    body = {"prompt": "a cat", "model": model, "resolution": "RESOLUTION_720"}
    film = read_text_to_video(body).commission
    assert isinstance(film, Film)
    assert (film.width, film.height) == (1280, 720)
    assert read_image_to_video({**body, "imageType": "UPLOADED", "imageId": "i"}).inputs == ("i",)


def test_refuses_what_the_vendor_would() -> None:
    guides = {"image_reference": [{"id": 5}]}
    wrong: list[tuple[Any, Any]] = [
        (read_v2, []),
        (read_v2, leonardo_v2("")),
        (read_v2, leonardo_v2("a cat", "imagen-9")),
        (read_v2, leonardo_v2("a cat", "flux-pro-2.0", width=2048)),
        (read_v2, leonardo_v2("a cat", quantity=2)),
        (read_v2, leonardo_v2("a cat", guidances=guides)),
        (read_text_to_video, {"prompt": "a cat", "duration": 7}),
        (read_text_to_video, {"prompt": "a cat", "resolution": "RESOLUTION_1080"}),
        (read_image_to_video, {"prompt": "a cat"}),
        (read_image_to_video, {"prompt": "a cat", "imageType": "UPLOADED"}),
        (read_extension, {"extension": "gif"}),
    ]
    for read, body in wrong:
        with pytest.raises(Refused) as refused:
            read(body)
        assert refused.value.code == 400


async def test_a_film_of_a_picture_handed_over(vendor: Vendor) -> None:
    async with vendor(canned=True) as caller:
        http = caller.http
        asked = await http.post(f"{V1}/init-image", json={"extension": "png"}, headers=KEY)
        place = asked.json()["uploadInitImage"]
        files = {"file": ("x.png", canned_png(1, 64))}
        sent = await http.post(place["url"], data=json.loads(place["fields"]), files=files)
        assert sent.status_code == 204
        made = await IMAGE.created(http)
        ends = []
        for kind, one in (
            ("UPLOADED", place["id"]),
            ("GENERATED", made),
            ("UPLOADED", "none"),
        ):
            body = {"prompt": "it moves", "imageType": kind, "imageId": one}
            path = f"{V1}/generations-image-to-video"
            answer = await http.post(path, json=body, headers=KEY)
            ends.append(await FILM.done(http, FILM.read_id(answer.json())))
        assert [end.code for end in ends] == ["", "", "INIT_IMAGE_FAILED"]
        assert ends[0].url.endswith(".mp4")


async def test_a_deleted_generation_is_not_made_and_costs_nothing(canned: Caller) -> None:
    job = await IMAGE.created(canned.http, "a cat [[sim:hang]]")
    path = f"{V1}/generations/{job}"
    others = await canned.http.delete(path, headers=bearer("other"))
    assert others.json() == {"delete_generations_by_pk": None}
    deleted = await canned.http.delete(path, headers=KEY)
    assert deleted.json() == {"delete_generations_by_pk": {"id": job}}
    assert (await canned.http.get(path, headers=KEY)).json() == {"generations_by_pk": None}
    (bill,) = (await canned.http.get("/_bill")).json()["bills"]
    assert (bill["failed"], bill["promised_credits"], bill["charged_credits"]) == (1, 0, 0)


async def test_a_made_generation_is_deleted_and_paid(canned: Caller) -> None:
    job = await IMAGE.created(canned.http)
    await IMAGE.done(canned.http, job)
    await canned.http.delete(f"{V1}/generations/{job}", headers=KEY)
    assert (await IMAGE.look(canned.http, job)).json() == {"generations_by_pk": None}
    (bill,) = (await canned.http.get("/_bill")).json()["bills"]
    assert bill["charged_credits"] == 40


async def test_the_queue_has_an_end(canned: Caller) -> None:
    await canned.scenario("hang", key="k")
    codes = [(await IMAGE.create(canned.http)).status_code for _ in range(211)]
    assert codes == [200] * 210 + [429]
    assert (await IMAGE.create(canned.http, key="other")).status_code == 200


async def test_tells_a_keys_quota_and_the_cost(canned: Caller) -> None:
    answer = (await IMAGE.create(canned.http)).json()["generate"]
    assert answer["cost"] == {"amount": "40", "unit": "API_CREDITS"}
    me = (await canned.http.get(f"{V1}/me", headers=KEY)).json()["user_details"][0]
    assert me["apiSubscriptionTokens"] == 1_000_000 - 40
    models = (await canned.http.get(f"{V1}/platformModels", headers=KEY)).json()
    assert len(models["custom_models"]) == len(IMAGES) + len(FILMS_V2)
