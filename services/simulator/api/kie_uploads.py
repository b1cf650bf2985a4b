"""kie.ai's file uploads (another host there, the same prefix here): pictures for an order.

What is uploaded is kept as long as the room lasts; the vendor keeps it for 3 days.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from services.simulator.adapters.outside import Outside, Unreadable
from services.simulator.adapters.uploads import PATH
from services.simulator.api.answers import json_body
from services.simulator.api.desk import Desk, Room, origin
from services.simulator.api.forms import form_file
from services.simulator.api.kie import VENDOR, say
from services.simulator.api.results import MEDIA_TYPES
from services.simulator.domain.kie import FAULTS, PREFIX, upload_name
from services.simulator.domain.orders import Refused

BASE64_OF_BYTES: Final = 4 / 3
ENVELOPE_BYTES: Final = 4_096
_NO_PICTURE: Final = Refused(400, "The file is not an image or is too large")


class KieUploads:
    def __init__(self, room: Room, outside: Outside) -> None:
        malformed = Refused(400, "The request body is not valid")
        self.desk = Desk(room, VENDOR, FAULTS, say, malformed, _NO_PICTURE)
        self.uploads = room.uploads
        self.outside = outside

    def routes(self) -> list[BaseRoute]:
        api = f"{PREFIX}/api"
        return [
            self.desk.route(f"{api}/file-base64-upload", "POST", self.base64_upload),
            self.desk.route(f"{api}/file-url-upload", "POST", self.url_upload),
            self.desk.route(f"{api}/file-stream-upload", "POST", self.stream_upload),
        ]

    async def base64_upload(self, request: Request) -> Response:
        """{base64Data, uploadPath, fileName?}; the data may be a data URL."""
        self.desk.bearer(request)
        most = int(self.uploads.max_bytes * BASE64_OF_BYTES) + ENVELOPE_BYTES
        body = _mapping(await json_body(request, most))
        text = body.get("base64Data")
        try:
            content = base64.b64decode(str(text or "").rpartition(",")[2], validate=True)
        except (binascii.Error, ValueError):
            raise Refused(422, "base64Data is not valid base64") from None
        return self._kept(request, content, body)

    async def url_upload(self, request: Request) -> Response:
        """{fileUrl, uploadPath, fileName?}; only addresses within the simulator's reach."""
        self.desk.bearer(request)
        body = _mapping(await self.desk.body(request))
        url = body.get("fileUrl")
        if not isinstance(url, str) or not self.outside.reaches(url):
            raise Refused(422, "fileUrl cannot be reached")
        try:
            content = await self.outside.get(url, self.uploads.max_bytes)
        except Unreadable:
            raise Refused(500, "The file could not be downloaded") from None
        return self._kept(request, content, body)

    async def stream_upload(self, request: Request) -> Response:
        """A form with `file`, `uploadPath` and perhaps `fileName`."""
        self.desk.bearer(request)
        content, fields = await form_file(request, self.uploads.max_bytes)
        return self._kept(request, content, fields)

    def _kept(self, request: Request, content: bytes, given: Mapping[str, Any]) -> Response:
        asked_for = upload_name(given)
        try:
            name = self.uploads.keep(content)
        except Unreadable:
            raise _NO_PICTURE.anew() from None
        url = f"{origin(request)}{PREFIX}/{PATH}/{name}"
        data = {
            "fileName": asked_for or name,
            "filePath": f"{given['uploadPath']}/{name}",
            "downloadUrl": url,
            "fileUrl": url,
            "fileSize": len(content),
            "mimeType": MEDIA_TYPES[name.rpartition(".")[2]],
        }
        return JSONResponse({"success": True, "code": 200, "msg": "success", "data": data})


def _mapping(body: object) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise Refused(422, "The request body must be a JSON object")
    return body
