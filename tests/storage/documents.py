"""Files of every type that is taken, as small as they may be, and some that only look like it."""

import io
import json
import struct
import zipfile

from PIL import Image
from PIL.PngImagePlugin import PngInfo

PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"


def png(side_px: int = 8, *, comment: str = "") -> bytes:
    marks = PngInfo()
    if comment:
        marks.add_text("Comment", comment)
    made = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (10, 120, 200)).save(made, "PNG", pnginfo=marks)
    return made.getvalue()


def glb(document: object = None) -> bytes:
    text = json.dumps(document or {"asset": {"version": "2.0"}}).encode()
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<I4s", len(text), b"JSON") + text
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunk)) + chunk


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "hello")
    return made.getvalue()
