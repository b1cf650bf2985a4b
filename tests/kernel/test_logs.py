import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import structlog
from pydantic import BaseModel, ValidationError

from kernel.context import Origin, caused_by
from kernel.logs import DEPTH_MAX, REDACTED, configure, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl_-x"
CANARY = "canary0123456789canary0123456789"
TEXTS = [
    f"sk_live_{CANARY}",
    f"nb_live_{CANARY}",
    f"sk-{CANARY}",
    JWT.replace("c2lnbmF0dXJl", CANARY),
    f"Bearer {CANARY}",
    f"bearer {CANARY}==",
    f"authorization: Basic {CANARY}",
    f"postgresql://smart:{CANARY}@db:5432/x",
    f"redis://:{CANARY}@cache:6379",
    f"https://{CANARY}@errors.example.com/1",
    f"https://smartspec.test/media/a.png?expires=1&signature={CANARY}",
    f"Brief(prompt='{CANARY}', size=1)",
    f"Brief(prompt='it\\'s {CANARY}', size=1)",
    f'{{"prompt": "{CANARY}", "negative_prompt": "{CANARY}"}}',
    f"{{'password': '{CANARY}'}}",
    f"?api_key={CANARY}&x=1",
    f"refused [type=x, input_value='{CANARY}', input_type=str]",
    f"refused [type=x, input_value={{'a': '{CANARY}'}}, input_type=dict]",
    f"mfa_{CANARY}",
    f"rt_{CANARY}",
]


def redacted(**event: Any) -> dict[str, Any]:
    return dict(redact(None, "info", event))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", ["{}", "before {} after", "'{}'", "({})", "a\n{}\nb"])
def test_no_secret_inside_a_text_is_written(text: str, place: str) -> None:
    cleaned = redacted(event=place.format(text) if place != "{}" else text)["event"]
    assert CANARY not in cleaned
    assert REDACTED in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a plain line",
        "https://example.com/a@b",
        "task_0190 took 3 tokens",
        "mfa_required",
        "risk-taking users",
    ],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert redacted(event=text) == {"event": text}


SECRET_NAMES = [
    *["password", "api_key", "apikey", "X-Internal-Token", "prompt", "negative_prompt", "Cookie"],
    *["jwt_secret", "Authorization", "credentials", "signature"],
]


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("value", [CANARY, [CANARY], {"a": CANARY}, CANARY.encode(), 12])
def test_nothing_under_a_secret_name_is_written(name: str, value: object) -> None:
    assert redacted(**{name: value}) == {name: REDACTED}
    assert redacted(outer=[{name: value}]) == {"outer": [{name: REDACTED}]}


def test_secrets_are_found_in_collections_keys_and_objects() -> None:
    @dataclass
    class Brief:
        prompt: str

    event = {
        "list": [TEXTS[0]],
        "tuple": ({"deep": (TEXTS[4],)},),
        "set": {TEXTS[4]},
        "key": {TEXTS[0]: 1},
        "object": Brief(CANARY),
        "error": ValueError(f"Bearer {CANARY}"),
        "bytes": TEXTS[0].encode(),
    }
    assert CANARY not in json.dumps(redacted(**event))


def test_what_is_nested_too_deep_to_look_at_is_not_written() -> None:
    nested: Any = CANARY
    for _ in range(DEPTH_MAX + 2):
        nested = [nested]
    assert CANARY not in json.dumps(redacted(nested=nested))


def test_numbers_truths_and_nothing_stay_what_they_are() -> None:
    event = {"a": 1, "b": 1.5, "c": True, "d": None, "e": [1]}
    assert redacted(**event) == event


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What `configure` makes of all logs, which are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure("INFO", stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_request_it_belongs_to(written: io.StringIO) -> None:
    with caused_by(Origin("request-1"), "credits"):
        structlog.get_logger("here").info("said", size=1)
    (line,) = lines(written)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "said",
        "level": "info",
        "logger": "here",
        "request_id": "request-1",
        "service": "credits",
        "size": 1,
    }


def test_the_standard_librarys_loggers_are_cleaned_too(written: io.StringIO) -> None:
    with caused_by(Origin("request-1"), "credits"):
        logging.getLogger("a.library").warning("connecting to %s", TEXTS[7])
    (line,) = lines(written)
    assert CANARY not in written.getvalue()
    assert (line["request_id"], line["level"], line["logger"]) == (
        "request-1",
        "warning",
        "a.library",
    )


@pytest.mark.parametrize("of_structlog", [True, False])
def test_the_text_of_an_exception_is_cleaned(written: io.StringIO, *, of_structlog: bool) -> None:
    def fail() -> None:
        raise RuntimeError(f"could not reach {TEXTS[7]}")

    try:
        fail()
    except RuntimeError:
        if of_structlog:
            structlog.get_logger("here").exception("failed")
        else:
            logging.getLogger("here").exception("failed")
    (line,) = lines(written)
    assert "RuntimeError: could not reach postgresql://" in line["exception"]
    assert CANARY not in written.getvalue()


def test_what_pydantic_quotes_is_not_written(written: io.StringIO) -> None:
    class Brief(BaseModel):
        text: int

    try:
        Brief.model_validate({"text": CANARY})
    except ValidationError:
        structlog.get_logger("here").exception("failed")
    assert "input_value=" in written.getvalue()
    assert CANARY not in written.getvalue()


def test_anything_can_be_logged(written: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger("here").info(
        "odd", by_id={UUID(int=1): b"\xff"}, pairs={(1, 2): object()}, lone="\ud800"
    )
    assert lines(written)[0]["event"] == "odd"
    assert capsys.readouterr().err == ""


def test_lines_below_the_level_are_not_written(written: io.StringIO) -> None:
    structlog.get_logger("here").debug("whispered")
    logging.getLogger("httpx").info("HTTP Request: GET https://example.com/?signature=x")
    assert written.getvalue() == ""
