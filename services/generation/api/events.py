"""The numbered feed of a task: one for who polls, who follows, and what calls webhooks.

An entry is a version of the task's stream that changed what its owner sees, with the task as it was
then; versions that changed nothing outside (credits promised, a job at a provider) have none, so
numbers have gaps and entries do not. `after` is the last version that the asker knows: the same
question gives the same entries, in order, however often and over whichever replica it is asked.

`GET /tasks/{task_id}/events` answers as `text/event-stream` and goes on until the task has ended;
who accepts `application/json` alone gets what there is now, and asks again `?after=next_after`.
Both are `Feed.news`. `Last-Event-ID`, which browsers send by themselves, is `after` and outweighs
it. Who comes back knowing all of a task that has ended is answered 204: by the HTML standard a
browser does not come back then.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from kernel.errors import NotFound
from kernel.http import Caller
from kernel.identifiers import shown
from kernel.objects import ObjectLinks
from kernel.sql import DATABASE_LOST
from services.generation.adapters.feeds import Follower, Followers
from services.generation.api.bodies import TaskBody, task_body
from services.generation.api.history import Histories, Past
from services.generation.api.task_ids import task_id_of
from services.generation.api.tasks import ENDED, Tasks

COMMENT_EVERY_S: Final = 15.0
SEND_TIMEOUT_S: Final = 60.0
"""Of a client that does not read."""
VERSION_MAX: Final = 2**31 - 1
EVENT_STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
_COMMENT: Final = b": still going on\n\n"
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)

_log = structlog.get_logger(__name__)

Version = Annotated[int, Query(ge=0, le=VERSION_MAX)]
LastEventId = Annotated[int | None, Header(ge=0, le=VERSION_MAX)]


class FeedEntry(BaseModel):
    """The task as it was in `version` of its stream, with links that are good now."""

    version: int
    task: TaskBody


class FeedBody(BaseModel):
    """Ask for what comes later with `?after=next_after`; nothing comes once `ended`."""

    success: bool
    events: list[FeedEntry]
    next_after: int
    ended: bool


@dataclass(frozen=True, slots=True)
class News:
    """`version` is that of the stream; it may be past the last entry."""

    entries: Sequence[FeedEntry]
    version: int
    ended: bool


def news_of(past: Past, after: int, objects: ObjectLinks, now: datetime) -> News:
    """The versions past `after` whose task does not look like that of the version before."""
    before, entries = None, []
    for row in past.rows:
        body = task_body(row, past.request, 0, objects, now)
        if body != before and row["version"] > after:
            entries.append(FeedEntry(version=row["version"], task=body))
        before = body
    last = past.rows[-1]
    return News(entries, last["version"], last["stage"] in ENDED)


class Feed:
    """The feeds of all tasks."""

    def __init__(self, tasks: Tasks, histories: Histories, followers: Followers) -> None:
        self._tasks = tasks
        self._histories = histories
        self.followers = followers

    async def news(self, task_id: UUID, user_id: UUID, after: int) -> News:
        """What the user has not seen of the task, who knows it as of `after`. Raises `NotFound`."""
        past = await self._histories.read(task_id, user_id)
        if past is None:
            raise NotFound("task_not_found", "There is no such task.")
        return news_of(past, after, self._tasks.objects, self._tasks.store.clock.now())

    async def frames(
        self, follower: Follower, task_id: UUID, user_id: UUID, news: News
    ) -> AsyncGenerator[bytes]:
        """Each entry once, in order, from `news` on, which was read after `follower` began; between
        them how far it is, and comments; until the task has ended, or we have."""
        follower.progressed(await self._progress(task_id))
        while True:
            follower.known_version = news.version
            for entry in news.entries:
                yield _task_frame(entry)
            if news.ended:
                return
            progress = follower.progress()
            if progress is not None:
                yield _progress_frame(task_id, progress)
            if self.followers.ending:
                return
            if not await follower.woken(COMMENT_EVERY_S):
                yield _COMMENT
            if follower.change():
                news = await self.news(task_id, user_id, news.version)
            else:
                news = replace(news, entries=())

    async def _progress(self, task_id: UUID) -> int:
        return (await self._tasks.due.progress_of([task_id])).get(task_id, 0)


class FeedStream(Response):
    """A feed as server-sent events (HTML standard, 9.2), until it ends or its reader leaves."""

    media_type = EVENT_STREAM

    def __init__(self, feed: Feed, task_id: UUID, user_id: UUID, after: int) -> None:
        super().__init__()
        self._feed = feed
        self._task_id = task_id
        self._user_id = user_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `NotFound`, and `Unavailable` when too many follow already, before it begins."""
        with self._feed.followers.following(self._task_id) as follower:
            follower.change()
            news = await self._feed.news(self._task_id, self._user_id, self._after)
            if news.ended and not news.entries:
                await Response(status_code=204)(scope, receive, send)
                return
            await _until_either(self._send(follower, news, send), _until_left(receive))

    async def _send(self, follower: Follower, news: News, send: Send) -> None:
        """What goes wrong after the beginning ends it: its reader comes back and misses nothing."""
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        frames = self._feed.frames(follower, self._task_id, self._user_id, news)
        try:
            async with aclosing(frames):
                async for frame in frames:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
        except (NotFound, *DATABASE_LOST, TimeoutError) as error:
            _log.info("feed_cut_short", error=type(error).__name__)
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def add_events(router: APIRouter, feed: Feed) -> None:
    @router.get(
        "/tasks/{task_id}/events",
        responses={
            200: {"model": FeedBody, "content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
            204: {"description": "It has ended, and nothing is left to say"},
        },
    )
    async def follow_task(
        task_id: str,
        caller: Caller,
        request: Request,
        after: Version = 0,
        last_event_id: LastEventId = None,
    ) -> Response:
        """What became of the task after version `after`, as server-sent events until it has ended:
        `event: task` with the version as its id, `event: progress` without one. As JSON: what there
        is by now."""
        identity, known = task_id_of(task_id), after if last_event_id is None else last_event_id
        if _wants_json(request):
            return _whole(await feed.news(identity, caller.user_id, known), known)
        return FeedStream(feed, identity, caller.user_id, known)


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return JSON in accepted and EVENT_STREAM not in accepted


def _whole(news: News, known: int) -> JSONResponse:
    body = FeedBody(
        success=True,
        events=list(news.entries),
        next_after=max(known, news.version),
        ended=news.ended,
    )
    return JSONResponse(body.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


def _task_frame(entry: FeedEntry) -> bytes:
    """One line of data: JSON has no line breaks of its own."""
    data = orjson.dumps(entry.task.model_dump(mode="json"))
    return b"event: task\nid: %d\ndata: %b\n\n" % (entry.version, data)


def _progress_frame(task_id: UUID, progress: int) -> bytes:
    data = orjson.dumps({"id": shown("task", task_id), "progress": min(progress, 99)})
    return b"event: progress\ndata: %b\n\n" % data


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_either(*works: Coroutine[Any, Any, None]) -> None:
    """Until the first of them has ended; the others are cancelled. Raises what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome
