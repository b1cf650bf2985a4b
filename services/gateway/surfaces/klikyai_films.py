"""KLIKYAI's films (seed 003): avatars that speak, and Leonardo's, answered when they are made."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field, field_validator

from services.gateway.surfaces.fault import Fault
from services.gateway.surfaces.generating import TASKS, TIMEOUT_S, ending, made
from services.gateway.surfaces.translation import (
    Asked,
    Ended,
    Native,
    Said,
    Strict,
    Translation,
    read,
)

AVATAR_MODEL: Final = "heygen-avatar"
LEONARDO_MODEL: Final = "leonardo-motion-2"
LISTINGS: Final = "/api/v2/generation/heygen"
RATIOS: Final = {(16, 9): "16:9", (9, 16): "9:16", (1, 1): "1:1"}
RATIO_TOLERANCE: Final = 0.03
ID_DIGITS: Final = 32


class AvatarVideoRequest(Strict):
    avatar_id: Annotated[str, Field(min_length=1, max_length=100)]
    voice_id: Annotated[str, Field(min_length=1, max_length=100)]
    text: Annotated[str, Field(min_length=1, max_length=1_000)]
    dimension: Literal["16:9", "9:16", "1:1"] = "16:9"
    quality: Literal["low", "medium", "high"] = "medium"
    caption: bool = False
    emotion: Annotated[str, Field(min_length=1, max_length=40)] | None = None

    @field_validator("text")
    @classmethod
    def _stripped(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("cannot be empty")
        return text.strip()


class LeonardoVideoRequest(Strict):
    """`width` and `height` are pixels, of which the shorter side is 480 or 720. What the seed says
    of frames and of the prompt is taken, and is how it is done anyway."""

    prompt: Annotated[str, Field(min_length=1, max_length=1_500)]
    model: Literal["MOTION_2_0"] = "MOTION_2_0"
    width: Annotated[int, Field(ge=256, le=2_048)] = 832
    height: Annotated[int, Field(ge=256, le=2_048)] = 480
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    negative_prompt: Annotated[str, Field(min_length=1, max_length=2_000)] | None = None
    input_image: Annotated[str, Field(min_length=1, max_length=2_048)] | None = None
    frame_interpolation: bool = Field(default=True, alias="frameInterpolation")
    prompt_enhance: bool = Field(default=True, alias="promptEnhance")


class Video(BaseModel):
    """`duration` is in seconds; addresses are null until it is completed."""

    video_id: str
    video_url: str | None
    thumbnail_url: str | None
    status: str
    duration: float | None


class VideoResponse(BaseModel):
    success: Literal[True] = True
    message: str
    data: Video


class Avatar(BaseModel):
    avatar_id: str
    avatar_name: str
    gender: str | None
    preview_image_url: str | None
    preview_video_url: str | None
    premium: bool


class Avatars(BaseModel):
    avatars: list[Avatar]
    total_avatars: int


class AvatarsResponse(BaseModel):
    success: Literal[True] = True
    message: str
    data: Avatars


class Voice(BaseModel):
    voice_id: str
    name: str
    language: str | None
    gender: str | None
    preview_audio: str | None


class Voices(BaseModel):
    voices: list[Voice]
    total_voices: int


class VoicesResponse(BaseModel):
    success: Literal[True] = True
    message: str
    data: Voices


async def _avatar(asked: Asked, native: Native) -> Said:
    body = read(AvatarVideoRequest, asked.body)
    options = body.model_dump(exclude={"text"}, exclude_none=True)
    wanted = {"model_id": AVATAR_MODEL, "prompt": body.text, "options": options}
    return await _film(native, wanted, "Avatar video generated successfully")


async def _leonardo(asked: Asked, native: Native) -> Said:
    body = read(LeonardoVideoRequest, asked.body)
    options: dict[str, object] = {
        "resolution": f"{min(body.width, body.height)}p",
        "aspect_ratio": _ratio(body.width, body.height),
        **body.model_dump(include={"seed", "negative_prompt", "input_image"}, exclude_none=True),
    }
    wanted = {"model_id": LEONARDO_MODEL, "prompt": body.prompt, "options": options}
    return await _film(native, wanted, "Video generated successfully")


async def _video(asked: Asked, native: Native) -> Said:
    """A film that was asked for here, as it is now."""
    digits = asked.last_segment.removeprefix("video_")
    task = (await native("GET", f"{TASKS}/task_{digits}"))["task"]
    if task["task_type"] not in {"avatar", "video"}:
        raise Ended(Fault(404, "video_not_found", "There is no such video."))
    return Said(200, VideoResponse(message=f"Video is {task['status']}", data=_shown(task)))


async def _avatars(_: Asked, native: Native) -> Said:
    listed = (await native("GET", f"{LISTINGS}/avatars"))["avatars"]
    avatars = [
        Avatar(
            avatar_id=item["avatar_id"],
            avatar_name=item["name"],
            gender=item["gender"],
            preview_image_url=item["preview_image_url"],
            preview_video_url=item["preview_video_url"],
            premium=item["premium"],
        )
        for item in listed
    ]
    data = Avatars(avatars=avatars, total_avatars=len(avatars))
    return Said(200, AvatarsResponse(message="Avatars retrieved successfully", data=data))


async def _voices(_: Asked, native: Native) -> Said:
    listed = (await native("GET", f"{LISTINGS}/voices"))["voices"]
    voices = [
        Voice(
            voice_id=item["voice_id"],
            name=item["name"],
            language=item["language"],
            gender=item["gender"],
            preview_audio=item["preview_url"],
        )
        for item in listed
    ]
    data = Voices(voices=voices, total_voices=len(voices))
    return Said(200, VoicesResponse(message="Voices retrieved successfully", data=data))


async def _film(native: Native, wanted: Mapping[str, object], message: str) -> Said:
    task = await made(native, wanted)
    if task["status"] != "completed":
        raise Ended(ending(task, _video_id(task["id"])))
    return Said(200, VideoResponse(message=message, data=_shown(task)))


def _shown(task: dict[str, Any]) -> Video:
    outputs = task["outputs"]
    return Video(
        video_id=_video_id(task["id"]),
        video_url=task["output_url"],
        thumbnail_url=task["thumbnail_url"],
        status=task["status"],
        duration=outputs[0]["duration_seconds"] if outputs else None,
    )


def _video_id(task_id: str) -> str:
    return f"video_{UUID(task_id.removeprefix('task_')).hex}"


def _ratio(width: int, height: int) -> str:
    """The named ratio of these pixels; as they are where there is none, so that it is refused."""
    for (across, down), name in RATIOS.items():
        if abs(width * down / (height * across) - 1) <= RATIO_TOLERANCE:
            return name
    return f"{width}:{height}"


AVATAR_VIDEO: Final = Translation(
    _avatar,
    200,
    AvatarVideoRequest,
    VideoResponse,
    TIMEOUT_S,
    fields={"prompt": "text", "options.": ""},
)
LEONARDO_VIDEO: Final = Translation(
    _leonardo,
    200,
    LeonardoVideoRequest,
    VideoResponse,
    TIMEOUT_S,
    fields={"options.resolution": "height", "options.aspect_ratio": "width", "options.": ""},
)
VIDEO: Final = Translation(_video, 200, None, VideoResponse)
AVATARS: Final = Translation(_avatars, 200, None, AvatarsResponse)
VOICES: Final = Translation(_voices, 200, None, VoicesResponse)
