"""Every model of the catalogue, from the request over HTTP to a file that really is what was asked
for: the vendors' adapters over their own protocols, played by the simulator."""

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.system.product import V2, Product, User, wait_until

SOUND_MIN = 0.01
WORDS = "Welcome to SmartSpec. What shall we make today?"


def made(user: User, model_id: str, prompt: str, **options: object) -> dict[str, Any]:
    """The task, when it has ended."""
    body = {"model_id": model_id, "prompt": prompt, "options": options}
    answer = user.client.post(f"{V2}/generate", json=body)
    assert answer.status_code == 201, answer.text
    task_id = answer.json()["task"]["id"]
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(user.wait(task_id))
        return found["status"] in {"completed", "failed"}

    wait_until(ended, timeout_s=120)
    assert found["status"] == "completed", found["error"]
    return found


def file_of(user: User, output: Mapping[str, Any]) -> bytes:
    content = user.client.get(output["url"]).raise_for_status().content
    assert len(content) == output["size"]
    return content


def film_of(content: bytes) -> tuple[tuple[int, int], float, bool]:
    """(size, seconds by its frames, whether it can be heard); each frame is decoded."""
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        assert isinstance(rate, Fraction)
        frames = len(list(container.decode(video=0)))
        size = (stream.codec_context.width, stream.codec_context.height)
        has_sound = bool(container.streams.audio)
    return size, frames / float(rate), has_sound and loudness_of(content) > SOUND_MIN


def loudness_of(content: bytes) -> float:
    """Of the whole, 0 to 1."""
    with av.open(io.BytesIO(content), "r") as container:
        pieces = [frame.to_ndarray().astype(np.float64) for frame in container.decode(audio=0)]
    peak = max(float(np.abs(piece).max()) for piece in pieces)
    return peak / 32_768 if peak > 1.5 else peak


def seconds_of(content: bytes) -> float:
    with av.open(io.BytesIO(content), "r") as container:
        samples: int = sum([frame.samples for frame in container.decode(audio=0)])
        return samples / container.streams.audio[0].rate


@pytest.mark.parametrize(
    ("model_id", "size"),
    [
        ("nano-banana-pro", "512x288"),
        ("gemini-image", "300x400"),
        ("flux-2", "640x640"),
        ("flux-2-pro", "1024x576"),
    ],
)
def test_a_picture_has_exactly_the_size_that_was_asked_for(
    user: User, model_id: str, size: str
) -> None:
    task = made(user, model_id, "a lighthouse by the sea", resolution=size)
    [output] = task["outputs"]
    picture = Image.open(io.BytesIO(file_of(user, output)))
    picture.load()
    assert f"{picture.width}x{picture.height}" == size
    assert picture.format in {"PNG", "JPEG"}


def test_several_pictures_of_one_task_are_different(user: User) -> None:
    task = made(user, "nano-banana-pro", "a fox", resolution="256x256", num_images=3)
    assert len({file_of(user, output) for output in task["outputs"]}) == 3
    assert task["credits_used"] == 3.0


def test_a_film_decodes_to_exactly_its_length_and_size(user: User) -> None:
    task = made(user, "wan-2.6", "a boat on a lake", duration_seconds=5, aspect_ratio="1:1")
    assert film_of(file_of(user, task["outputs"][0])) == ((720, 720), 5.0, False)
    assert (task["credits_used"], task["outputs"][0]["duration_seconds"]) == (5.0, 5.0)
    assert task["thumbnail_url"] is not None


def test_leonardo_makes_a_film(user: User) -> None:
    task = made(user, "leonardo-motion-2", "a fox in the snow")
    size, seconds, _ = film_of(file_of(user, task["outputs"][0]))
    assert (size, seconds) == ((832, 480), 5.0)


def test_a_film_begins_with_the_picture_that_it_is_given(user: User) -> None:
    picture = made(user, "nano-banana-pro", "a red mug", resolution="512x512")["outputs"][0]
    task = made(
        user, "leonardo-motion-2", "it turns", aspect_ratio="1:1", input_image=picture["key"]
    )
    with av.open(io.BytesIO(file_of(user, task["outputs"][0])), "r") as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    first = Image.fromarray(frame).resize((32, 32))
    given = Image.open(io.BytesIO(file_of(user, picture))).convert("RGB").resize((32, 32))
    apart = np.abs(np.asarray(first, dtype=int) - np.asarray(given, dtype=int)).mean()
    assert apart < 20


@pytest.mark.parametrize("kind", ["mp3", "wav"])
def test_speech_lasts_as_its_text_demands_and_costs_its_real_length(user: User, kind: str) -> None:
    short, long = (
        made(user, "elevenlabs-tts", words, format=kind) for words in (WORDS, f"{WORDS} " * 14)
    )
    lengths = [seconds_of(file_of(user, task["outputs"][0])) for task in (short, long)]
    assert 1.5 < lengths[0] < 6
    assert lengths[1] > 8 * lengths[0]
    for task, length in zip((short, long), lengths, strict=True):
        assert task["outputs"][0]["duration_seconds"] == pytest.approx(length, abs=0.1)
        assert task["credits_used"] == 0.5 * -(-length // 30)


def test_an_avatar_speaks(user: User) -> None:
    task = made(
        user,
        "heygen-avatar",
        WORDS,
        avatar_id="Abigail_expressive_2024112501",
        voice_id="f38a635bee7a4d1f9b0a654a31d050d2",
        dimension="1:1",
        caption=True,
    )
    size, seconds, can_be_heard = film_of(file_of(user, task["outputs"][0]))
    assert (size, can_be_heard) == ((720, 720), True)
    assert 1.5 < seconds < 6


def test_an_estimate_is_what_the_task_then_reserves(product: Product, user: User) -> None:
    del product
    for model in user.client.get(f"{V2}/models").json()["models"]:
        for example in model["examples"]:
            told = user.client.post(f"{V2}/estimate", json=example).json()
            body = {**example, "quote_id": told["quote_id"]}
            answer = user.client.post(f"{V2}/generate", json=body)
            assert answer.status_code == 201, answer.text
            assert answer.json()["credits_reserved"] == told["credits"]
            task_id = answer.json()["task"]["id"]
            user.client.delete(f"{V2}/tasks/{task_id}").raise_for_status()
