"""Bodies of the storage routes, in and out."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kernel.errors import Invalid
from services.storage.read_model import File

LINK_LIVES_FOR: Final = timedelta(hours=24)
LINK_S_MAX: Final = 604_800
PUT_LINK_S_MAX: Final = 3_600
URL_CHARS_MAX: Final = 8_192
_PLAIN: Final = re.compile(r"[\x21-\x7e\u00a1-\uffff]+")

Link = Callable[[str], str]
"""A key -> a URL that opens it for a while."""


def _web_address(text: str) -> str:
    """Raises ValueError for what is no address, whatever may lie there."""
    if not _PLAIN.fullmatch(text):
        raise ValueError("must be an address without spaces")
    parts = urlsplit(text)
    if parts.scheme.lower() not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if not parts.hostname or "@" in parts.netloc:
        raise ValueError("must name a host, and no user")
    _ = parts.port  # raises ValueError for one that is none
    return text


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class FromUrlRequest(_Asked):
    """`filename` may be given, and is not kept."""

    url: Annotated[str, Field(max_length=URL_CHARS_MAX), AfterValidator(_web_address)]
    filename: str | None = Field(None, max_length=255)


class PresignRequest(_Asked):
    """To get: `key`. To put: `size` in bytes and `content_type`; the key is in the answer."""

    method: Literal["get_object", "put_object"] = "get_object"
    key: str | None = Field(None, max_length=512)
    expires_in: int = Field(PUT_LINK_S_MAX, ge=1, le=LINK_S_MAX, strict=True)
    size: int | None = Field(None, ge=1, strict=True)
    content_type: str | None = Field(None, max_length=127)
    filename: str | None = Field(None, max_length=255)


class ConfirmRequest(_Asked):
    key: str = Field(max_length=512)


class FileBody(BaseModel):
    """A file; sizes in bytes and pixels, hashes in hex. URLs are good for 24 hours."""

    key: str
    url: str
    kind: str
    mime_type: str
    size: int
    sha256: str
    width: int | None
    height: int | None
    duration_seconds: float | None
    blurhash: str | None
    thumbnail_url: str | None
    safety: str | None
    created_at: datetime


class UploadAnswer(FileBody):
    success: Literal[True] = True


class FileList(BaseModel):
    success: Literal[True] = True
    files: list[FileBody]
    next_cursor: str | None


class LinkAnswer(BaseModel):
    """`headers` are those that a PUT must send."""

    success: Literal[True] = True
    url: str
    expires_in: int
    key: str
    method: str
    headers: dict[str, str]


class TypeUsage(BaseModel):
    files: int
    bytes: int


class UsageAnswer(BaseModel):
    """`reserved_bytes` are for uploads on their way. `gb_hours` (10^9 bytes for an hour) are this
    month's so far, of UTC, and `charge_credits` is what they cost."""

    success: Literal[True] = True
    used_bytes: int
    files: int
    reserved_bytes: int
    quota_bytes: int
    by_type: dict[str, TypeUsage]
    gb_hours: float
    charge_credits: float


def file_values(file: File, link: Link) -> dict[str, Any]:
    """What `FileBody` is made of."""
    facts = file.facts
    thumbnail = facts["thumbnail_key"]
    return {
        "key": file.key,
        "url": link(file.key),
        "kind": file.kind,
        "mime_type": file.mime_type,
        "size": file.size,
        "sha256": file.sha256,
        "thumbnail_url": None if thumbnail is None else link(thumbnail),
        "created_at": file.created_at,
        **{
            name: facts.get(name)
            for name in ("width", "height", "duration_seconds", "blurhash", "safety")
        },
    }


def cursor_of(file: File) -> str:
    """Where a list goes on."""
    micros = (file.created_at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{micros} {file.key}".encode()).decode().rstrip("=")


def place_of(cursor: str) -> tuple[datetime, str]:
    """Raises `Invalid` for what `cursor_of` did not make."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
        micros, _, key = text.partition(" ")
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(micros)), key
    except (binascii.Error, ValueError, OverflowError):
        raise Invalid("invalid_cursor", "Not a cursor of this list.", {"field": "cursor"}) from None
