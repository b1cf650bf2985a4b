"""What is remembered of credentials: never longer than they live, whatever happens meanwhile."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.errors import Unavailable
from kernel.http import Identity
from kernel.testing import FakeClock
from services.gateway.adapters.holder import Holder
from services.gateway.adapters.ring import (
    ASKED_AGAIN_MAX,
    ENDED_MAX,
    KNOWN_FOR,
    LOOKUPS_MAX,
    UNKNOWN_FOR,
    Ring,
)

MOMENT = timedelta(microseconds=1)
KNOWN_MAX = 3


@dataclass
class Source:
    """Where credentials are asked for; it answers when it is `open`, with what it read before."""

    holders: dict[str, Holder] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    waiting: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def resolve(self, key: str) -> Holder | None:
        read = self.holders.get(key)
        self.asked.append(key)
        self.waiting.put_nowait(key)
        await self.open.wait()
        return read

    def add(self, key: str, ends_at: datetime | None = None) -> UUID:
        """The id of a new credential."""
        who = Identity(
            new_id(), new_id(), role="user", plan="free", scopes=frozenset(), key_id=new_id()
        )
        self.holders[key] = Holder(who, ends_at)
        assert who.key_id is not None
        return who.key_id


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def ring(source: Source, clock: FakeClock) -> Ring[str]:
    return Ring(source.resolve, clock, KNOWN_MAX)


async def test_asks_once_until_the_memory_ends(
    ring: Ring[str], source: Source, clock: FakeClock
) -> None:
    source.add("a")
    assert await ring.find("a") is source.holders["a"]
    clock.turn(KNOWN_FOR - MOMENT)
    assert await ring.find("a") is source.holders["a"]
    assert len(source.asked) == 1
    clock.turn(MOMENT)
    await ring.find("a")
    assert len(source.asked) == 2


async def test_what_nobody_told_of_is_good_for_half_a_minute_at_most(
    ring: Ring[str], source: Source, clock: FakeClock
) -> None:
    source.add("a")
    await ring.find("a")
    del source.holders["a"]  # while the bus is away
    for _ in range(30):
        assert await ring.find("a")  # however often it is used
        clock.turn(timedelta(seconds=1))
    assert await ring.find("a") is None


async def test_the_time_runs_from_the_question_not_from_the_answer(
    ring: Ring[str], source: Source, clock: FakeClock
) -> None:
    source.add("a")
    source.open.clear()
    asking = asyncio.create_task(ring.find("a"))
    await source.waiting.get()
    clock.turn(timedelta(seconds=3))
    source.open.set()
    await asking
    clock.turn(KNOWN_FOR - timedelta(seconds=3))
    await ring.find("a")
    assert len(source.asked) == 2


async def test_what_is_unknown_is_remembered_shortly(
    ring: Ring[str], source: Source, clock: FakeClock
) -> None:
    assert [await ring.find("a") for _ in range(3)] == [None] * 3
    assert len(source.asked) == 1
    source.add("a")
    clock.turn(UNKNOWN_FOR)
    assert await ring.find("a")


async def test_a_remembered_one_ends_at_its_own_moment(
    ring: Ring[str], source: Source, clock: FakeClock
) -> None:
    source.add("a", ends_at=clock.now() + timedelta(seconds=10))
    await ring.find("a")
    clock.turn(timedelta(seconds=10) - MOMENT)
    assert await ring.find("a")
    clock.turn(MOMENT)
    assert await ring.find("a") is None
    assert len(source.asked) == 1


async def test_many_who_ask_at_once_ask_once(ring: Ring[str], source: Source) -> None:
    source.add("a")
    source.open.clear()
    asking = [asyncio.create_task(ring.find("a")) for _ in range(20)]
    await source.waiting.get()
    source.open.set()
    assert await asyncio.gather(*asking) == [source.holders["a"]] * 20
    assert len(source.asked) == 1


async def test_who_asked_first_may_leave_without_harm(ring: Ring[str], source: Source) -> None:
    source.add("a")
    source.open.clear()
    first = asyncio.create_task(ring.find("a"))
    await source.waiting.get()
    second = asyncio.create_task(ring.find("a"))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    source.open.set()
    assert await second is source.holders["a"]


async def test_whatever_ends_its_id_or_its_user_is_believed_at_once(
    ring: Ring[str], source: Source
) -> None:
    for end in ("id", "user"):
        ended, other = f"ended by its {end}", f"lives on beside {end}"
        key_id = source.add(ended)
        source.add(other)
        await ring.find(ended)
        await ring.find(other)
        holder = source.holders.pop(ended)
        ring.forget(key_id if end == "id" else holder.identity.user_id)
        assert await ring.find(ended) is None
        assert await ring.find(other)
        assert source.asked.count(other) == 1


async def test_what_changed_is_asked_for_anew_and_remembered_again(
    ring: Ring[str], source: Source
) -> None:
    key_id = source.add("a")
    await ring.find("a")
    ring.forget(key_id)
    for _ in range(3):
        assert await ring.find("a")
    assert len(source.asked) == 2


async def test_what_ends_while_it_is_looked_up_is_not_let_in(
    ring: Ring[str], source: Source
) -> None:
    key_id = source.add("a")
    source.open.clear()
    asking = asyncio.create_task(ring.find("a"))
    await source.waiting.get()  # the row has been read already
    del source.holders["a"]
    ring.forget(key_id)
    source.open.set()
    assert await asking is None
    assert await ring.find("a") is None


async def test_what_only_changes_while_it_is_looked_up_is_let_in(
    ring: Ring[str], source: Source
) -> None:
    key_id = source.add("a")
    before = source.holders["a"]
    source.open.clear()
    asking = asyncio.create_task(ring.find("a"))
    await source.waiting.get()
    source.holders["a"] = Holder(before.identity)
    ring.forget(key_id)
    source.open.set()
    assert await asking is source.holders["a"]


async def test_an_answer_from_before_a_gap_is_not_believed(ring: Ring[str], source: Source) -> None:
    source.add("a")
    source.open.clear()
    asking = asyncio.create_task(ring.find("a"))
    await source.waiting.get()
    del source.holders["a"]
    ring.forget_all()
    source.open.set()
    assert await asking is None


async def test_asks_anew_when_endings_may_have_been_missed(ring: Ring[str], source: Source) -> None:
    source.add("a")
    await ring.find("a")
    del source.holders["a"]  # nobody was told
    assert await ring.find("a")
    ring.forget_all()
    assert await ring.find("a") is None


async def test_gives_up_on_what_changes_each_time_it_is_asked_for(
    source: Source, clock: FakeClock
) -> None:
    key_id = source.add("a")

    async def resolve(key: str) -> Holder | None:
        holder = await source.resolve(key)
        restless.forget(key_id)
        return holder

    restless = Ring(resolve, clock, KNOWN_MAX)
    with pytest.raises(Unavailable):
        await restless.find("a")
    assert len(source.asked) == ASKED_AGAIN_MAX


async def test_a_fault_lets_nobody_in_and_is_not_remembered(
    source: Source, clock: FakeClock
) -> None:
    faults = [Unavailable("credentials_unavailable", "Not now.")]

    async def resolve(key: str) -> Holder | None:
        if faults:
            raise faults.pop()
        return await source.resolve(key)

    source.add("a")
    ring = Ring(resolve, clock, KNOWN_MAX)
    with pytest.raises(Unavailable):
        await ring.find("a")
    assert await ring.find("a")


async def test_lookups_are_bounded(ring: Ring[str], source: Source) -> None:
    source.open.clear()
    asking = [asyncio.create_task(ring.find(str(number))) for number in range(LOOKUPS_MAX)]
    for _ in asking:
        await source.waiting.get()
    with pytest.raises(Unavailable) as refusal:
        await ring.find("one more")
    assert (refusal.value.code, refusal.value.retry_after_s) == ("too_busy", 1)
    source.open.set()
    await asyncio.gather(*asking)


async def test_what_is_remembered_is_bounded(ring: Ring[str], source: Source) -> None:
    for number in range(KNOWN_MAX + 5):
        source.add(str(number))
        await ring.find(str(number))
    assert len(ring) == KNOWN_MAX


async def test_an_ending_is_believed_however_many_came_after_it(
    ring: Ring[str], source: Source
) -> None:
    key_id = source.add("a")
    source.add("later")
    await ring.find("a")
    source.holders.pop("a")
    ring.forget(key_id)
    await ring.find("later")
    for number in range(ENDED_MAX):
        ring.forget(UUID(int=number))
    assert await ring.find("a") is None
    assert await ring.find("later")
    assert len(ring._ended) == ENDED_MAX
    assert source.asked.count("later") == 1, "it was asked for after the oldest of them"
