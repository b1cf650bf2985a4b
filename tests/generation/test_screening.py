"""Refusing a prompt over HTTP: before anything is written or held, and without a word of it."""

import json
from typing import Any

import pytest

from kernel.telemetry.metrics import REGISTRY
from services.generation.adapters.catalogue_file import read_catalogue
from services.generation.api.bodies import GenerateRequest
from services.generation.api.screening import MESSAGES, NOT_SCREENED, texts_of
from services.generation.domain.moderation import Category
from tests.generation.conftest import Generation, person

CANARY = "quokka"
REFUSED = f"a gory {CANARY}"
KEYED = {"Idempotency-Key": "order-1"}


def rejected(category: str) -> float:
    labels = {"service": "generation", "type": category}
    return REGISTRY.get_sample_value("smartspec_prompts_rejected_total", labels) or 0.0


async def test_a_refused_prompt_names_its_rule_and_nothing_of_itself(
    generation: Generation, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rejected("violence_graphic")
    answer = await generation.create(person(), prompt=REFUSED)
    assert answer.status_code == 422
    body = answer.json()
    assert body["error"] == "prompt_rejected"
    assert body["details"] == {"category": "violence_graphic", "rule": "gore"}
    assert body["message"] == MESSAGES[Category.VIOLENCE_GRAPHIC]
    assert rejected("violence_graphic") == before + 1
    said = capsys.readouterr()
    assert CANARY not in answer.text + said.out + said.err


async def test_a_refused_prompt_leaves_no_trace_and_asks_no_credits(
    generation: Generation,
) -> None:
    me = person()
    await generation.create(me, KEYED, prompt=REFUSED)
    assert generation.ledger.heard == []
    named = await generation.rows(
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = 'generation' AND table_type = 'BASE TABLE'"
    )
    for table in {row["table_name"] for row in named} - {"alembic_version"}:
        rows = await generation.rows(f"SELECT * FROM generation.{table}")
        assert CANARY not in str(rows)
    assert await generation.rows("SELECT 1 FROM generation.events") == []
    mended = await generation.create(me, KEYED)
    assert mended.status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {"options": {"negative_prompt": REFUSED}},
        {"prompt": "a child", "options": {"negative_prompt": "clothes, naked"}},
    ],
)
async def test_a_negative_prompt_is_screened_too(
    generation: Generation, body: dict[str, Any]
) -> None:
    answer = await generation.create(person(), **body)
    assert (answer.status_code, answer.json()["error"]) == (422, "prompt_rejected")


async def test_the_users_own_notes_are_not_screened(generation: Generation) -> None:
    answer = await generation.create(person(), metadata={"shelf": "gore"})
    assert answer.status_code == 201


def test_every_category_has_words_for_people() -> None:
    assert set(MESSAGES) == set(Category)


def test_every_text_of_a_request_is_screened_or_known_to_say_nothing() -> None:
    texts = {
        name for name, kind in GenerateRequest.model_fields.items() if "str" in str(kind.annotation)
    }
    assert texts - NOT_SCREENED == {"prompt", "options"}


def test_every_text_among_the_options_is_screened_or_known_to_say_nothing() -> None:
    texts = {
        name
        for model in read_catalogue().models.values()
        for name, schema in model.options.properties.items()
        if schema["type"] == "string" and "enum" not in schema
    }
    assert texts - NOT_SCREENED == {"negative_prompt"}


def test_texts_are_found_wherever_they_are() -> None:
    asked = {
        "model_id": "no",
        "prompt": "a",
        "options": {"script": ["b", {"text": "c"}], "num_images": 2, "seed": None},
        "metadata": {"note": "no"},
    }
    assert list(texts_of(json.loads(json.dumps(asked)))) == ["a", "b", "c"]
