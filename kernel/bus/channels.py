"""Aiormq's channels without a task, a lock and several futures for each message.

Frames reach a channel by its `frames` queue, and leave by the `write_queue` of its connection.
`Speaking` and `Hearing` stand before the first, take what is theirs as it comes, and leave the rest
(opening, closing, answers) to aiormq. What is written in one turn of the loop is one write.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from contracts.envelope import Envelope
from kernel.bus.amqp import body_of
from kernel.bus.frames import ack_frame, publish_frames
from kernel.bus.topology import Route

FULL_AGAIN_AFTER_S: Final = 0.001

Take = Callable[["Hearing", DeliveredMessage], None]
"""Gets each message as it comes; must not wait."""
Content = Basic.Deliver | Basic.Return
"""What is followed by a header and a body."""


class Speaking:
    """A channel with confirms, and nobody else to publish on it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._writer = _Writer(channel)
        self._is_lost = False
        self._last_tag = 0
        self._open: dict[int, tuple[str, asyncio.Future[None]]] = {}
        """Publishes without their confirm, by tag: the message's id, and who waits."""
        self._tags: dict[str, int] = {}
        channel.frames = _Frames(channel, self._returned, self._confirmed)

    async def publish(self, envelope: Envelope, route: Route) -> None:
        """Return when the broker has confirmed it.

        Raises PublishError when it came back, DeliveryError when the broker would not have it, and
        ConnectionError when the channel was lost: then nobody knows.
        """
        channel = self._channel
        if self._is_lost or channel.is_closed:
            raise ConnectionError("the channel was lost")
        frames = publish_frames(
            envelope,
            body_of(envelope),
            route,
            channel=channel.number,
            body_frame_max=channel.max_content_size,
        )
        message_id = str(envelope.id)
        confirmation: asyncio.Future[None] = channel.loop.create_future()
        self._last_tag += 1
        self._open[self._last_tag] = (message_id, confirmation)
        self._tags[message_id] = self._last_tag
        self._writer.write(frames)
        await confirmation

    def lose(self) -> None:
        """Tell who waits that no confirm will come."""
        self._is_lost = True
        for tag in list(self._open):
            self._answer(tag, ConnectionError("the channel was lost"))

    def _returned(self, message: DeliveredMessage) -> None:
        """Its ack follows, and says nothing more."""
        returned = message.delivery
        assert isinstance(returned, Basic.Return)
        tag = self._tags.get(str(message.header.properties.message_id))
        if tag is not None:
            self._answer(tag, PublishError(message, returned))

    def _confirmed(self, frame: Any) -> bool:
        if not isinstance(frame, Basic.Ack | Basic.Nack):
            return False
        error = None if isinstance(frame, Basic.Ack) else DeliveryError(None, frame)
        last = frame.delivery_tag or 0
        tags = [tag for tag in self._open if tag <= last] if frame.multiple else [last]
        for tag in tags:
            self._answer(tag, error)
        return True

    def _answer(self, tag: int, error: Exception | None) -> None:
        message_id, confirmation = self._open.pop(tag, (None, None))
        if message_id is None or confirmation is None:
            return
        if self._tags.get(message_id) == tag:
            del self._tags[message_id]
        if confirmation.done():  # nobody waits any more
            return
        if error is None:
            confirmation.set_result(None)
        else:
            confirmation.set_exception(error)


class Hearing:
    """A channel with one consumer."""

    def __init__(self, channel: Channel, take: Take) -> None:
        self._channel = channel
        self._writer = _Writer(channel, self._acks)
        self._take = take
        self._next = 1
        """The first delivery that is not done."""
        self._done: set[int] = set()
        self._acked: set[int] = set()
        """Those past it that were acknowledged alone."""
        channel.frames = _Frames(channel, self._delivered, lambda _: False)

    def acknowledge(self, message: DeliveredMessage) -> None:
        """With all that are done in this turn of the loop. On a channel that was lost there is
        nothing to say: the message comes again."""
        tag = message.delivery_tag
        assert tag is not None, "a delivered message has a tag"
        self._done.add(tag)
        self._writer.write(b"")

    def _delivered(self, message: DeliveredMessage) -> None:
        self._take(self, message)

    def _acks(self) -> bytes:
        """One for all up to the first that is not done, one for each of those past it: none waits
        for a message that takes long."""
        number, last = self._channel.number, 0
        while self._next in self._done or self._next in self._acked:
            if self._next in self._done:
                last = self._next
            self._done.discard(self._next)
            self._acked.discard(self._next)
            self._next += 1
        acks = [ack_frame(number, last, multiple=True)] if last else []
        acks += [ack_frame(number, tag, multiple=False) for tag in self._done]
        self._acked |= self._done
        self._done.clear()
        return b"".join(acks)


class _Writer:
    """Gathers what is written in one turn of the loop; `last` adds to it when it goes."""

    def __init__(self, channel: Channel, last: Callable[[], bytes] = lambda: b"") -> None:
        self._channel = channel
        self._last = last
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> None:
        self._parts.append(part)
        if len(self._parts) == 1:
            self._channel.loop.call_soon(self._go)

    def _go(self) -> None:
        channel = self._channel
        if channel.is_closed:
            self._parts.clear()
        elif channel.write_queue.full():
            channel.loop.call_later(FULL_AGAIN_AFTER_S, self._go)
        else:
            self._parts.append(self._last())
            channel.write_queue.put_nowait(ChannelFrame(b"".join(self._parts), should_close=False))
            self._parts.clear()


class _Frames(asyncio.Queue[Any]):
    """Stands before a channel's own queue of frames: puts messages together, and offers the rest to
    `taken` first."""

    def __init__(
        self,
        channel: Channel,
        put_together: Callable[[DeliveredMessage], None],
        taken: Callable[[Any], bool],
    ) -> None:
        super().__init__()
        self._channel = channel
        self._rest: asyncio.Queue[Any] = channel.frames
        self._put_together = put_together
        self._taken = taken
        self._content: Content | None = None
        self._header: ContentHeader | None = None
        self._body: list[bytes] = []
        self._left = 0
        """Bytes of the body that have not come yet."""

    async def put(self, item: Any) -> None:
        frame = item[1]
        if isinstance(frame, Basic.Deliver | Basic.Return):
            self._content = frame
        elif self._content is None:
            if not self._taken(frame):
                await self._rest.put(item)
        elif isinstance(frame, ContentHeader):
            self._header, self._body, self._left = frame, [], frame.body_size or 0
            self._end_if_whole()
        elif isinstance(frame, ContentBody):
            self._body.append(frame.value)
            self._left -= len(frame.value)
            self._end_if_whole()
        else:  # the channel is closing
            self._content = None
            await self._rest.put(item)

    async def get(self) -> Any:
        return await self._rest.get()

    def task_done(self) -> None:
        self._rest.task_done()

    def _end_if_whole(self) -> None:
        content, header = self._content, self._header
        if self._left > 0 or content is None or header is None:
            return
        self._content = None
        message = DeliveredMessage(
            delivery=content, header=header, body=b"".join(self._body), channel=self._channel
        )
        self._put_together(message)
