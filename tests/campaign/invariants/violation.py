"""What a check finds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """`invariant` is the number in the list of what must hold (1-8); `subject` is a stream, an
    account, a message, a file or a row."""

    invariant: int
    subject: str
    words: str

    def __str__(self) -> str:
        return f"{self.invariant}. {self.subject}: {self.words}"
