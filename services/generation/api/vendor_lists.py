"""Routes that list vendors' voices and avatars; other surfaces show them to clients."""

from fastapi import APIRouter
from pydantic import BaseModel

from kernel.http import Caller
from services.generation.adapters.vendor_lists import VendorLists


class VoiceBody(BaseModel):
    voice_id: str
    name: str
    language: str
    gender: str
    preview_url: str | None


class AvatarBody(BaseModel):
    avatar_id: str
    name: str
    gender: str
    preview_image_url: str | None
    preview_video_url: str | None
    default_voice_id: str | None
    premium: bool


class VoiceList(BaseModel):
    success: bool
    voices: list[VoiceBody]


class AvatarList(BaseModel):
    success: bool
    avatars: list[AvatarBody]


def vendor_list_routes(lists: VendorLists) -> APIRouter:
    router = APIRouter(prefix="/api/v2/generation", tags=["generation"])

    @router.get("/{provider}/voices")
    async def list_voices(provider: str, _: Caller) -> VoiceList:
        """Who can speak, by the vendor's own ids."""
        found = await lists.voices(provider)
        voices = [
            VoiceBody(
                voice_id=voice.voice_id,
                name=voice.name,
                language=voice.language,
                gender=voice.gender,
                preview_url=voice.preview_url,
            )
            for voice in found
        ]
        return VoiceList(success=True, voices=voices)

    @router.get("/{provider}/avatars")
    async def list_avatars(provider: str, _: Caller) -> AvatarList:
        """Who can be seen speaking, by the vendor's own ids. No vendor's list says yet who costs
        more, so nobody is `premium`."""
        found = await lists.avatars(provider)
        avatars = [
            AvatarBody(
                avatar_id=avatar.avatar_id,
                name=avatar.name,
                gender=avatar.gender,
                preview_image_url=avatar.preview_image_url,
                preview_video_url=avatar.preview_video_url,
                default_voice_id=avatar.default_voice_id,
                premium=False,
            )
            for avatar in found
        ]
        return AvatarList(success=True, avatars=avatars)

    return router
