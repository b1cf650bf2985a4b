"""KLIKYAI's films (seed 003) and the first API (seed 001) as their documents show them."""

from typing import Any

import httpx
import pytest

from tests.system.product import Product, User, wait_until

AVATAR = {"avatar_id": "Abigail_expressive_2024112501", "voice_id": "voice_123"}


@pytest.fixture
def signed_in(product: Product, user: User) -> Any:
    with product.client(Authorization=f"Bearer {user.token}") as client:
        client.timeout = httpx.Timeout(130.0)
        yield client


def wait_for_films(user: User) -> None:
    wait_until(lambda: user.balance()["reserved_credits"] == 0)


def test_avatar_generation(signed_in: httpx.Client, user: User) -> None:
    [avatar, *_] = signed_in.get("/ai/heygen/avatars").json()["data"]["avatars"]
    [voice, *_] = signed_in.get("/ai/heygen/voices").json()["data"]["voices"]
    body = {
        "avatar_id": avatar["avatar_id"],
        "voice_id": voice["voice_id"],
        "text": "Hello, welcome to our presentation!",
        "dimension": "1:1",
        "caption": True,
        "emotion": "happy",
    }
    answer = signed_in.post("/ai/heygen/avatar-video-generation", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["success"], said["message"]) == (True, "Avatar video generated successfully")
    film = said["data"]
    assert film["status"] == "completed"
    assert 1 < film["duration"] < 10
    assert httpx.get(film["video_url"]).headers["content-type"] == "video/mp4"
    assert httpx.get(film["thumbnail_url"]).headers["content-type"] == "image/webp"
    assert signed_in.get(f"/ai/videos/{film['video_id']}").json()["data"]["status"] == "completed"
    wait_for_films(user)
    assert user.balance()["used_credits"] == 5.0


def test_leonardo_video_generation(signed_in: httpx.Client) -> None:
    body = {
        "prompt": "a fox in the snow",
        "model": "MOTION_2_0",
        "width": 832,
        "height": 480,
        "frameInterpolation": True,
        "promptEnhance": True,
    }
    answer = signed_in.post("/ai/leonardo/video-generation", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["duration"] == 5.0


def test_avatars_and_voices_are_listed(signed_in: httpx.Client) -> None:
    avatars = signed_in.get("/ai/heygen/avatars").json()
    assert avatars["message"] == "Avatars retrieved successfully"
    assert avatars["data"]["total_avatars"] == len(avatars["data"]["avatars"]) > 0
    assert set(avatars["data"]["avatars"][0]) == {
        *("avatar_id", "avatar_name", "gender"),
        *("preview_image_url", "preview_video_url", "premium"),
    }
    voices = signed_in.get("/ai/heygen/voices").json()["data"]
    assert voices["total_voices"] == len(voices["voices"]) > 0


def test_a_refused_script_is_said_in_the_seeds_form(signed_in: httpx.Client, user: User) -> None:
    answer = signed_in.post("/ai/heygen/avatar-video-generation", json={**AVATAR, "text": "  "})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "HTTP_422"
    assert "text" in answer.json()["error"]["message"]
    assert user.tasks() == []


def test_without_credits_it_is_the_seeds_business_refusal(
    signed_in: httpx.Client, user: User
) -> None:
    body = {
        "model_id": "nano-banana-pro",
        "prompt": "[[sim:hang]] held",
        "options": {"quality": "4k", "num_images": 4},
    }
    while user.balance()["available_credits"] >= 5:
        created = user.client.post("/api/v2/generation/generate", json=body)
        if created.status_code == 402:
            body["options"] = {"num_images": 1}
    answer = signed_in.post("/ai/heygen/avatar-video-generation", json={**AVATAR, "text": "Hello"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "InsufficientCreditsError"
    for task in user.tasks():
        user.client.delete(f"/api/v2/generation/tasks/{task['id']}").raise_for_status()


def test_the_first_apis_example_makes_its_picture(signed_in: httpx.Client) -> None:
    body = {
        "task_type": "image",
        "model_id": "kie-ai/nano-banana-pro",
        "prompt": "A beautiful sunset over mountains",
        "parameters": {"width": 1024, "height": 1024, "num_images": 1},
    }
    answer = signed_in.post("/api/generation/generate", json=body)
    assert answer.status_code == 201, answer.text
    task = answer.json()["task"]
    assert task["model_name"] == "Nano Banana Pro"
    path = f"/api/generation/tasks/{task['task_id']}"
    wait_until(lambda: signed_in.get(path).json()["task"]["status"] == "completed", timeout_s=60)
    done = signed_in.get(path).json()["task"]
    assert (done["credits_used"], done["error_message"]) == (1.5, None)
    assert httpx.get(done["output_url"]).headers["content-type"] == "image/png"
