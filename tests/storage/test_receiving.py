"""A multipart body is received in one pass, within bounds, whole or not at all."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from kernel.errors import Error, Invalid, Malformed, TooLarge, TooSlow, UnsupportedMedia
from services.storage.adapters import receiving
from services.storage.adapters.receiving import ReceivedFile, receive_body, receive_file

KIND = "multipart/form-data; boundary=edge"
MAX = 1_000


def part(content: bytes = b"abc", *, name: str = "file", filename: str | None = "a.png") -> bytes:
    shown = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    head = f"Content-Disposition: {shown}\r\nContent-Type: image/png\r\n\r\n"
    return b"--edge\r\n" + head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


def request(
    body: bytes | Sequence[bytes], kind: str = KIND, *, leaves: bool = False, length: str = ""
) -> Request:
    chunks = [body] if isinstance(body, bytes) else body

    async def messages() -> AsyncIterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if leaves:
            yield {"type": "http.disconnect"}
        yield {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"content-type", kind.encode())] if kind else []
    if length:
        headers.append((b"content-length", length.encode()))
    told = messages()
    scope = {"type": "http", "method": "POST", "headers": headers}
    return Request(scope, lambda: anext(told))


async def received(
    folder: Path, body: bytes | Sequence[bytes], kind: str = KIND, max_bytes: int = MAX
) -> ReceivedFile:
    return await receive_file(request(body, kind), folder / "target", max_bytes)


async def refused(
    folder: Path, asked: Request, *, max_bytes: int = MAX, idle_s: float = 30.0
) -> Error:
    with pytest.raises(Error) as caught:
        await receive_file(asked, folder / "target", max_bytes, idle_s=idle_s)
    assert not any_in(folder)
    return caught.value


def any_in(folder: Path) -> bool:
    return any(folder.iterdir())


def cut(body: bytes, at: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(at), len(body)]
    return [body[first:last] for first, last in pairwise(places)]


async def test_the_file_is_written_counted_and_hashed(tmp_path: Path) -> None:
    file = await received(tmp_path, form(part(b"abc")))

    assert file.path.read_bytes() == b"abc"
    assert (file.size, file.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
    assert (file.filename, file.content_type) == ("a.png", "image/png")


async def test_other_fields_are_read_beside_it(tmp_path: Path) -> None:
    fields = (
        part(b"x", name="before", filename=None),
        part(),
        part(b"y", name="after", filename=None),
    )

    assert (await received(tmp_path, form(*fields))).fields == {"before": "x", "after": "y"}


async def test_names_may_be_of_any_script(tmp_path: Path) -> None:
    assert (await received(tmp_path, form(part(filename="снег.png")))).filename == "снег.png"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(content=st.binary(min_size=1, max_size=200), at=st.sets(st.integers(0, 250), max_size=12))
def test_where_the_body_is_cut_into_pieces_changes_nothing(
    tmp_path: Path, content: bytes, at: set[int]
) -> None:
    body = form(part(b"\r\n--edg" + content))

    file = asyncio.run(received(tmp_path, cut(body, at)))

    assert file.path.read_bytes() == b"\r\n--edg" + content
    file.path.unlink()


async def test_a_file_larger_than_a_buffer_is_written_in_order(tmp_path: Path) -> None:
    content = bytes(range(251)) * (3 * receiving.BUFFER_BYTES_MAX // 251)
    pieces = cut(form(part(content)), range(0, len(content), 65_536))

    file = await received(tmp_path, pieces, max_bytes=len(content))

    assert file.path.read_bytes() == content
    assert file.sha256 == hashlib.sha256(content).hexdigest()


async def test_a_file_of_exactly_the_bound_is_taken_and_one_byte_more_is_not(
    tmp_path: Path,
) -> None:
    await received(tmp_path, form(part(b"x" * MAX)))
    (tmp_path / "target").unlink()

    error = await refused(tmp_path, request(form(part(b"x" * (MAX + 1)))))

    assert isinstance(error, TooLarge)
    assert error.details == {"bytes_max": MAX}


async def test_a_length_that_is_too_large_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    async def never() -> Message:
        raise AssertionError("read")

    asked = request(b"", length=str(1 << 40))
    asked._receive = never

    assert isinstance(await refused(tmp_path, asked), TooLarge)


@pytest.mark.parametrize("length", ["²", "-1", "x"])
async def test_a_length_that_is_none_is_not_believed(tmp_path: Path, length: str) -> None:
    asked = request(form(part(b"x" * (MAX + 1))), length=length)

    assert isinstance(await refused(tmp_path, asked), TooLarge)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/mixed; boundary=edge"])
async def test_another_type_than_a_form_is_refused(tmp_path: Path, kind: str) -> None:
    assert isinstance(await refused(tmp_path, request(form(part()), kind)), UnsupportedMedia)


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (form(part()), "multipart/form-data", "invalid_multipart"),
        (form(part()), "multipart/form-data; boundary=", "invalid_multipart"),
        (form(part()), "multipart/form-data; boundary=" + "e" * 300, "invalid_multipart"),
        (form(part()), "multipart/form-data; boundary=other", "invalid_multipart"),
        (b"", KIND, "invalid_multipart"),
        (b"no form at all", KIND, "invalid_multipart"),
        (part(b"never ended"), KIND, "invalid_multipart"),
        (form(b"--edge\r\n\r\nno name\r\n"), KIND, "invalid_multipart"),
        (form(b"--edge\r\n" + b"A: b\r\n" * 9 + b"\r\n\r\n"), KIND, "invalid_multipart"),
        (form(b"--edge\r\nA: " + b"b" * 5_000 + b"\r\n\r\n\r\n"), KIND, "invalid_multipart"),
        (form(), KIND, "missing_file"),
        (form(part(name="else", filename=None)), KIND, "missing_file"),
        (form(part(filename=None)), KIND, "unexpected_file"),
        (form(part(name="other")), KIND, "unexpected_file"),
        (form(part(), part()), KIND, "unexpected_file"),
        (form(part(b"")), KIND, "empty_file"),
        (form(part(b"x" * 5_000, name="long", filename=None), part()), KIND, "field_too_long"),
        (form(*[part(name="f", filename=None)] * 17), KIND, "too_many_fields"),
    ],
)
async def test_a_form_that_is_not_as_asked_for_is_refused_by_name(
    tmp_path: Path, body: bytes, kind: str, code: str
) -> None:
    error = await refused(tmp_path, request(body, kind))

    assert (error.code, type(error)) == (code, Invalid)


async def test_what_follows_the_form_is_bounded_too(tmp_path: Path) -> None:
    body = [form(part()), *[b"x" * 10_000] * 10]

    assert isinstance(await refused(tmp_path, request(body)), TooLarge)


async def test_a_client_that_stops_is_not_waited_for(tmp_path: Path) -> None:
    asked = request(part()[:-2])

    async def silent() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    asked._receive = silent

    assert isinstance(await refused(tmp_path, asked, idle_s=0.01), TooSlow)


async def test_a_client_that_drips_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "GRACE_S", 0.0)
    asked = request(part())

    async def dripping() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"\r", "more_body": True}

    asked._receive = dripping

    assert isinstance(await refused(tmp_path, asked), TooSlow)


async def test_a_client_that_leaves_leaves_nothing(tmp_path: Path) -> None:
    asked = request(part()[:-2], leaves=True)

    assert isinstance(await refused(tmp_path, asked), Malformed)


async def test_a_file_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"mine")

    with pytest.raises(FileExistsError):
        await received(tmp_path, form(part()))

    assert (tmp_path / "target").read_bytes() == b"mine"


async def test_a_body_of_exactly_its_size_is_written(tmp_path: Path) -> None:
    await receive_body(request([b"ab", b"", b"cd"], "image/png"), tmp_path / "target", 4)

    assert (tmp_path / "target").read_bytes() == b"abcd"


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (request([b"abc"]), Invalid),
        (request([b"abc", b"de"]), TooLarge),
        (request([b"abcd"], length="5"), TooLarge),
        (request([b"ab"], leaves=True), Malformed),
    ],
)
async def test_a_body_of_another_size_leaves_no_file(
    tmp_path: Path, asked: Request, kind: type[Error]
) -> None:
    with pytest.raises(kind):
        await receive_body(asked, tmp_path / "target", 4)

    assert not any_in(tmp_path)
