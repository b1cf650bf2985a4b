"""Which prompts the rules refuse, however they are spelled, and which they leave alone."""

import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.settings import WrongSettings, read_settings
from services.generation.adapters.moderation_file import DEFAULT_FILE, read_prompt_rules
from services.generation.app import prompt_rules_of
from services.generation.domain.folding import _FOLDS, CHARACTERS_CACHED_MAX, fold
from services.generation.domain.moderation import ALLOWED, Category, PromptRules
from services.generation.settings import GenerationSettings

PROMPTS: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (Path(__file__).parent / "moderation_prompts.yaml").read_text("utf-8")
)
RULES = read_prompt_rules()
REFUSED_WORDS = ("porn", "nsfw", "hentai", "gore", "decapitation", "nudify", "swastika", "lolicon")
REPEATABLE = settings(max_examples=150, deadline=None, derandomize=True)
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)
EXTREMES = "sex 1!|@\u200b\u0301\ud800.\n\u30ab\u3099\u1100\u1161\u0430\u4e00<age>15yo*"
STRANGE_TEXT = ANY_TEXT | st.text(st.sampled_from(EXTREMES), max_size=200)


def texts(case: dict[str, Any]) -> list[str]:
    prompt = case["prompt"]
    return prompt if isinstance(prompt, list) else [prompt]


def named(case: dict[str, Any]) -> str:
    return ascii(case["prompt"])


@pytest.mark.parametrize("case", PROMPTS["refused"], ids=named)
def test_refuses(case: dict[str, Any]) -> None:
    verdict = RULES.screened(texts(case))
    assert verdict.category == Category(case["category"]), case["why"]
    assert verdict.rule


@pytest.mark.parametrize("case", PROMPTS["allowed"], ids=named)
def test_leaves_alone(case: dict[str, Any]) -> None:
    assert RULES.screened(texts(case)) == ALLOWED, case["why"]


def test_every_category_is_shown_by_a_prompt() -> None:
    assert {case["category"] for case in PROMPTS["refused"]} == set(Category)


# --- Spellings

LEET = str.maketrans("oieast", "013457")
CYRILLIC = str.maketrans("aeopcxsi", "\u0430\u0435\u043e\u0440\u0441\u0445\u0455\u0456")
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "in full width": lambda word: "".join(chr(ord(char) + 0xFEE0) for char in word),
    "with digits for letters": lambda word: word.translate(LEET),
    "with Cyrillic letters": lambda word: word.translate(CYRILLIC),
    "stretched": lambda word: word.replace(word[1], word[1] * 5),
}
BETWEEN = ("", "\u200b", "\u00ad", "\u0301", "\ufe0f", "\u2060", "\u0338")
SEPARATORS = ("", ".", "-", "_", " ", " . ", "\u2022", "/", "\n")


@REPEATABLE
@given(
    word=st.sampled_from(REFUSED_WORDS),
    spelling=st.sampled_from(sorted(SPELLINGS)),
    between=st.sampled_from(BETWEEN),
    before=st.sampled_from(("", "a photo of ", "\u4e00\u4e2a", "(", "see: ")),
    after=st.sampled_from(("", ", 4k", "!", ")", "\u4e2d")),
)
def test_refuses_a_refused_word_in_every_spelling(
    word: str, spelling: str, between: str, before: str, after: str
) -> None:
    spelled = between.join(SPELLINGS[spelling](word))
    assert RULES.screened([f"{before}{spelled}{after}"]) != ALLOWED


@REPEATABLE
@given(
    word=st.sampled_from(REFUSED_WORDS),
    spelling=st.sampled_from([name for name in sorted(SPELLINGS) if name != "stretched"]),
    separator=st.sampled_from(SEPARATORS),
)
def test_refuses_a_refused_word_with_something_between_its_letters(
    word: str, spelling: str, separator: str
) -> None:
    assert RULES.screened([separator.join(SPELLINGS[spelling](word))]) != ALLOWED


@REPEATABLE
@given(STRANGE_TEXT)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@REPEATABLE
@given(STRANGE_TEXT)
def test_folding_is_blind_to_how_a_text_is_normalised(text: str) -> None:
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)


@REPEATABLE
@given(st.lists(STRANGE_TEXT, max_size=3))
def test_takes_any_text_whatever_is_in_it(prompts: list[str]) -> None:
    RULES.screened(prompts)


