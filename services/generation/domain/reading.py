"""Finds the terms of rules in a text, however they are spelled. Knows terms, and no rule.

A term is words with single blanks between; a word that ends in `*` stands for all that begin so,
and `<age>` in front of or as a word for a number of years under 18. What is written in a script
without blanks between words is looked for as it stands. Work grows with the text, not its square.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from services.generation.domain.folding import (
    LEET_SIGNS,
    as_latin,
    fold,
    marked,
    runs,
    skeleton,
)

AGE: Final = "<age>"
STEM: Final = "*"
STEM_LENGTH_MIN: Final = 4
SPELLED_LENGTH_MIN: Final = 4
STRETCHED_RUN_MIN: Final = 3
DOUBLED_LETTERS_MIN: Final = 2

_UNSPACED: Final = (
    "\u0900-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f"
    "\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff"
)
_WORD: Final = re.compile(rf"[^\W_{_UNSPACED}]+")
_SIGNED: Final = re.compile(rf"(?:[^\W_{_UNSPACED}]|[{re.escape(''.join(sorted(LEET_SIGNS)))}])+")
_UNSPACED_LETTER: Final = re.compile(f"[{_UNSPACED}]")
_BETWEEN: Final = re.compile(r"[\W_]+")
_DOUBLED: Final = re.compile(r"(.)\1")
_AGED: Final = re.compile(r"0?([1-9]|1[0-7])(?!\d)([^\d]*)")
_SPELLED_AGES: Final = frozenset(
    {
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    }
)


@dataclass(frozen=True, slots=True)
class Found:
    """A term, and the words of the text that it takes: from `start` until before `end`."""

    term: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What stands between blanks: its number of words, what each is known as, what all of them
    without their signs are, and those that are single letters."""

    length: int
    known: Sequence[tuple[int, AbstractSet[str]]] = ()
    whole: AbstractSet[str] = frozenset()
    single: Sequence[tuple[int, str]] = ()


@dataclass
class _Step:
    """Where a reader of terms stands after some words."""

    term: str | None = None
    next: dict[str, "_Step"] = field(default_factory=dict)


_Words: TypeAlias = Sequence[tuple[str, int]]
"""Words of the vocabulary that begin at one place, each with the place that follows it."""
_NOTHING: Final[AbstractSet[str]] = frozenset()


def normal(term: str) -> str:
    """The term as texts are folded. Raises ValueError for one that could match nothing, or all."""
    words = [_normal_word(word) for word in term.split()]
    if not words:
        raise ValueError("a term must have a letter")
    return " ".join(words)


def _normal_word(word: str) -> str:
    age, stem = word.startswith(AGE), word.endswith(STEM)
    body = fold(word.removeprefix(AGE).removesuffix(STEM)).strip()
    if not (body.isalnum() or _UNSPACED_LETTER.search(body) or (age and not body)):
        raise ValueError(f"{word!r}: letters and digits only; write several words with blanks")
    if stem and len(body) < STEM_LENGTH_MIN:
        raise ValueError(f"{word!r}: at least {STEM_LENGTH_MIN} letters before {STEM}")
    return f"{AGE if age else ''}{body}{STEM if stem else ''}"


