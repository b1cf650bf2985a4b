"""python -m bench.pictures: what storage does to a picture, on one processor: small pictures,
manifests, invisible marks. It says its figures as a line of JSON; `bench.storage` asks for them.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
from PIL import Image

from bench.repetitions import SEED, Figures
from services.storage.adapters import own_root, provenance, watermark
from services.storage.adapters.claims import Made
from services.storage.adapters.pictures import thumbnail

SIZE_4K: Final = (3_840, 2_160)
SIDE_PX: Final = 1_024
TIMES: Final = 5
_SECRET: Final = b"a secret of benches, and of nothing else"
_MADE: Final = Made("a-model", "task_0", datetime(2026, 1, 1, tzinfo=UTC), "algorithmicMedia")
_MARK: Final = 0x5EED_5EED_5EED


def on_one_processor() -> Figures:
    """This process stays on that processor."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signer = own_root.derived(_SECRET).signer
    with tempfile.TemporaryDirectory(prefix="smartspec-bench-") as name:
        folder, numbers = Path(name), count()
        png, jpeg, small = (folder / part for part in ("a.png", "a.jpg", "small"))
        picture = _drawn(SIZE_4K)
        picture.save(png)
        picture.save(jpeg, quality=92)

        def sign(path: Path, mime_type: str) -> None:
            target = folder / f"signed-{next(numbers)}"
            provenance.sign(path, target, mime_type, _MADE, signer)

        square = _drawn((SIDE_PX, SIDE_PX))
        marked = watermark.embed(square, _MARK, _SECRET)
        return {
            "thumbnail_png_ms": _ms(partial(thumbnail, png, small)),
            "thumbnail_jpeg_ms": _ms(partial(thumbnail, jpeg, small)),
            "sign_png_ms": _ms(partial(sign, png, "image/png")),
            "sign_jpeg_ms": _ms(partial(sign, jpeg, "image/jpeg")),
            "mark_ms": _ms(partial(watermark.embed, square, _MARK, _SECRET)),
            "read_mark_ms": _ms(partial(watermark.read, marked, [_SECRET])),
            "psnr_db": _psnr_db(square, marked),
        }


def _ms(work: Callable[[], object]) -> float:
    """The median; the first time warms caches, and does not count."""
    times = []
    for _ in range(TIMES + 1):
        began_s = perf_counter()
        work()
        times.append((perf_counter() - began_s) * 1_000)
    return round(median(times[1:]), 2)


def _drawn(size: tuple[int, int]) -> Image.Image:
    """Soft shapes with grain, as a photograph is for those who compress it."""
    dice = np.random.default_rng(SEED)
    coarse = dice.integers(0, 255, (9, 16, 3), dtype=np.uint8)
    shapes = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.int16)
    grain = dice.normal(0, 4, shapes.shape)
    return Image.fromarray(np.clip(shapes + grain, 0, 255).astype(np.uint8))


def _psnr_db(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return round(float(10 * np.log10(255**2 / np.mean(difference**2))), 2)


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(on_one_processor())}\n")
