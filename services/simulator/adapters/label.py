"""The machine-readable label of everything the simulator makes: its maker, and if a model.

XMP goes where each container has a place for it; only bytes and the standard library here.
"""

import struct
from typing import Final

MAKER: Final = "SmartSpec sandbox renderer"
ALGORITHMIC: Final = "algorithmicMedia"
"""IPTC's term for what is computed without any trained model: pictures and films."""
TRAINED: Final = "trainedAlgorithmicMedia"
"""IPTC's term for what a trained model made: the voice is a neural network."""
COMPOSITE: Final = "compositeSynthetic"
"""IPTC's term for synthetic parts put together: a drawn face with a trained voice."""
SOURCES: Final = {
    "picture": ALGORITHMIC,
    "film": ALGORITHMIC,
    "speech": TRAINED,
    "avatar": COMPOSITE,
}
"""By a commission's medium."""
TERMS: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_XMP_BOX: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def xmp_for(source: str) -> bytes:
    """An XMP packet that names the maker and `source`, one of IPTC's digital source types."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="{MAKER}">'
        f"<Iptc4xmpExt:DigitalSourceType>{TERMS}{source}</Iptc4xmpExt:DigitalSourceType>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    ).encode()


XMP: Final = xmp_for(ALGORITHMIC)
"""A picture's label."""


def comment_for(source: str) -> str:
    """The label in words, for a player's list of tags."""
    return f"{MAKER}: sandbox, not a vendor's model; {TERMS}{source}"


def labelled_mp4(content: bytes, source: str) -> bytes:
    """The file with XMP in a box of its own at the end, where it moves nothing."""
    body = _XMP_BOX + xmp_for(source)
    return content + struct.pack(">I", 8 + len(body)) + b"uuid" + body


def labelled_wav(content: bytes, source: str) -> bytes:
    """The file with XMP in a `_PMX` chunk at the end. Raises ValueError if it is no RIFF file."""
    if content[:4] != b"RIFF":
        raise ValueError("not a RIFF file")
    xmp = xmp_for(source)
    padded = xmp + b"\0" * (len(xmp) % 2)
    whole = content + b"_PMX" + struct.pack("<I", len(xmp)) + padded
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def labelled_mp3(content: bytes, source: str) -> bytes:
    """The frames behind an ID3v2.3 tag of a comment and XMP; `content` has no tag yet."""
    comment = b"\0eng\0" + comment_for(source).encode("latin-1")
    frames = _id3_frame(b"COMM", comment) + _id3_frame(b"PRIV", b"XMP\0" + xmp_for(source))
    size = len(frames)
    syncsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + syncsafe + frames + content


def _id3_frame(name: bytes, body: bytes) -> bytes:
    return name + struct.pack(">I", len(body)) + b"\0\0" + body
