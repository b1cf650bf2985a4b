"""Has an output marked and signed in a child; knows the secrets for it, and no output by itself."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

from services.storage.adapters.claims import Labelled, Made
from services.storage.adapters.due_list import DueFetch
from services.storage.adapters.given_marks import mark_of
from services.storage.adapters.media import MediaFacts
from services.storage.adapters.sandbox import CheckFailed, Studio
from services.storage.adapters.signers import Signer

UNKNOWN_MODEL: Final = "unknown"
SOURCE_TYPES: Final[Mapping[str, str]] = {"avatar": "compositeSynthetic"}
"""Of each kind of task, by IPTC's terms, where the vendor's own label says nothing."""
TRAINED: Final = "trainedAlgorithmicMedia"


def made_of(fetch: DueFetch, at: datetime) -> Made:
    """What is said of an output that is labelled at that moment."""
    return Made(
        model_id=fetch.model_id or UNKNOWN_MODEL,
        ref=f"{fetch.task_id}-{fetch.output_index}",
        at=at,
        source_type=SOURCE_TYPES.get(fetch.task_type, TRAINED),
    )


class Labeller:
    """`secret` is what watermarks are made by."""

    def __init__(self, studio: Studio, signer: Signer, secret: bytes) -> None:
        self._studio = studio
        self._signer = asdict(signer)
        self._secret = secret

    async def label(
        self, path: Path, target: Path, facts: MediaFacts, made: Made, *, original: Path
    ) -> Labelled:
        """Write the output at `path`, made of the vendor's `original` or the same, to `target`.

        Raises:
            MediaRefused, CheckFailed: as `Studio.do` does.
        """
        mark = mark_of(self._secret, made.ref)
        answer = await self._studio.do(
            "mark_and_sign",
            {
                "path": str(path),
                "target": str(target),
                "original": str(original),
                "facts": asdict(facts),
                "made": {**asdict(made), "at": made.at.isoformat()},
                "signer": self._signer,
                "mark": mark,
                "secret": self._secret.hex(),
            },
        )
        try:
            return Labelled(MediaFacts(**answer["facts"]), mark, answer["source_type"])
        except (KeyError, TypeError) as error:
            raise CheckFailed("an answer that is none") from error
