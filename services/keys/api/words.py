"""Text that people give things: no blank one, and nothing that a database or terminal chokes on."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator


def _readable(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("must not hold control characters")
    return text


Words = Annotated[str, AfterValidator(_readable)]
