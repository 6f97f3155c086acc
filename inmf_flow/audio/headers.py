"""What the headers of uncompressed formats promise, because libsndfile quietly shortens truncated files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

# Programs that write to a pipe cannot go back to the header: they leave the largest size, or one near it.
_STREAMED = 0x7FFFE000
_STREAMED_64 = 1 << 62
_IN_DS64 = 0xFFFFFFFF
# A chunk list longer than this is damage, not audio.
_MAX_CHUNKS = 10_000


def promised_bytes(path: Path) -> tuple[int, int] | None:
    """Return how many bytes of sample data the header promises, and how many of them are there.

    RIFF (WAV, RF64, BW64), AIFF, Wave64 and AU are understood. None for other files, and where the header
    does not know the length.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        return promise_of(stream, size)


def promise_of(stream: BinaryIO, size: int) -> tuple[int, int] | None:
    """Return what `promised_bytes` does of a file of a size that is open at its start."""
    try:
        promise = _promise(stream)
    except (
        struct.error,
        OSError,
        OverflowError,
    ):  # cut short, or damaged sizes beyond what can be sought
        return None
    if promise is None or promise[1] <= 0:
        return None
    start, promised = promise
    return promised, min(max(size - start, 0), promised)


def _promise(stream: BinaryIO) -> tuple[int, int] | None:
    """Return where the sample data starts, and the bytes promised."""
    head = stream.read(40)
    found, unknown = None, _STREAMED
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        found = _find_chunk(stream, b"data", "<I" if head[:4] == b"RIFF" else ">I")
    elif head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        found, unknown = _find_chunk(stream, b"data", "<I"), _STREAMED_64
        if found and found[1] == _IN_DS64:
            found = found[0], struct.unpack("<Q", head[28:36])[0]
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        found = _find_chunk(stream, b"SSND", ">I")
    elif head[:4] == b"riff" and head[24:28] == b"wave":
        found, unknown = _find_wave64_data(stream), _STREAMED_64
    elif head[:4] == b".snd":
        found = struct.unpack(">II", head[4:12])
    return found if found and found[1] < unknown else None


def _find_chunk(stream: BinaryIO, wanted: bytes, number: str) -> tuple[int, int] | None:
    position = 12
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8:
            return None
        (size,) = struct.unpack(number, head[4:])
        if head[:4] == wanted:
            return position + 8, size
        position += 8 + size + size % 2
    return None


def _find_wave64_data(stream: BinaryIO) -> tuple[int, int] | None:
    position = 40
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        head = stream.read(24)
        if len(head) < 24:
            return None
        # Sizes count the chunk's own head, and chunks start at multiples of 8.
        (size,) = struct.unpack("<Q", head[16:])
        if head[:4] == b"data":
            return position + 24, size - 24
        if size < 24:
            return None
        position += size + -size % 8
    return None
