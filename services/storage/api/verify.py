"""`POST /api/v2/storage/verify`: whoever has a file may ask if it was generated here. No identity.

The EU AI Act (Article 50) expects of those who generate media that this can be found out.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from kernel.clock import new_id
from kernel.errors import RateLimited, Unavailable, UnsupportedMedia
from kernel.http import Caller, FromClient
from services.storage.adapters.media import MediaRefused
from services.storage.adapters.receiving import receive_file
from services.storage.adapters.sandbox import CheckFailed
from services.storage.adapters.verifying import Judgement, Verifier

AT_ONCE_MAX: Final = 16
"""Of each process; so many files may lie on its disk, come, or wait for a child."""
AT_ONCE_OF_AN_ADDRESS_MAX: Final = 2
"""Whoever sends slowly takes no more places than that."""
IDLE_S: Final = 10.0

_FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


class C2paVerdict(BaseModel):
    """What the file's Content Credentials say; `signer` and `generator` are the signer's words."""

    state: Literal["trusted", "valid", "invalid", "none"] = Field(
        description="trusted: intact, and signed by whom this system trusts; valid: intact, of a"
        " signer who is not known here; invalid: see reasons; none: it has none"
    )
    reasons: list[str] = Field(description="C2PA's codes of what is wrong")
    signer: str | None
    generator: str | None


class WatermarkVerdict(BaseModel):
    """Whether the picture carries a watermark of this system, and whether that was given."""

    found: bool
    known: bool


class Verdict(BaseModel):
    """Nothing of it is about a user or a prompt."""

    made_here: bool
    model_id: str | None
    made_at: datetime | None
    intact: bool | None = Field(
        description="false: it was changed since it was made or signed; null: nothing tells"
    )
    digital_source_type: str | None = Field(description="IPTC's term, like algorithmicMedia")
    mime_type: str
    c2pa: C2paVerdict
    watermark: WatermarkVerdict
    exact_match: bool = Field(description="These bytes are those of an output that is kept here")

    @classmethod
    def of(cls, judgement: Judgement) -> Self:
        claimed = judgement.claimed
        return cls(
            made_here=judgement.made_here,
            model_id=judgement.model_id,
            made_at=judgement.made_at,
            intact=judgement.intact,
            digital_source_type=judgement.source_type,
            mime_type=judgement.mime_type,
            c2pa=C2paVerdict(
                state=claimed.state,
                reasons=list(claimed.reasons),
                signer=claimed.signer,
                generator=claimed.generator,
            ),
            watermark=WatermarkVerdict(found=judgement.marked, known=judgement.known),
            exact_match=judgement.exact,
        )


class _Room:
    """For so many files at once; who comes then is asked to come again."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken_up(self, address: str) -> Iterator[None]:
        is_full = self._taken.total() >= AT_ONCE_MAX
        if is_full or self._taken[address] >= AT_ONCE_OF_AN_ADDRESS_MAX:
            raise RateLimited("too_busy", "Others are being answered.", retry_after_s=2)
        self._taken[address] += 1
        try:
            yield
        finally:
            self._taken[address] -= 1
            self._taken += Counter()  # forgets who has none


def verify_routes(verifier: Verifier, incoming: Path, bytes_max: int) -> APIRouter:
    """`incoming` is a folder for files of the moment; a file may have `bytes_max`."""
    router = APIRouter(prefix="/api/v2/storage", tags=["storage"])
    room = _Room()

    @router.post("/verify", openapi_extra=_FORM)
    async def verify(request: Request, _: Caller, client: FromClient) -> Verdict:
        """Who made this file, by which model, when, and is it intact. It is forgotten at once."""
        path = incoming / f"{new_id().hex}.verify"
        with room.taken_up(client.address):
            try:
                file = await receive_file(request, path, bytes_max, idle_s=IDLE_S)
                return Verdict.of(await verifier.judge(path, file.sha256))
            except MediaRefused as refused:
                if refused.code == "unsupported_type":
                    raise UnsupportedMedia(refused.code, refused.message) from None
                raise
            except CheckFailed:
                raise Unavailable("check_failed", "Not now; ask again.", retry_after_s=2) from None
            finally:
                path.unlink(missing_ok=True)

    return router
