"""Answers say numbers as they are."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from services.credits.api.exact_json import Credits, exact_credits, exact_text


class Inner(BaseModel):
    words: str
    at: datetime


class Answer(BaseModel):
    amount: Credits
    by_name: dict[str, Inner]
    items: list[Inner | int | float | bool | None]


def inner() -> st.SearchStrategy[Inner]:
    return st.builds(Inner, words=st.text(), at=st.datetimes(timezones=st.just(UTC)))


@given(
    st.builds(
        Answer,
        amount=st.integers(-(10**16), 10**16).map(exact_credits),
        by_name=st.dictionaries(st.text(), inner(), max_size=3),
        items=st.lists(inner() | st.integers() | st.booleans() | st.none(), max_size=3),
    )
)
def test_what_was_said_is_read_back_exactly(answer: Answer) -> None:
    read: dict[str, Any] = json.loads(exact_text(answer), parse_float=Decimal)
    assert read["amount"] == answer.amount
    assert Answer.model_validate(read) == answer
