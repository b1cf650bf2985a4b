"""Content Credentials (C2PA): a signed manifest in the file that says what made it, and when.

It blocks, fetches nothing, and knows no user and no prompt. Run it in a child: it parses what
others made. Its library must not have been used before a fork, only after.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import c2pa

from services.storage.adapters.claims import Claimed, Made, State
from services.storage.adapters.media import type_of
from services.storage.adapters.signers import Signer, Trusted

TYPES: Final = frozenset(
    {"image/png", "image/jpeg", "image/webp", "video/mp4", "audio/mpeg", "audio/wav"}
)
"""What can be signed."""
MAKER: Final = "SmartSpec"
LABEL: Final = "org.smartspec.generation"
SOURCE_TYPES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
REASONS_MAX: Final = 16
TEXT_CHARS_MAX: Final = 200
PNG_CHUNKS_MAX: Final = 10_000
BUFFER_BYTES: Final = 1 << 20
"""The library reads and writes in thousands of small pieces, each of them a call of Python's."""
_SOURCE_TYPE: Final = re.compile(re.escape(SOURCE_TYPES) + r"([A-Za-z]{1,64})", re.ASCII)
# By C2PA 2.2, 15.2.2: of the failures, those which say that bytes are not those signed.
_CHANGED: Final = re.compile(r"\.(?:mismatch|altered|missing|inaccessible)$|malformed", re.ASCII)


class NotSigned(Exception):
    """The library can't sign this file; its words may hold a path, so they are not kept."""


def sign(
    path: Path,
    target: Path,
    mime_type: str,
    made: Made,
    signer: Signer,
    *,
    parent: Path | None = None,
) -> None:
    """Write `path` with a manifest to `target`, which must not be there yet.

    A manifest that `parent` has (by default `path` itself), like a vendor's, is kept in it as that
    of what this was made from. No two signatures are the same bytes.

    Raises:
        NotSigned: no such type, or a file that is none of it.
    """
    if mime_type not in TYPES:
        raise NotSigned("UnsupportedType")
    original = parent or path
    try:
        with _context() as context:
            kept = _type_of_signed(original, context)
            told = _manifest(mime_type, made, is_edit=kept is not None)
            with c2pa.Builder(told, context=context) as builder:
                if kept is not None:
                    builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
                    with original.open("rb") as file:
                        builder.add_ingredient({"relationship": "parentOf"}, kept, file)
                with (
                    _opened(path) as source,
                    target.open("x+b", buffering=BUFFER_BYTES) as signed,
                ):
                    builder.sign(_signing(signer), mime_type, source, signed)
    except c2pa.C2paError as error:
        target.unlink(missing_ok=True)
        raise NotSigned(type(error).__name__) from None


def read(path: Path, mime_type: str, trusted: Trusted) -> Claimed:
    """What the file's manifest claims, and how far it can be believed; `none` without one.

    Looks at nothing but the file: no link that it holds is followed.
    """
    if mime_type not in TYPES:
        return Claimed()
    try:
        with (
            _context(trusted.anchors) as context,
            path.open("rb", buffering=BUFFER_BYTES) as file,
        ):
            reader = c2pa.Reader.try_create(mime_type, file, None, context)
            if reader is None:
                return Claimed()
            with reader:
                store = json.loads(reader.json())
    except c2pa.C2paError as error:
        # A file of another type than it begins like, or a manifest that is none.
        return Claimed("invalid", (f"unreadable.{type(error).__name__.lstrip('_')}"[:64],))
    return _claimed(store, trusted)


def _context(anchors: str | None = None) -> c2pa.Context:
    settings: dict[str, Any] = {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
            "verify_after_sign": False,
        },
    }
    if anchors is not None:
        settings["trust"] = {"user_anchors": anchors}
    return c2pa.Context(c2pa.Settings.from_dict(settings))


def _opened(path: Path) -> BinaryIO:
    return path.open("rb", buffering=BUFFER_BYTES)


def _signing(signer: Signer) -> c2pa.Signer:
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(
            signer.algorithm.encode(), signer.chain.encode(), signer.key.encode(), None
        )
    )


