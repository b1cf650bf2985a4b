"""Which prompts are refused: rules over the terms found in them. Pure; the rules are data.

A hard rule (minors and anything sexual in one request) is in force whatever else is set: no
allowed phrase hides a term from it, and no context excuses it.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from services.generation.domain.reading import Found, Vocabulary


class Category(StrEnum):
    SEXUAL_MINORS = "sexual_minors"
    SEXUAL = "sexual"
    REAL_PERSON_NUDITY = "real_person_nudity"
    VIOLENCE_GRAPHIC = "violence_graphic"
    SELF_HARM = "self_harm"
    HATE = "hate"
    EXTREMISM = "extremism"
    ILLEGAL_GOODS = "illegal_goods"


class Action(StrEnum):
    """`ALLOW_CONTEXT`: refused, unless a word of its context is in the same text."""

    BLOCK = "block"
    ALLOW_CONTEXT = "allow-context"


@dataclass(frozen=True, slots=True)
class Rule:
    """Met by any of `terms`, or by one term of each side of a pair. All are `reading.normal`."""

    id: str
    category: Category
    action: Action
    terms: frozenset[str] = frozenset()
    pairs: Sequence[tuple[frozenset[str], frozenset[str]]] = ()
    context: frozenset[str] = frozenset()
    hard: bool = False

    def vocabulary(self) -> frozenset[str]:
        return self.terms.union(self.context, *(side for pair in self.pairs for side in pair))

    def is_met(self, seen: AbstractSet[str]) -> bool:
        if not self.hard and not self.context.isdisjoint(seen):
            return False
        return not self.terms.isdisjoint(seen) or any(
            not one.isdisjoint(seen) and not other.isdisjoint(seen) for one, other in self.pairs
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rule that refuses, and its category; neither where nothing does."""

    category: Category | None = None
    rule: str | None = None


ALLOWED = Verdict()


class PromptRules:
    """Hard rules first, then in their order. Phrases of `allowed` hide the terms within them."""

    def __init__(self, rules: Iterable[Rule], allowed: frozenset[str] = frozenset()) -> None:
        self._rules = sorted(rules, key=lambda rule: not rule.hard)
        self._allowed = allowed
        terms = set(allowed).union(*(rule.vocabulary() for rule in self._rules))
        self._vocabulary = Vocabulary(terms)

    def screened(self, texts: Sequence[str]) -> Verdict:
        """Of what is asked in one request: each text for itself, then all together, so that the
        two halves of a pair may not be told apart."""
        read = [list(self._vocabulary.find(text)) for text in texts]
        whole = [{found.term for found in one} for one in read]
        plain = [self._visible(one) for one in read]
        if len(texts) > 1:
            whole.append(set().union(*whole))
            plain.append(set().union(*plain))
        for rule in self._rules:
            if any(rule.is_met(seen) for seen in (whole if rule.hard else plain)):
                return Verdict(rule.category, rule.id)
        return ALLOWED

    def _visible(self, read: Sequence[Found]) -> set[str]:
        hidden: set[int] = set()
        for found in read:
            if found.term in self._allowed:
                hidden.update(range(found.start, found.end))
        return {
            found.term
            for found in read
            if found.start == found.end or not hidden.issuperset(range(found.start, found.end))
        }
