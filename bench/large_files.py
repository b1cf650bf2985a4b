"""Files as large as is wanted: a 3D model (GLB) whose buffer is noise, and a film (H.264 in an MP4)
of one second of noise, over and over.
"""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.packet import Packet

from bench.repetitions import SEED

WIDTH_PX: Final = 1_920
HEIGHT_PX: Final = 1_080
FRAMES_PER_S: Final = 24
CHUNK_BYTES: Final = 1 << 20
_TIME_BASE: Final = Fraction(1, FRAMES_PER_S)


def write_model(target: Path, buffer_bytes: int) -> None:
    """A GLB 2.0 (Khronos glTF 2.0, 4.4) with a buffer of so many bytes, a whole number of MiB."""
    scene = b'{"asset":{"version":"2.0"}} '
    dice = np.random.default_rng(SEED)
    with target.open("wb") as file:
        whole = 12 + 8 + len(scene) + 8 + buffer_bytes
        file.write(struct.pack("<4sII", b"glTF", 2, whole))
        file.write(struct.pack("<I4s", len(scene), b"JSON") + scene)
        file.write(struct.pack("<I4s", buffer_bytes, b"BIN\0"))
        for _ in range(buffer_bytes // CHUNK_BYTES):
            file.write(dice.bytes(CHUNK_BYTES))


def write_noise_film(target: Path, bytes_min: int) -> None:
    """At least so many bytes; a second of it has some 74 MB."""
    with av.open(str(target), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=FRAMES_PER_S)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        # One picture that is whole, and no reordering: the second can follow itself.
        stream.options = {"crf": "1", "preset": "ultrafast", "bf": "0", "g": str(FRAMES_PER_S)}
        second = [(bytes(packet), packet.is_keyframe) for packet in _encoded(stream)]
        written = nth = 0
        while written < bytes_min:
            for data, is_keyframe in second:
                packet = Packet(data)
                packet.stream, packet.time_base = stream, _TIME_BASE
                packet.pts = packet.dts = nth
                packet.duration, packet.is_keyframe = 1, is_keyframe
                film.mux(packet)
                nth += 1
                written += len(data)


def _encoded(stream: av.VideoStream) -> "list[Packet[Any]]":
    dice = np.random.default_rng(SEED)
    packets: list[Packet[Any]] = []
    for nth in range(FRAMES_PER_S):
        noise = dice.integers(0, 255, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(noise, format="rgb24")
        frame.pts, frame.time_base = nth, _TIME_BASE
        packets += stream.encode(frame)
    return [*packets, *stream.encode()]
