"""Audio files with damaged bytes, for tests of whatever reads recordings."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator

import soundfile

from inmf_flow.testing.signals import speech

# (suffix, libsndfile's format, its encoding)
_FORMATS = (
    ("wav", "WAV", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("wav", "WAV", "FLOAT"),
    ("flac", "FLAC", "PCM_24"),
    ("wav", "WAV", "IMA_ADPCM"),
)
# (offset, bytes) of what headers say: sizes, encoding, channels, sample rate, number of samples.
_FIELDS = {
    "wav": ((4, 4), (16, 4), (20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2), (40, 4)),
    "flac": ((4, 4), (8, 2), (10, 2), (12, 3), (15, 3), (18, 3), (20, 1), (21, 5)),
    "ogg": ((5, 1), (6, 8), (22, 4), (26, 1), (39, 1), (40, 4), (48, 4)),
    "mp3": ((0, 4), (1, 1), (2, 1), (3, 1), (36, 4)),
}
_RATE = 16000
# Headers are short, and their bytes decide what the rest is taken for.
_HEADER = 100


def mutated_audio(seed: int, n: int) -> Iterator[tuple[str, bytes]]:
    """Make damaged audio files: WAV, FLAC, Ogg and MP3 written by libsndfile, then changed byte by byte.

    Parameters
    ----------
    seed
        Equal seeds give equal files, as long as libsndfile stays the same.
    n
        How many.

    Yields
    ------
    name, content
        A name that no other has, with the suffix of the format, and the file's bytes. Some can still be decoded.
    """
    whole = [_encoded(container, encoding) for _, container, encoding in _FORMATS]
    for number in range(n):
        chance = random.Random(f"{seed} {number}")
        kind = number % len(_FORMATS)
        content = bytearray(whole[kind])
        for _ in range(chance.choice((1, 1, 2, 5))):
            change = chance.randrange(len(_MUTATIONS) + 2)
            if change < len(_MUTATIONS):
                _MUTATIONS[change](content, chance)
            else:
                _misstate(content, chance, _FIELDS[_FORMATS[kind][0]])
        yield f"{number:04}.{_FORMATS[kind][0]}", bytes(content)


def _encoded(container: str, encoding: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, speech(_RATE // 2, _RATE), _RATE, format=container, subtype=encoding)
    content = bytearray(stream.getvalue())
    if container == "OGG":
        _renumber(content)
    peak = content.find(b"PEAK")
    if peak > 0:
        # libsndfile notes the time of day.
        content[peak + 12 : peak + 16] = bytes(4)
    return bytes(content)


def _renumber(content: bytearray) -> None:
    """Let the stream of an Ogg file have the number 1 and not a random one (RFC 3533, section 6)."""
    start = 0
    while start < len(content):
        segments = content[start + 26]
        stop = start + 27 + segments + sum(content[start + 27 : start + 27 + segments])
        content[start + 14 : start + 18] = (1).to_bytes(4, "little")
        content[start + 22 : start + 26] = bytes(4)
        content[start + 22 : start + 26] = _ogg_checksum(bytes(content[start:stop])).to_bytes(4, "little")
        start = stop


def _ogg_checksum(page: bytes) -> int:
    """Return the CRC-32 of a page: polynomial 0x04c11db7, neither reflected nor inverted."""
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x104C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    return checksum


def _place(content: bytearray, chance: random.Random) -> int:
    """Choose a byte: of the header as often as of the rest."""
    end = len(content) if chance.random() < 0.5 else min(_HEADER, len(content))
    return chance.randrange(max(end, 1))


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 8))):
        if content:
            content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    length = chance.choice((1, 4, 64))
    content[place : place + length] = chance.randbytes(length)


def _misstate(content: bytearray, chance: random.Random, fields: tuple[tuple[int, int], ...]) -> None:
    """Let a header's field hold another number, mostly one at the edge of what it can."""
    place, size = chance.choice(fields)
    edges = (0, 1, 2, (1 << 8 * size) - 1, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1)
    value = chance.choice((*edges, chance.randrange(1 << 8 * size)))
    content[place : place + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _make_extreme(content: bytearray, chance: random.Random) -> None:
    size = chance.choice((1, 2, 4, 8))
    _misstate(content, chance, ((_place(content, chance), size),))


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[_place(content, chance) :]


def _remove(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    del content[place : place + chance.choice((1, 3, 200))]


def _insert(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    content[place:place] = chance.randbytes(chance.choice((1, 3, 200)))


def _repeat(content: bytearray, chance: random.Random) -> None:
    start, place = _place(content, chance), _place(content, chance)
    content[place:place] = content[start : start + chance.choice((16, 500))]


def _blank(content: bytearray, chance: random.Random) -> None:
    place = _place(content, chance)
    length = min(chance.choice((4, 500)), len(content) - place)
    content[place : place + length] = bytes(max(length, 0))


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _overwrite,
    _make_extreme,
    _cut,
    _remove,
    _insert,
    _repeat,
    _blank,
)
