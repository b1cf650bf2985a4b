"""Lists of voices and avatars: asked for once in ten minutes, and never waited for twice."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from kernel.errors import Unavailable, VendorFailed
from kernel.testing import FakeClock
from services.generation.adapters.own_keys import OwnKeys
from services.generation.adapters.providers import Avatar, Fault, Refused, Voice
from services.generation.adapters.vendor_lists import AGAIN_AFTER, FRESH_FOR, VendorLists
from services.generation.adapters.vendors import Vendors
from tests.generation.conftest import ScriptedProvider

SILENT = Refused(Fault.UNAVAILABLE, "silent")
MOMENT = timedelta(seconds=1)


def voices(*names: str) -> list[Voice]:
    return [Voice(name, name, "en", "", None) for name in names]


class Listing(ScriptedProvider):
    """Says `answer` once it `may_answer`."""

    def __init__(self, answer: Sequence[Voice] | Refused) -> None:
        super().__init__()
        self.answer = answer
        self.times = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def voices(self) -> Sequence[Voice] | Refused:
        self.times += 1
        await self.may_answer.wait()
        return self.answer

    async def avatars(self) -> Sequence[Avatar] | Refused:
        return [Avatar("a", "A", "", None, None, None)]


class Known:
    def __init__(self, answer: Sequence[Voice] | Refused) -> None:
        self.clock = FakeClock()
        self.vendor = Listing(answer)
        vendors = Vendors({"heygen": self.vendor, "kie": ScriptedProvider()}, cast(OwnKeys, None))
        self.lists = VendorLists(vendors, self.clock)

    async def names(self) -> list[str]:
        return [voice.name for voice in await self.lists.voices("heygen")]

    async def settled(self) -> None:
        asking = self.lists._voices["heygen"].asking
        if asking is not None:
            await asking


async def test_a_list_is_asked_for_once_in_ten_minutes() -> None:
    known = Known(voices("ann"))
    assert [await known.names() for _ in range(3)] == [["ann"]] * 3
    known.clock.turn(FRESH_FOR - MOMENT)
    assert await known.names() == ["ann"]
    assert known.vendor.times == 1


async def test_an_old_list_is_told_while_a_new_one_is_asked_for() -> None:
    known = Known(voices("ann"))
    await known.names()
    known.clock.turn(FRESH_FOR)
    known.vendor.may_answer.clear()
    known.vendor.answer = voices("bob")
    assert await known.names() == ["ann"]
    assert await known.names() == ["ann"]
    known.vendor.may_answer.set()
    await known.settled()
    assert await known.names() == ["bob"]
    assert known.vendor.times == 2


async def test_many_who_ask_first_ask_the_vendor_once() -> None:
    known = Known(voices("ann"))
    answers: list[Any] = await asyncio.gather(*(known.names() for _ in range(20)))
    assert (answers, known.vendor.times) == ([["ann"]] * 20, 1)


async def test_a_vendor_that_falls_silent_leaves_its_old_list() -> None:
    known = Known(voices("ann"))
    await known.names()
    known.vendor.answer = SILENT
    known.clock.turn(FRESH_FOR)
    assert await known.names() == ["ann"]
    await known.settled()
    assert await known.names() == ["ann"]
    assert known.vendor.times == 2
    known.clock.turn(AGAIN_AFTER)
    assert await known.names() == ["ann"]
    await known.settled()
    assert known.vendor.times == 3


async def test_a_vendor_that_never_answered_is_said_to_fail_and_asked_again() -> None:
    known = Known(SILENT)
    for _ in range(2):
        with pytest.raises(VendorFailed):
            await known.names()
    known.vendor.answer = voices("ann")
    assert await known.names() == ["ann"]


async def test_a_vendor_without_a_key_or_without_lists_is_not_configured() -> None:
    known = Known(voices())
    for provider in ("kie", "elevenlabs", "nobody"):
        with pytest.raises(Unavailable) as refusal:
            await known.lists.avatars(provider)
        assert refusal.value.code == "provider_not_configured"
