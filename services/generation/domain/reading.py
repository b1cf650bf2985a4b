"""Finds the terms of rules in a text, however they are spelled. Knows terms, and no rule.

A term is words with single blanks between; a word that ends in `*` stands for all that begin so,
and `<age>` in front of or as a word for a number of years under 18. What is written in a script
without blanks between words is looked for as it stands. Work grows with the text, not its square.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

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

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f"
    "\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff"
)
_WORD: Final = re.compile(rf"[^\W_{_UNSPACED}]+")
_UNSPACED_LETTER: Final = re.compile(f"[{_UNSPACED}]")
_BETWEEN: Final = re.compile(r"[\W_]+")
_DOUBLED: Final = re.compile(r"(.)\1")
_AGED: Final = re.compile(r"0?([1-9]|1[0-7])(?!\d)([^\d]*)")
_SPELLED_AGES: Final = frozenset(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen".split()
)
_ORDINARY: Final = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Found:
    """A term, and the words of the text that it takes: from `start` until before `end`."""

    term: str
    start: int
    end: int


@dataclass
class _Step:
    """Where a reader of terms stands after some words."""

    term: str | None = None
    next: dict[str, "_Step"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """Each word of a vocabulary that begins here, with the place that follows it."""

    words: Sequence[tuple[str, int]]


def normal(term: str) -> str:
    """The term as texts are folded. Raises ValueError for one that could match nothing, or all."""
    words = [_normal_word(word) for word in term.split()]
    if not words:
        raise ValueError("a term must have a letter")
    return " ".join(words)


def _normal_word(word: str) -> str:
    age, stem = word.startswith(AGE), word.endswith(STEM)
    body = fold(word.removeprefix(AGE).removesuffix(STEM)).strip()
    if not (body.isalnum() or (age and not body)):
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

    def _learn(self, words: Iterable[str]) -> None:
        self._words = {word for word in words if not word.endswith(STEM)}
        self._stems: dict[str, list[str]] = defaultdict(list)
        self._alike: dict[str, list[str]] = defaultdict(list)
        self._stretched: dict[str, list[str]] = defaultdict(list)
        for word in words:
            if word.endswith(STEM):
                self._stems[word[:STEM_LENGTH_MIN]].append(word)
        for word in self._words:
            if word.isalpha():
                self._alike[skeleton(word)].append(word)
                self._stretched[_squeezed(word)].append(word)
                self._stretched[_squeezed(skeleton(word))].append(word)
        lengths = {len(word) for word in self._words if len(word) >= SPELLED_LENGTH_MIN}
        self._lengths = sorted(lengths)
        self._heads_alike = {skeleton(head): head for head in self._stems}

    def find(self, text: str) -> Iterator[Found]:
        """Every term that a reader could see in the text, in no order."""
        folded = fold(marked(text))
        yield from self._walked(self._places(folded))
        if not folded.isascii():
            letters = _BETWEEN.sub("", folded)
            for term in self._unspaced:
                if term.replace(" ", "") in letters:
                    yield Found(term, -1, -1)

    def _walked(self, places: Sequence[_Place | None]) -> Iterator[Found]:
        for start, place in enumerate(places):
            if place is None:
                continue
            waiting = [(self._root, start)]
            while waiting:
                step, at = waiting.pop()
                here = places[at] if at < len(places) else None
                for word, after in here.words if here else ():
                    following = step.next.get(word)
                    if following is None:
                        continue
                    if following.term is not None:
                        yield Found(following.term, start, after)
                    if following.next:
                        waiting.append((following, after))

    def _places(self, folded: str) -> list[_Place | None]:
        """For each word of the text what it may be read as; mostly nothing."""
        places: list[_Place | None] = []
        letters: list[tuple[int, str]] = []
        spelled: list[list[tuple[int, str]]] = []
        for chunk in folded.split():
            if chunk in LEET_SIGNS:
                parts = [chunk]
            elif _ORDINARY.fullmatch(chunk):
                parts = [chunk]
            else:
                parts = _WORD.findall(chunk)
            start = len(places)
            for part in parts:
                if len(part) == 1:
                    letters.append((len(places), part))
                elif letters:
                    spelled.append(letters)
                    letters = []
                known = self._known(part)
                places.append(_Place([(word, len(places) + 1) for word in known]) if known else None)
            if len(parts) != 1 or parts[0] is not chunk:
                self._add(places, start, self._whole(chunk, parts), len(places))
        spelled.append(letters)
        for run in spelled:
            self._add_spelled(places, run)
        return places

    def _add(
        self, places: list[_Place | None], at: int, words: Iterable[str], after: int
    ) -> None:
        more = [(word, after) for word in words]
        if not more:
            return
        if at == len(places):
            places.append(None)
            more = [(word, at + 1) for word, _ in more]
        here = places[at]
        places[at] = _Place([*(here.words if here else ()), *more])

    def _whole(self, chunk: str, parts: Sequence[str]) -> set[str]:
        """What a chunk with signs in it may be: the signs left out, or read as letters."""
        found: set[str] = set()
        if len(parts) > 1:
            found.update(self._known("".join(parts)))
        if not LEET_SIGNS.isdisjoint(chunk):
            signed = "".join(char for char in chunk if char.isalnum() or char in LEET_SIGNS)
            for form in {signed, signed.rstrip("!|+")}:
                if any(char.isalpha() for char in form):
                    found.update(self._odd(form))
        return found

    def _add_spelled(self, places: list[_Place | None], run: Sequence[tuple[int, str]]) -> None:
        """Letters that stand alone, one after the other: `s e x`, `s.e.x`."""
        word = "".join(letter for _, letter in run)
        if len(word) < 3 or not any(char.isalpha() for char in word):
            return
        word = as_latin(word) or word
        ends = [at + 1 for at, _ in run]
        for skipped in (0, 1) if word[0] in "ai" else (0,):
            if len(word) - skipped >= 3:
                self._add(places, run[skipped][0], self._known(word[skipped:]), ends[-1])
        alike = skeleton(word)
        for length in self._lengths:
            for start in range(len(word) - length + 1):
                known = self._alike.get(alike[start : start + length])
                if known:
                    self._add(places, run[start][0], known, ends[start + length - 1])

    def _known(self, word: str) -> set[str] | None:
        """The words that this one is or is a spelling of."""
        found: set[str] | None = None
        if word in self._words or word[:STEM_LENGTH_MIN] in self._stems:
            found = self._exact(word)
        if _DOUBLED.search(word):
            found = (found or set()) | self._shortened(word)
        if word.isalpha() and word.isascii():
            if word in _SPELLED_AGES:
                found = (found or set()) | {AGE}
            return found
        found = found or set()
        if not word.isascii() and (latin := as_latin(word)) is not None:
            found |= self._known(latin) or set()
        if not word.isalpha() and word.isascii():
            if (aged := _AGED.fullmatch(word)) and (age := f"{AGE}{aged[2]}") in self._words:
                found.add(age)
            if not word.isdigit():
                found |= self._odd(word)
        return found

    def _exact(self, word: str) -> set[str]:
        found = {word} if word in self._words else set()
        stems = self._stems.get(word[:STEM_LENGTH_MIN], ())
        return found | {stem for stem in stems if word.startswith(stem[:-1])}

    def _odd(self, word: str) -> set[str]:
        """With digits or signs for letters: compared by skeletons."""
        alike = skeleton(word)
        found = set(self._alike.get(alike, ()))
        head = self._heads_alike.get(alike[:STEM_LENGTH_MIN])
        if head is not None:
            found |= {s for s in self._stems[head] if alike.startswith(skeleton(s[:-1]))}
        if _DOUBLED.search(alike):
            found |= self._shortened(alike)
        return found

    def _shortened(self, word: str) -> set[str]:
        """With letters repeated more often than a slip of the pen does."""
        spelled = list(runs(word))
        if max(count for _, count in spelled) < STRETCHED_RUN_MIN and (
            sum(count > 1 for _, count in spelled) < 2
        ):
            return set()
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
