"""HeyGen's avatars, looks and voices: paged in v3, whole in v2."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from services.simulator.api.desk import Desk
from services.simulator.api.heygen_words import data_v2, key_of
from services.simulator.domain.heygen import LOOKS, PREFIX, VOICES, page


class Catalogue:
    def __init__(self, v3: Desk, v2: Desk) -> None:
        self.v3 = v3
        self.v2 = v2

    def routes(self) -> list[BaseRoute]:
        return [
            self.v3.route(f"{PREFIX}/v3/avatars", "GET", self.avatars),
            self.v3.route(f"{PREFIX}/v3/avatars/looks", "GET", self.looks),
            self.v3.route(f"{PREFIX}/v3/voices", "GET", self.voices),
            self.v2.route(f"{PREFIX}/v2/avatars", "GET", self.avatars_v2),
            self.v2.route(f"{PREFIX}/v2/voices", "GET", self.voices_v2),
        ]

    async def avatars(self, request: Request) -> Response:
        names = sorted({name for _, name, _ in LOOKS.values()})
        return self._page(request, [_avatar(name) for name in names])

    async def looks(self, request: Request) -> Response:
        """An order's `avatar_id` is a look's `id`; `group_id` keeps one avatar's looks."""
        group = request.query_params.get("group_id", "")
        looks = [_look(one) for one in LOOKS if group in {"", LOOKS[one][1].lower()}]
        return self._page(request, looks)

    async def voices(self, request: Request) -> Response:
        return self._page(request, [_voice(one) for one in VOICES])

    async def avatars_v2(self, request: Request) -> Response:
        key_of(self.v3, request)
        avatars = [{"avatar_id": one, "avatar_name": LOOKS[one][0]} for one in LOOKS]
        return data_v2({"avatars": avatars, "talking_photos": []})

    async def voices_v2(self, request: Request) -> Response:
        key_of(self.v3, request)
        return data_v2({"voices": [_voice(one) for one in VOICES]})

    def _page(self, request: Request, items: list[Any]) -> Response:
        key_of(self.v3, request)
        query = request.query_params
        shown, token = page(items, query.get("limit", ""), query.get("token", ""))
        body = {"data": shown, "has_more": bool(token), "next_token": token or None}
        return JSONResponse(body)


def _avatar(name: str) -> dict[str, Any]:
    looks = [one for one in LOOKS if LOOKS[one][1] == name]
    return {
        "id": name.lower(),
        "name": name,
        "looks_count": len(looks),
        "preview_image_url": None,
        "default_voice_id": LOOKS[looks[0]][2],
    }


def _look(look_id: str) -> dict[str, Any]:
    name, avatar, voice = LOOKS[look_id]
    return {
        "id": look_id,
        "name": name,
        "group_id": avatar.lower(),
        "avatar_type": "studio_avatar",
        "default_voice_id": voice,
        "supported_api_engines": ["avatar_iii", "avatar_iv", "avatar_v"],
        "preview_image_url": None,
    }


def _voice(voice_id: str) -> dict[str, Any]:
    name, gender, _ = VOICES[voice_id]
    return {
        "voice_id": voice_id,
        "name": name,
        "language": "English",
        "gender": gender,
        "preview_audio_url": None,
    }
