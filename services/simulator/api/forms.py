"""Reading a multipart form with one file, of bounded size."""

from collections.abc import AsyncGenerator
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from services.simulator.api.answers import BodyMalformed, BodyTooLarge

MAX_FIELDS: Final = 20
ENVELOPE_BYTES: Final = 65_536


async def form_file(request: Request, max_bytes: int) -> tuple[bytes, dict[str, str]]:
    """(the content of the form's `file`, its other fields).

    Raises `BodyTooLarge`, or `BodyMalformed` if it is no such form.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise BodyMalformed("the body is no form")
    stream = _bounded(request, max_bytes + ENVELOPE_BYTES)
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=MAX_FIELDS)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise BodyMalformed("the body is no form") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise BodyMalformed("the form has no file")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        return await file.read(), fields
    finally:
        await form.close()


async def _bounded(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise BodyTooLarge
        yield chunk
