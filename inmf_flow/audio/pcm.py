"""Audio as it comes through a pipe: WAV without an end, or bare samples."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio.arrays import as_count
from inmf_flow.errors import ArgumentError, AudioError

Float32 = NDArray[np.float32]

#: Formats of samples by the names that ffmpeg and sox know them by.
SAMPLE_FORMATS = ("u8", "s16le", "s24le", "s32le", "f32le", "f64le")
_BYTES = {"u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4, "f64le": 8}
_FULL_SCALE = {"u8": 2.0**7, "s16le": 2.0**15, "s24le": 2.0**23, "s32le": 2.0**31}
# (tag, bits) of a WAV file's fmt chunk.
_WAV_FORMATS = {
    (1, 8): "u8",
    (1, 16): "s16le",
    (1, 24): "s24le",
    (1, 32): "s32le",
    (3, 32): "f32le",
    (3, 64): "f64le",
}
_EXTENSIBLE = 0xFFFE
# What other files than WAV begin with.
_OTHERS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF", b"RIFX": "big-endian WAV", b"caff": "CAF"}
# Chunks before the samples are read over; one that claims more than this is none.
_MOST_CHUNK = 1 << 26


class ByteSource(Protocol):
    """What bytes can be read from, such as a file opened without buffering."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to so many bytes as soon as there are some; none at the end."""
        ...


@dataclass(frozen=True)
class PcmFormat:
    """What bare samples mean.

    Attributes
    ----------
    sample_rate
        Hertz.
    channels
        Interleaved ones.
    encoding
        One of `SAMPLE_FORMATS`.
    """

    sample_rate: int
    channels: int = 1
    encoding: str = "s16le"

    def __post_init__(self) -> None:
        as_count(self.sample_rate, "sample_rate", "hertz")
        as_count(self.channels, "channels", "channels")
        if self.encoding not in _BYTES:
            raise ArgumentError("no such format", got=repr(self.encoding), expected=", ".join(SAMPLE_FORMATS))

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _BYTES[self.encoding] * self.channels

    def decode(self, data: bytes) -> Float32:
        """Return whole frames of bytes as audio of full scale 1, [channels, samples]."""
        samples: NDArray[Any]
        if self.encoding == "s24le":
            raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
            # Into the upper three bytes of 32, so that the sign is in its place.
            wide = np.zeros((len(raw), 4), np.uint8)
            wide[:, 1:] = raw
            samples = wide.view("<i4")[:, 0] / np.float32(2.0**31)
        elif self.encoding == "u8":
            samples = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
        elif self.encoding in ("f32le", "f64le"):
            samples = np.frombuffer(data, "<f4" if self.encoding == "f32le" else "<f8")
        else:
            integers = np.frombuffer(data, "<i2" if self.encoding == "s16le" else "<i4")
            samples = integers / np.float32(_FULL_SCALE[self.encoding])
        return np.ascontiguousarray(samples.reshape(-1, self.channels).T, np.float32)

    def encode(self, audio: Float32) -> bytes:
        """Return audio [channels, samples] as interleaved bytes; integers are clipped at full scale."""
        frames: NDArray[Any] = np.ascontiguousarray(np.asarray(audio, np.float64).T)
        if self.encoding in ("f32le", "f64le"):
            return frames.astype("<f4" if self.encoding == "f32le" else "<f8").tobytes()
        scale = _FULL_SCALE[self.encoding]
        integers = np.clip(np.rint(frames * scale), -scale, scale - 1).astype("<i4")
        if self.encoding == "u8":
            return (integers + 128).astype(np.uint8).tobytes()
        if self.encoding == "s24le":
            return integers[..., None].view(np.uint8)[..., :3].tobytes()
        return integers.astype("<i2" if self.encoding == "s16le" else "<i4").tobytes()


