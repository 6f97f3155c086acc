"""Streams of samples: WAV without an end, bare samples, and what is neither."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.audio import SAMPLE_FORMATS, PcmFormat, PcmReader
from inmf_flow.errors import ArgumentError, AudioError


class Trickle:
    """Bytes that come in pieces of odd sizes, as through a pipe; it cannot seek."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._turn = io.BytesIO(data), sizes, 0

    def read(self, size: int, /) -> bytes:
        self._turn += 1
        return self._data.read(min(size, self._sizes[self._turn % len(self._sizes)]))


def everything(reader: PcmReader, block: int = 100) -> Any:
    pieces = []
    while (piece := reader.read(block)).shape[1]:
        assert piece.shape[1] <= block
        pieces.append(piece)
    return np.concatenate(pieces, axis=1) if pieces else np.zeros((reader.format.channels, 0), np.float32)


def wav(audio: Any, rate: int, subtype: str, container: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio.T, rate, subtype=subtype, format=container)
    return file.getvalue()


@given(
    channels=st.integers(1, 3),
    frames=st.integers(0, 400),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5),
    encoding=st.sampled_from(SAMPLE_FORMATS),
)
def test_what_is_written_is_read_however_it_comes(channels: int, frames: int, sizes: list[int], encoding: str) -> None:
    audio = np.random.default_rng(frames).uniform(-1, 0.99, (channels, frames)).astype(np.float32)
    form = PcmFormat(16000, channels, encoding)

    found = everything(PcmReader(Trickle(form.encode(audio), sizes), form))

    error = {"u8": 2.0**-8, "s16le": 2.0**-16}.get(encoding, 2.0**-23)
    np.testing.assert_allclose(found, audio, atol=error)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_wav_is_read_as_libsndfile_reads_it(subtype: str, container: str) -> None:
    audio = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 500))
    data = wav(audio, 22050, subtype, container)

    reader = PcmReader(Trickle(data, [7, 1, 64]))

    assert (reader.format.sample_rate, reader.format.channels) == (22050, 2)
    expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].T
    np.testing.assert_allclose(everything(reader), expected, atol=1e-7)


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 0x7FFFFFFF - 36])
def test_a_length_that_a_program_could_not_know_is_not_believed(claimed: int) -> None:
    audio = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 300)).astype(np.float32)
    data = bytearray(wav(audio, 16000, "PCM_16"))
    at = data.index(b"data")
    data[at + 4 : at + 8] = struct.pack("<I", claimed)

    assert everything(PcmReader(Trickle(bytes(data), [100]))).shape == (1, 300)


def test_samples_end_where_the_header_says_and_chunks_after_them_are_no_noise() -> None:
    audio = np.full((1, 300), 0.25, np.float32)
    data = wav(audio, 16000, "PCM_16") + b"LIST" + struct.pack("<I", 4) + b"INFO"

    np.testing.assert_array_equal(everything(PcmReader(Trickle(data, [1000]))), audio)


def test_a_last_sample_that_lacks_a_channel_is_dropped() -> None:
    form = PcmFormat(8000, 2, "s16le")
    assert everything(PcmReader(Trickle(bytes(4 * 10 + 3), [5]), form)).shape == (2, 10)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends within its header"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "ends within its header"),
        (b"fLaC" + bytes(60), "not WAV; got FLAC"),
        (b"OggS" + bytes(60), "not WAV; got Ogg"),
        (bytes(60), "not WAV"),
        (b"RIFF\xff\xff\xff\xffWAVEdata\x04\x00\x00\x00abcd", "no fmt chunk"),
        (b"RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff" + bytes(40), "a chunk b'junk' of 4294967295 bytes"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \x04\x00\x00\x00abcd", "a fmt chunk of 4 bytes"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + struct.pack("<HHIIHH", 2, 1, 8000, 1, 1, 4), "WAV format 2"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + struct.pack("<HHIIHH", 1, 0, 8000, 1, 1, 16), "0 channels"),
    ],
)
def test_what_is_no_wav_is_told(data: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        PcmReader(Trickle(data, [16]))


def test_samples_that_are_no_numbers_are_told_with_their_time() -> None:
    audio = np.zeros((1, 300), np.float32)
    audio[0, 250] = np.nan
    form = PcmFormat(1000, 1, "f32le")
    with pytest.raises(AudioError, match=r"not finite; got at 0\.250 s"):
        everything(PcmReader(Trickle(form.encode(audio), [4000]), form))


@pytest.mark.parametrize("options", [{"sample_rate": 0}, {"channels": 0}, {"encoding": "mp3"}])
def test_formats_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        PcmFormat(**{"sample_rate": 8000, **options})