def _type_of_signed(path: Path, context: c2pa.Context) -> str | None:
    """The type of a file that has a manifest; None without one that can be read."""
    mime_type = type_of(path)
    if mime_type not in TYPES or (mime_type == "image/png" and not _has_manifest_chunk(path)):
        return None
    with suppress(c2pa.C2paError), _opened(path) as file:
        reader = c2pa.Reader.try_create(mime_type, file, None, context)
        if reader is not None:
            reader.close()
            return mime_type
    return None


def _has_manifest_chunk(path: Path) -> bool:
    """Whether a PNG may have a chunk of C2PA's (C2PA 2.2, A.3.2): the library would read all of the
    file to tell."""
    with path.open("rb") as file:
        file.seek(8)
        for _ in range(PNG_CHUNKS_MAX):
            length, name = int.from_bytes(file.read(4)), file.read(4)
            if name in {b"caBX", b"IEND", b""}:
                return name == b"caBX"
            file.seek(length + 4, os.SEEK_CUR)
    return True


def _manifest(mime_type: str, made: Made, *, is_edit: bool) -> dict[str, Any]:
    maker = {"name": MAKER}
    at = made.at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    source_type = f"{SOURCE_TYPES}{made.source_type}"
    action = {
        "action": "c2pa.edited" if is_edit else "c2pa.created",
        "when": at,
        "softwareAgent": maker,
        "digitalSourceType": source_type,
    }
    generation = {
        "model": made.model_id,
        "made_at": at,
        "ref": made.ref,
        "digitalSourceType": source_type,
    }
    return {
        "claim_generator_info": [maker],
        "format": mime_type,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": LABEL, "data": generation},
        ],
    }


def _claimed(store: Mapping[str, Any], trusted: Trusted) -> Claimed:
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    assertions = {
        str(each.get("label")): each.get("data", {}) for each in manifest.get("assertions", ())
    }
    generation = _mapping(assertions.get(LABEL))
    signature = _mapping(manifest.get("signature_info"))
    issuer, common = (_text(signature.get(name)) for name in ("issuer", "common_name"))
    reasons = tuple(_failures(store))
    state = _STATES.get(str(store.get("validation_state")), "invalid")
    return Claimed(
        state=state,
        reasons=reasons,
        ours=state == "trusted" and (issuer or "", common or "") in trusted.names,
        changed=state == "invalid" and any(_CHANGED.search(reason) for reason in reasons),
        signer=issuer or common,
        generator=_generator(manifest),
        source_type=_source_type([generation, *_actions(assertions)]),
        model_id=_text(generation.get("model")),
        made_at=_moment(generation.get("made_at")),
    )


_STATES: Final[Mapping[str, State]] = {
    "Trusted": "trusted",
    "Valid": "valid",
    "Invalid": "invalid",
}


def _failures(store: Mapping[str, Any]) -> Sequence[str]:
    """The codes of what is wrong with the newest manifest, each once."""
    results = _mapping(_mapping(store.get("validation_results")).get("activeManifest"))
    codes = (_text(_mapping(each).get("code")) for each in results.get("failure", ()))
    return list(dict.fromkeys(code for code in codes if code))[:REASONS_MAX]


def _actions(assertions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for label, data in assertions.items():
        if label.startswith("c2pa.actions"):
            yield from map(_mapping, _mapping(data).get("actions", ()))


def _generator(manifest: Mapping[str, Any]) -> str | None:
    told = manifest.get("claim_generator_info") or [{}]
    return _text(_mapping(told[0]).get("name")) or _text(manifest.get("claim_generator"))


def _source_type(told: Sequence[Mapping[str, Any]]) -> str | None:
    for each in told:
        found = _SOURCE_TYPE.fullmatch(str(each.get("digitalSourceType", "")))
        if found:
            return found[1]
    return None


def _moment(told: object) -> datetime | None:
    with suppress(ValueError, TypeError):
        moment = datetime.fromisoformat(str(told))
        return moment.astimezone(UTC) if moment.tzinfo else None
    return None


def _mapping(told: object) -> Mapping[str, Any]:
    """What a stranger's JSON has where an object is expected."""
    return told if isinstance(told, dict) else {}


def _text(told: object) -> str | None:
    return told[:TEXT_CHARS_MAX] if isinstance(told, str) and told else None
