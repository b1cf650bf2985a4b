"""The picture that a request begins with: how it is named, and what is taken for one."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from kernel.clock import new_id
from kernel.errors import Invalid
from kernel.objects import LocalObjectStore
from kernel.outbound import Outbound
from services.generation.adapters import input_images
from services.generation.adapters.input_images import InputImages
from services.generation.adapters.providers import Fault, InputImage, Refused
from services.generation.adapters.uploaded_files import UploadedFiles
from services.generation.domain.input_images import check_input_image
from tests.generation.conftest import Bench, Generation, person
from tests.generation.played_vendors import PICTURE
from tests.generation.scripted_vendor import Vendor, listening

ME, OTHER = UUID(int=1), UUID(int=2)
MINE = f"images/generated/{ME.hex}/t.png"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    async with listening() as vendor:
        yield vendor


@pytest.fixture
async def images(vendor: Vendor, bench: Bench, tmp_path: Path) -> AsyncIterator[InputImages]:
    outbound = Outbound(allowed_origins=frozenset({vendor.address}), ssl_context=NO_TLS)
    uploads = UploadedFiles(bench.platform.database, tries_after_s=())
    yield InputImages(LocalObjectStore(tmp_path), outbound, uploads)
    await outbound.aclose()


@pytest.mark.parametrize("reference", [MINE, "https://cdn.test/a.png", "HTTP://cdn.test:80/a?b=c"])
def test_takes_an_address_or_an_own_key(reference: str) -> None:
    check_input_image(reference, ME)


@pytest.mark.parametrize(
    "reference",
    [
        f"images/generated/{OTHER.hex}/t.png",
        f"images/generated/{ME.hex}/",
        f"images/generated/{ME.hex}/../{OTHER.hex}/t.png",
        f"claims/{ME.hex}",
        f"uploads/{ME.hex}.gif",
        f"uploads/{ME.hex}.pdf",
        f"uploads/{ME.hex}.png/x.png",
        f"uploads/{ME.hex}.png\n",
        f"uploads/../uploads/{ME.hex}.png",
        f"staging/{ME.hex}.png",
        "cdn.test/a.png",
        "ftp://cdn.test/a.png",
        "file:///etc/passwd",
        "https://",
        "https://[",
        "https://me:secret@cdn.test/a.png",
        "https://cdn.test/a b.png",
        "data:image/png;base64,AAAA",
        "x",
    ],
)
def test_refuses_what_is_neither_and_names_the_option(reference: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_input_image(reference, ME)
    assert refusal.value.details == {"field": "options.input_image"}


async def test_reads_an_own_picture(images: InputImages) -> None:
    await images._objects.put_bytes(MINE, PICTURE.content)
    assert await images.read(ME, MINE) == PICTURE
    assert fault_of(await images.read(OTHER, MINE)) == Fault.INPUT
    assert fault_of(await images.read(ME, f"images/generated/{ME.hex}/gone.png")) == Fault.INPUT
    assert fault_of(await images.read(ME, f"images/generated/{ME.hex}/.png")) == Fault.INPUT


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff...", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBP...", "image/webp"),
        (b"RIFF\0\0\0\0WAVE...", None),
        (b"GIF89a", None),
        (b"<svg/>", None),
        (b"", None),
    ],
)
async def test_fetches_and_believes_the_content_alone(
    images: InputImages, vendor: Vendor, content: bytes, mime_type: str | None
) -> None:
    vendor.say_text(content)
    answer = await images.read(ME, f"{vendor.address}/a.svg")
    if mime_type is None:
        assert fault_of(answer) == Fault.INPUT
    else:
        assert answer == InputImage(content, mime_type)
    assert await asyncio.to_thread(lambda: list(images._objects.incoming.iterdir())) == []


async def test_takes_none_that_is_too_large(
    images: InputImages, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_images, "BYTES_MAX", 10)
    await images._objects.put_bytes(MINE, PICTURE.content)
    assert await images.read(ME, MINE) == input_images.TOO_LARGE
    vendor.say_text(PICTURE.content)
    assert fault_of(await images.read(ME, f"{vendor.address}/a.png")) == Fault.INPUT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "http://169.254.169.254/a.png"])
async def test_reaches_into_no_network_of_ours(images: InputImages, url: str) -> None:
    answer = await images.read(ME, url)
    assert fault_of(answer) == Fault.INPUT
    assert "127.0.0.1" not in str(answer)


async def test_a_request_with_a_reference_that_can_not_be_is_refused(
    generation: Generation,
) -> None:
    answer = await generation.create(person(), options={"input_image": "not a reference"})
    assert (answer.status_code, answer.json()["details"]["field"]) == (422, "options.input_image")


async def test_a_task_whose_picture_is_gone_ends_before_a_vendor_is_asked(bench: Bench) -> None:
    reference = f"images/generated/{bench.user_id.hex}/{new_id().hex}.png"
    task = await bench.task(input_image=reference)
    await bench.attend()
    failed = (await bench.events(task))[-1]
    assert "invalid_input_image" in str(failed)
    assert bench.provider.asked == []


async def test_a_vendor_is_given_the_picture(bench: Bench) -> None:
    reference = f"images/generated/{bench.user_id.hex}/{new_id().hex}.png"
    await bench.objects.put_bytes(reference, PICTURE.content)
    await bench.task(input_image=reference)
    await bench.attend()
    [job] = bench.provider.asked
    assert job.input_image == PICTURE


def fault_of(answer: object) -> Fault:
    assert isinstance(answer, Refused), answer
    return answer.fault
