"""Content Credentials (C2PA): a signed manifest in the file that says what made it."""

import io
from typing import Final

import c2pa

from services.simulator.adapters.authority import Authority
from services.simulator.adapters.label import MAKER, TERMS

MIMES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}


def trusting(authority: Authority) -> c2pa.Context:
    """Settings that trust this authority, fetch nothing and embed no thumbnails."""
    return c2pa.Context(
        c2pa.Settings.from_dict(
            {
                "builder": {"thumbnail": {"enabled": False}},
                "trust": {"user_anchors": authority.root.decode()},
                "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
            }
        )
    )


def signed(content: bytes, kind: str, source: str, authority: Authority) -> bytes:
    """The file (`kind` is its suffix) with a manifest that names `source`, IPTC's term.

    A signature draws on chance: no two are the same bytes. Raises `c2pa.C2paError`.
    """
    created = {"action": "c2pa.created", "digitalSourceType": f"{TERMS}{source}"}
    manifest = {
        "claim_generator_info": [{"name": MAKER}],
        "format": MIMES[kind],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
    builder = c2pa.Builder(manifest, context=trusting(authority))
    signer = c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(b"es256", authority.chain, authority.key, None)
    )
    out = io.BytesIO()
    builder.sign(signer, MIMES[kind], io.BytesIO(content), out)
    return out.getvalue()
