"""What is kept of a picture's metadata: its colour profile, and what kind of maker it names."""

import re
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

DIGITAL_SOURCE_TYPES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE_TYPE: Final = re.compile(re.escape(DIGITAL_SOURCE_TYPES) + r"([A-Za-z]{1,64})\b", re.ASCII)
_TEXT_KEY: Final = "digitalSourceType"
_MAX_PROFILE_BYTES: Final = 64 * 1024


def xmp_packet(source_type: str) -> str:
    """XMP that says nothing but the IPTC digital source type, like `algorithmicMedia`."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPES}{source_type}"/>'
        "</rdf:RDF></x:xmpmeta>"
    )


def source_type_of(image: Image.Image) -> str | None:
    """The digital source type that the picture claims in XMP or in a PNG text."""
    xmp = image.info.get("xmp", b"")
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    claimed = _SOURCE_TYPE.search(f"{text} {image.info.get(_TEXT_KEY, '')}")
    return claimed[1] if claimed else None


def xmp_of(image: Image.Image) -> bytes:
    """An XMP packet of the digital source type that the picture claims, or nothing."""
    source_type = source_type_of(image)
    return xmp_packet(source_type).encode() if source_type else b""


def png_marks(image: Image.Image) -> PngInfo:
    marks = PngInfo()
    if source_type := source_type_of(image):
        marks.add_itxt("XML:com.adobe.xmp", xmp_packet(source_type))
        marks.add_text(_TEXT_KEY, DIGITAL_SOURCE_TYPES + source_type)
    return marks


def profile_of(image: Image.Image) -> bytes | None:
    """The colour profile, where it still fits the mode that the picture is written in."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        return None
    return profile if image.mode in {"RGB", "RGBA", "P"} else None
