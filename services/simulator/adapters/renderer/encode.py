"""PNG and JPEG bytes with the label that says an algorithm made them."""

import io

import numpy as np
from PIL import Image

from services.simulator.adapters.label import XMP
from services.simulator.adapters.png import png


def encode(image: Image.Image, kind: str) -> bytes:
    """`kind` is png or jpg."""
    if kind == "jpg":
        out = io.BytesIO()
        image.save(out, "JPEG", quality=90, xmp=XMP)
        return out.getvalue()
    return png(image.width, image.height, _filtered(image), XMP)


def _filtered(image: Image.Image) -> bytes:
    """Rows with one filter (Up) for all: a third of the time of Pillow, which tries five each."""
    pixels = np.asarray(image).reshape(image.height, -1)
    rows = np.empty((image.height, pixels.shape[1] + 1), np.uint8)
    rows[:, 0] = 2
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    return rows.tobytes()
