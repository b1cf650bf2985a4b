"""What stands for a picture until it is there: a few colours in some 30 characters; child only."""

from typing import Final

from blurhash_rs import blurhash_encode
from PIL import Image

_SIDE_PX: Final = 64
_LONG_PARTS, _SHORT_PARTS = 4, 3
_PAPER: Final = (255, 255, 255)


def blurhash_of(image: Image.Image) -> str:
    """The blurhash of a picture in L, LA, RGB or RGBA, as it is seen on white (blurha.sh)."""
    tiny = image.copy()
    tiny.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    if tiny.mode in {"LA", "RGBA"}:
        tiny = Image.alpha_composite(
            Image.new("RGBA", tiny.size, (*_PAPER, 255)), tiny.convert("RGBA")
        )
    parts = (_LONG_PARTS, _SHORT_PARTS)
    across, down = parts if tiny.width >= tiny.height else reversed(parts)
    return blurhash_encode(tiny.convert("RGB"), across, down)
