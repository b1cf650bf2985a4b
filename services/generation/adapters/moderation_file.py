"""Reads the rules for prompts from YAML; a wrong file stops the start.

The floor is always read from beside the code: what an operator names comes on top of it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from services.generation.domain.moderation import Action, Category, PromptRules, Rule
from services.generation.domain.reading import normal

FLOOR_FILE = Path(__file__).parents[1] / "moderation_floor.yaml"
DEFAULT_FILE = Path(__file__).parents[1] / "moderation.yaml"
TERMS_MAX, RULES_MAX, TERM_LENGTH_MAX = 2_000, 500, 100

_Term = Annotated[str, StringConstraints(max_length=TERM_LENGTH_MAX), AfterValidator(normal)]
_Terms = Annotated[frozenset[_Term], Field(max_length=TERMS_MAX)]
_Side = Annotated[_Terms, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rule(_Strict):
    id: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    category: Category
    action: Action
    terms: _Terms = frozenset()
    pairs: tuple[tuple[_Side, _Side], ...] = ()
    context: _Terms = frozenset()

    @model_validator(mode="after")
    def _says_something(self) -> "_Rule":
        if not self.terms and not self.pairs:
            raise ValueError(f"{self.id}: needs terms or pairs")
        if bool(self.context) != (self.action == Action.ALLOW_CONTEXT):
            raise ValueError(f"{self.id}: context is for {Action.ALLOW_CONTEXT}, which needs one")
        return self


class _Rules(_Strict):
    version: str
    allowed: _Terms = frozenset()
    rules: tuple[_Rule, ...] = Field(max_length=RULES_MAX)


class _Floor(_Strict):
    version: str
    rules: tuple["_FloorRule", ...] = Field(min_length=1)


class _FloorRule(_Rule):
    action: Literal[Action.BLOCK]


def read_prompt_rules(path: Path | None = None) -> PromptRules:
    """The floor and the rules of `path`, or else ours. Raises OSError for a file that can't be
    read, ValueError (pydantic's names the place) for one that is malformed or uses an id twice."""
    given = path or DEFAULT_FILE
    floor = _Floor.model_validate(yaml.safe_load(FLOOR_FILE.read_text("utf-8")))
    book = _Rules.model_validate(yaml.safe_load(given.read_text("utf-8")))
    ids = [rule.id for rule in (*floor.rules, *book.rules)]
    if len(ids) != len(set(ids)):
        raise ValueError(f"{given.name}: a rule's id is used twice, or is one of the floor's")
    rules = [*_made(floor.rules, hard=True), *_made(book.rules, hard=False)]
    return PromptRules(rules, book.allowed)


def _made(rules: Iterable[_Rule], *, hard: bool) -> Iterable[Rule]:
    return [
        Rule(
            id=rule.id,
            category=rule.category,
            action=rule.action,
            terms=rule.terms,
            pairs=rule.pairs,
            context=rule.context,
            hard=hard,
        )
        for rule in rules
    ]