class Vocabulary:
    """All terms that are looked for, ready to be found in one pass."""

    def __init__(self, terms: Iterable[str]) -> None:
        """`terms` are `normal`."""
        self._root = _Step()
        self._unspaced: list[str] = []
        words: set[str] = set()
        for term in set(terms):
            if _UNSPACED_LETTER.search(term):
                self._unspaced.append(term)
                continue
            step = self._root
            for word in term.split():
                step = step.next.setdefault(word, _Step())
                words.add(word)
            step.term = term
        self._learn(words)

    def _learn(self, words: AbstractSet[str]) -> None:
        """What a word of a text is looked up in."""
        self._words = {word for word in words if not word.endswith(STEM)}
        self._stems: dict[str, set[str]] = defaultdict(set)
        self._stems_alike: dict[str, set[str]] = defaultdict(set)
        self._alike: dict[str, set[str]] = defaultdict(set)
        self._stretched: dict[str, set[str]] = defaultdict(set)
        for stem in words - self._words:
            self._stems[stem[:STEM_LENGTH_MIN]].add(stem)
            self._stems_alike[skeleton(stem[:STEM_LENGTH_MIN])].add(stem)
        for word in self._words:
            if word.isalpha():
                self._alike[skeleton(word)].add(word)
                self._stretched[_squeezed(word)].add(word)
                self._stretched[_squeezed(skeleton(word))].add(word)
        long = [alike for alike in self._alike if len(alike) >= SPELLED_LENGTH_MIN]
        self._lengths = sorted({len(alike) for alike in long})
        self._heads = {alike[:SPELLED_LENGTH_MIN] for alike in long}

    def find(self, text: str) -> Iterator[Found]:
        """Every term that a reader could see in the text, in no order."""
        folded = fold(marked(text))
        yield from self._walked(self._places(folded))
        if not folded.isascii():
            letters = _BETWEEN.sub("", folded)
            for term in self._unspaced:
                if _BETWEEN.sub("", term) in letters:
                    yield Found(term, -1, -1)

    def _walked(self, places: Mapping[int, _Words]) -> Iterator[Found]:
        for start in places:
            waiting = [(self._root, start)]
            while waiting:
                step, at = waiting.pop()
                for word, after in places.get(at, ()):
                    following = step.next.get(word)
                    if following is None:
                        continue
                    if following.term is not None:
                        yield Found(following.term, start, after)
                    if following.next:
                        waiting.append((following, after))

    def _places(self, folded: str) -> Mapping[int, _Words]:
        """For words of the text, by their number, what they may be read as."""
        places: dict[int, list[tuple[str, int]]] = defaultdict(list)
        seen: dict[str, _Chunk] = {}
        letters: list[tuple[int, str]] = []
        spelled = [letters]
        at = 0
        for text in folded.split():
            chunk = seen.get(text)
            if chunk is None:
                chunk = seen[text] = self._chunk(text)
            for word in chunk.whole:
                places[at].append((word, at + chunk.length))
            for number, known in chunk.known:
                places[at + number].extend((word, at + number + 1) for word in known)
            if chunk.single:
                for number, letter in chunk.single:
                    if letters and letters[-1][0] != at + number - 1:
                        letters = []
                        spelled.append(letters)
                    letters.append((at + number, letter))
            at += chunk.length
        for run in spelled:
            self._add_spelled(places, run)
        return places

    def _chunk(self, text: str) -> "_Chunk":
        if text.isascii() and text.isalpha() and len(text) > 1:
            known = self._known(text)
            return _Chunk(1, ((0, known),) if known else ())
        parts = [text] if text in LEET_SIGNS else _WORD.findall(text)
        read = [(number, self._known(part)) for number, part in enumerate(parts)]
        whole = self._whole(text, parts)
        return _Chunk(
            max(len(parts), 1 if whole else 0),
            [(number, known) for number, known in read if known],
            whole,
            [(number, part) for number, part in enumerate(parts) if len(part) == 1],
        )

    def _whole(self, chunk: str, parts: Sequence[str]) -> AbstractSet[str]:
        """What a chunk with signs in it may be: the signs left out, or read as letters."""
        found: set[str] = set()
        if len(parts) > 1:
            found |= self._known("".join(parts))
        if not LEET_SIGNS.isdisjoint(chunk):
            signed = _SIGNED.findall(chunk)
            for piece in {*signed, "".join(signed)}:
                for form in {piece, piece.rstrip("!|+")}:
                    if any(char.isalpha() for char in form):
                        found |= self._odd(as_latin(form) or form)
        return found

    def _add_spelled(
        self, places: dict[int, list[tuple[str, int]]], run: Sequence[tuple[int, str]]
    ) -> None:
        """Letters that stand alone, one after the other: `s e x`, `s.e.x`."""
        word = "".join(letter for _, letter in run)
        if len(word) < SPELLED_LENGTH_MIN - 1 or word.isdigit():
            return
        ends = [at + 1 for at, _ in run]
        for skipped in (0, 1) if word[0] in "ai" else (0,):  # both are words as well
            if len(word) - skipped >= SPELLED_LENGTH_MIN - 1:
                known = self._known(word[skipped:])
                places[run[skipped][0]].extend((one, ends[-1]) for one in known)
        for form in {word, as_latin(word) or word}:
            alike = skeleton(form)
            for start in range(len(alike) - SPELLED_LENGTH_MIN + 1):
                if alike[start : start + SPELLED_LENGTH_MIN] not in self._heads:
                    continue
                for length in self._lengths:
                    if alikes := self._alike.get(alike[start : start + length]):
                        end = ends[min(start + length, len(ends)) - 1]
                        places[run[start][0]].extend((one, end) for one in alikes)

    def _known(self, word: str) -> AbstractSet[str]:
        """The words that this one is, or is a spelling of."""
        found = _NOTHING
        if word in self._words or word[:STEM_LENGTH_MIN] in self._stems:
            found = self._exact(word)
        if _DOUBLED.search(word):
            found = found | self._shortened(word)
        if word.isascii():
            if word.isalpha():
                return found | {AGE} if word in _SPELLED_AGES else found
            if word[0].isdigit() and (aged := _AGED.fullmatch(word)):
                found = found | ({f"{AGE}{aged[2]}"} & self._words)
            return found if word.isdigit() else found | self._odd(word)
        latin = as_latin(word)
        return found if latin is None else found | self._known(latin)

    def _exact(self, word: str) -> AbstractSet[str]:
        stems = self._stems.get(word[:STEM_LENGTH_MIN], ())
        return ({word} & self._words) | {stem for stem in stems if word.startswith(stem[:-1])}

    def _odd(self, word: str) -> AbstractSet[str]:
        """With digits or signs for letters: compared by skeletons."""
        alike = skeleton(word)
        stems = self._stems_alike.get(alike[:STEM_LENGTH_MIN], ())
        found = self._alike.get(alike, _NOTHING) | {
            stem for stem in stems if alike.startswith(skeleton(stem[:-1]))
        }
        return found | self._shortened(alike) if _DOUBLED.search(alike) else found

    def _shortened(self, word: str) -> AbstractSet[str]:
        """With letters repeated more often than a slip of the pen does."""
        spelled = list(runs(word))
        if max(count for _, count in spelled) < STRETCHED_RUN_MIN and (
            sum(count > 1 for _, count in spelled) < DOUBLED_LETTERS_MIN
        ):
            return _NOTHING
        squeezed = "".join(letter for letter, _ in spelled)
        found = {
            known
            for known in self._stretched.get(squeezed, ())
            if any(_fits(form, spelled) for form in (known, skeleton(known)))
        }
        return found | self._exact(squeezed)


def _squeezed(word: str) -> str:
    return "".join(letter for letter, _ in runs(word))


def _fits(word: str, spelled: Sequence[tuple[str, int]]) -> bool:
    """No letter is repeated less often than in the word itself."""
    return all(
        letter == said and count <= repeated
        for (letter, count), (said, repeated) in zip(runs(word), spelled, strict=False)
    )
