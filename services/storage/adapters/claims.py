"""What is said of how a file was made, by us and by whoever signed it; loads nothing that reads it.

All of it travels to a child and back, as of JSON.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, Self, TypeAlias

from services.storage.adapters.media import MediaFacts

State: TypeAlias = Literal["trusted", "valid", "invalid", "none"]


@dataclass(frozen=True, slots=True)
class Made:
    """How an output came about. `ref` names the task or the file, nobody and nothing else;
    `source_type` is IPTC's term, like `trainedAlgorithmicMedia`."""

    model_id: str
    ref: str
    at: datetime
    source_type: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a file's newest manifest says; all of it but `state` and `reasons` is the signer's word.

    `trusted`: intact, and of one of the roots; `valid`: intact, of a signer whom nobody vouches
    for; `invalid`: something is wrong, see `reasons` (C2PA's codes). `ours`: trusted, and of this
    system's own name. `changed`: bytes are not those that were signed.
    """

    state: State = "none"
    reasons: tuple[str, ...] = ()
    ours: bool = False
    changed: bool = False
    signer: str | None = None
    generator: str | None = None
    source_type: str | None = None
    model_id: str | None = None
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a file says of itself. `mark` is the number of a watermark of ours; `label` an IPTC term
    that whoever likes can have written."""

    mime_type: str
    claimed: Claimed
    mark: int | None = None
    label: str | None = None

    def as_json(self) -> Mapping[str, Any]:
        made_at = self.claimed.made_at
        told = asdict(self)
        told["claimed"]["made_at"] = None if made_at is None else made_at.isoformat()
        return told

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Self:
        claimed = dict(told["claimed"])
        made_at = claimed["made_at"]
        claimed["made_at"] = None if made_at is None else datetime.fromisoformat(made_at)
        claimed["reasons"] = tuple(claimed["reasons"])
        return cls(told["mime_type"], Claimed(**claimed), told["mark"], told["label"])


@dataclass(frozen=True, slots=True)
class Labelled:
    """`facts` are those of the new file; `mark` is the output's number, in it or not."""

    facts: MediaFacts
    mark: int
    source_type: str