@REPEATABLE
@given(STRANGE_TEXT)
def test_minors_and_sexual_are_refused_whatever_stands_around_them(text: str) -> None:
    asked = f"naked child {text} statue, sex education, nude lipstick"
    assert RULES.screened([asked]).category == Category.SEXUAL_MINORS


def test_what_is_remembered_of_characters_has_a_bound() -> None:
    for code in range(0x3400, 0x3400 + 2 * CHARACTERS_CACHED_MAX):
        fold(chr(code))
    assert len(_FOLDS) <= CHARACTERS_CACHED_MAX


# --- Work


def lines_run(rules: PromptRules, text: str) -> int:
    """How many lines of Python are run to screen the text."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        rules.screened([text])
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "part",
    [
        "a harbour at dawn, ",
        "a",
        "a ",
        "s.e.x.",
        "1!",
        "@",
        "aabb",
        "little ",
        "have how to kill all ",
        "h3ll0 ",
        "\u043f\u043e\u0440\u043d ",
        "\u4e00",
        "e\u0301\u200b",
    ],
)
def test_twice_the_text_is_at_most_twice_the_work(part: str) -> None:
    once, twice = lines_run(RULES, part * 800), lines_run(RULES, part * 1_600)
    assert twice <= 2.1 * once + 100


# --- The file


def book(**changed: Any) -> dict[str, Any]:
    rule = {"id": "no-cats", "category": "hate", "action": "block", "terms": ["cat"]}
    return {"version": "1", "rules": [{**rule, **changed}]}


def written(folder: Path, content: object) -> Path:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_an_operators_file_stands_in_for_ours(tmp_path: Path) -> None:
    path = written(tmp_path, book())
    rules = prompt_rules_of(read_settings(GenerationSettings, SMARTSPEC_MODERATION_FILE=path))
    assert rules.screened(["a c.a.t"]).rule == "no-cats"
    assert rules.screened(["gore"]) == ALLOWED


@pytest.mark.parametrize(
    "content",
    [
        {"version": "1", "rules": []},
        {"version": "1", "rules": [], "allowed": ["naked child", "naked", "child"]},
        book(category="sexual_minors", action="allow-context", context=["naked", "child"]),
    ],
)
def test_no_file_turns_off_the_rule_on_minors(tmp_path: Path, content: object) -> None:
    rules = read_prompt_rules(written(tmp_path, content))
    assert rules.screened(["naked child"]).rule == "minors-and-sexual"


WRONG: dict[str, object] = {
    "no version": {"rules": []},
    "a list": ["just", "a list"],
    "an unknown field": book(colour="red"),
    "an unknown category": book(category="cats"),
    "an unknown action": book(action="maybe"),
    "no terms and no pairs": book(terms=[]),
    "half a pair": book(pairs=[[["cat"], []]]),
    "a context that excuses nothing": book(context=["dog"]),
    "no context where one is needed": book(action="allow-context"),
    "an empty term": book(terms=[" "]),
    "a term of signs": book(terms=["!!"]),
    "a star that matches nearly all": book(terms=["ca*"]),
    "a pattern": book(terms=["(a+)+"]),
    "a word that YAML reads as a truth": book(terms=[True]),
    "an id of the floor's": book(id="minors-and-sexual"),
    "an id that is no name": book(id="No cats!"),
    "an id that is used twice": {"version": "1", "rules": book()["rules"] * 2},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_refuses_a_file_with(wrong: str, tmp_path: Path) -> None:
    path = written(tmp_path, WRONG[wrong])
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's is one; its words are pydantic's
        read_prompt_rules(path)


@pytest.mark.parametrize("name", ["none-such.yaml", "."])
def test_refuses_to_start_with_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    settings = read_settings(GenerationSettings, SMARTSPEC_MODERATION_FILE=tmp_path / name)
    with pytest.raises(WrongSettings, match="SMARTSPEC_MODERATION_FILE"):
        prompt_rules_of(settings)


def test_refuses_to_start_with_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [")
    settings = read_settings(GenerationSettings, SMARTSPEC_MODERATION_FILE=path)
    with pytest.raises(WrongSettings, match="SMARTSPEC_MODERATION_FILE"):
        prompt_rules_of(settings)


def test_reads_a_copy_of_our_file_that_was_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(DEFAULT_FILE.read_text("utf-8"), "utf-8")
    assert read_prompt_rules(path).screened(["gore"]).rule == "gore"