class PcmReader:
    """Reads WAV, or bare samples, from what cannot seek and may never end.

    The length that a WAV header claims is not believed where it is 0 or the most there can be, as programs write it
    that do not know it yet; else the samples end where it says, or where the bytes do.

    Parameters
    ----------
    source
        Where bytes come from.
    raw
        What bare samples mean; without it a WAV header is expected.
    where
        For messages.

    Attributes
    ----------
    format
        Rate, channels and encoding.
    frames
        Samples of each channel that were read.

    Raises
    ------
    AudioError
        When what comes is no WAV, its samples are of a kind that is not read, or it ends within its header.
    """

    def __init__(self, source: ByteSource, raw: PcmFormat | None = None, where: str = "standard input") -> None:
        self._source, self._where = source, where
        self._left: int | None = None
        self._held = b""
        self.frames = 0
        self.format = raw or self._header()

    def read(self, frames: int) -> Float32:
        """Return the next samples, [channels, n]: at most ``frames``, as soon as there are any; none at the end.

        A last sample that lacks bytes or channels is dropped.

        Raises
        ------
        AudioError
            When samples are not finite numbers.
        """
        size = self.format.frame_bytes
        while len(self._held) < size:
            wanted = frames * size - len(self._held)
            if self._left is not None:
                wanted = min(wanted, self._left)
            data = self._source.read(wanted) if wanted > 0 else b""
            if not data:
                return np.zeros((self.format.channels, 0), np.float32)
            self._held += data
            if self._left is not None:
                self._left -= len(data)
        whole = len(self._held) // size * size
        audio, self._held = self.format.decode(self._held[:whole]), self._held[whole:]
        if not np.isfinite(audio).all():
            at = (self.frames + int(np.argmin(np.isfinite(audio).all(axis=0)))) / self.format.sample_rate
            raise AudioError("the stream holds samples that are not finite", where=self._where, got=f"at {at:.3f} s")
        self.frames += audio.shape[1]
        return audio

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._source.read(count - len(data))
            if not more:
                raise AudioError(
                    "the stream ends within its header",
                    where=self._where,
                    got=f"{len(data)} of {count} bytes",
                    expected="WAV",
                )
            data += more
        return data

    def _header(self) -> PcmFormat:
        start = self._exactly(12)
        if start[:4] not in (b"RIFF", b"RF64") or start[8:12] != b"WAVE":
            kind = next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None)
            raise AudioError(
                "the stream is not WAV",
                where=self._where,
                got=kind or repr(start),
                expected="WAV, or bare samples whose format is given",
                hint="Decode it: ffmpeg -i FILE -f wav - | inmf stream …"
                if kind
                else "For bare samples give --raw, --rate and --channels.",
            )
        found: PcmFormat | None = None
        long_length: int | None = None
        while True:
            name, length = struct.unpack("<4sI", self._exactly(8))
            if name == b"data":
                break
            if length > _MOST_CHUNK:
                raise AudioError(
                    "the WAV header is broken", where=self._where, got=f"a chunk {name!r} of {length} bytes"
                )
            # Chunks begin at even bytes.
            content = self._exactly(length + length % 2)
            if name == b"fmt ":
                found = self._format(content[:length])
            elif name == b"ds64" and length >= 16:
                long_length = struct.unpack("<Q", content[8:16])[0]
        if found is None:
            raise AudioError("the WAV header is broken", where=self._where, got="no fmt chunk before the samples")
        if length == 0xFFFFFFFF and long_length:
            self._left = long_length
        elif 0 < length < 0x7FFFF000:
            # Near the most that 31 or 32 bits hold, it stands for a length that the writer does not know.
            self._left = length
        return found

    def _format(self, content: bytes) -> PcmFormat:
        if len(content) < 16:
            raise AudioError("the WAV header is broken", where=self._where, got=f"a fmt chunk of {len(content)} bytes")
        tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
        if tag == _EXTENSIBLE and len(content) >= 26:
            tag = struct.unpack("<H", content[24:26])[0]
        encoding = _WAV_FORMATS.get((tag, bits))
        if encoding is None or not channels or not rate:
            raise AudioError(
                "samples of this kind are not read from a stream",
                where=self._where,
                got=f"WAV format {tag} of {bits} bits, {channels} channels at {rate} Hz",
                expected="PCM of 8 to 32 bits or floating point",
                hint="Convert it: ffmpeg -i FILE -f wav -c:a pcm_s16le - | inmf stream …",
            )
        return PcmFormat(rate, channels, encoding)
