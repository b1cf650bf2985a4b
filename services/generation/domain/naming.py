"""Which output of which task a stored file is, by its key."""

import re
from typing import Final
from uuid import UUID

_GENERATED: Final = re.compile(
    r"(?:images|videos|audio)/generated/[0-9a-f]{32}/([0-9a-f]{32})(?:_([1-9]\d{0,4}))?\.\w+"
)


def output_of(key: str) -> tuple[UUID, int] | None:
    """(task, index); None for what is no output."""
    found = _GENERATED.fullmatch(key)
    return None if found is None else (UUID(found[1]), int(found[2] or 0))
