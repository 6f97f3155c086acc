"""Writing 32-bit float WAV: equal audio gives equal bytes, of any length, whole or not at all."""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.audio.arrays import as_audio, as_count
from inmf_flow.errors import ArgumentError, AudioError, OutputError
from inmf_flow.files import atomic_path
from inmf_flow.remote import as_path

_FLOAT_TAG = 3
SAMPLE_BYTES = 4
_UINT32_MAX = 0xFFFFFFFF
# RIFF/WAVE, JUNK or ds64 (28 bytes), fmt (18 bytes), fact (4 bytes), data's own head.
HEADER_BYTES = 12 + (8 + 28) + (8 + 18) + (8 + 4) + 8
# The block align field is 16 bits wide; libsndfile reads no more than 1024 channels.
_MAX_CHANNELS = 1024


class WavWriter:
    """Writes a 32-bit float WAV file block by block.

    Use it as a context manager. The file appears under its name, whole and fsynced, when the context ends
    without an error; else nothing is left. There is no PEAK chunk (libsndfile's carries a time stamp), so
    equal audio gives equal bytes. Past 4 GiB the file becomes RF64, for which a chunk is reserved. Samples
    beyond full scale are kept.

    Parameters
    ----------
    path
        The file to write; its folder is made.
    sample_rate
        Hertz.
    channels
        The number of channels, 1 to 1024.

    Raises
    ------
    ArgumentError
        When a rate or number of channels cannot be written, or a block has the wrong shape.
    AudioError
        When the file cannot be written, or samples are not finite.

    Examples
    --------
    >>> with WavWriter("out.wav", 16000, channels=1) as wav:  # doctest: +SKIP
    ...     wav.write(np.zeros((1, 512), np.float32))
    """

    # Private so that tests can reach RF64 without writing 4 GiB.
    _riff_limit = _UINT32_MAX

    def __init__(self, path: Path | str, sample_rate: int, channels: int) -> None:
        self.path = as_path(path)
        self.sample_rate = as_count(sample_rate, "sample_rate", "hertz")
        self.channels = as_count(channels, "channels", "channels")
        if self.channels > _MAX_CHANNELS or self.sample_rate > _UINT32_MAX:
            raise ArgumentError(
                "a WAV file cannot hold this",
                where=path,
                got=f"{channels} channels at {sample_rate} Hz",
                expected=f"at most {_MAX_CHANNELS} channels at {_UINT32_MAX} Hz",
            )
        self.frames = 0
        self._target: AbstractContextManager[Path] | None = None
        self._stream: BinaryIO | None = None

    def __enter__(self) -> WavWriter:
        self.frames = 0
        try:
            self._stream = self._begin()
        except OSError as error:
            self._abandon(error)
            raise self._failure(error) from None
        except BaseException as error:
            self._abandon(error)
            raise
        return self

    def _begin(self) -> BinaryIO:
        """Return the stream that samples are to be appended to."""
        target = atomic_path(self.path)
        temporary = target.__enter__()
        self._target = target
        # At once where it is to be closed after a failure: writing the header may be the first thing that fails.
        self._stream = temporary.open("wb")
        self._stream.write(self._header())
        return self._stream

    def write(self, block: ArrayLike) -> None:
        """Append a block, [channels, n] (or [n] where there is one channel)."""
        if self._stream is None:
            raise ArgumentError("the WAV file is not open", where=self.path, hint="Use WavWriter in a with statement.")
        array = as_audio(block)
        samples = np.atleast_2d(array)
        if samples.shape[0] != self.channels:
            raise ArgumentError(
                "a block has the wrong shape",
                where=self.path,
                got=f"shape {array.shape}",
                expected=f"[{self.channels}, samples]",
            )
        with np.errstate(over="ignore"):
            interleaved = samples.T.astype("<f4", order="C")
        if not np.isfinite(interleaved).all():
            raise AudioError(
                "samples to be written are not finite numbers",
                where=self.path,
                got=f"{np.count_nonzero(~np.isfinite(interleaved))} of {interleaved.size} NaN or infinite",
            )
        interleaved += 0.0  # makes -0.0 into 0.0: equal audio, equal bytes
        try:
            self._append(self._stream, interleaved)
        except OSError as error:
            raise self._failure(error) from None
        self.frames += interleaved.shape[0]

    def _append(self, stream: BinaryIO, interleaved: NDArray[np.float32]) -> None:
        stream.write(interleaved.data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abandon(error)
            return
        assert self._stream is not None
        assert self._target is not None
        try:
            self._stream.seek(0)
            self._stream.write(self._header())
            self._stream.close()
            self._stream = None
            self._target.__exit__(None, None, None)
            self._target = None
        except OSError as failure:
            self._abandon(failure)
            raise self._failure(failure) from None
        except BaseException as failure:
            self._abandon(failure)
            raise

    def _abandon(self, error: BaseException) -> None:
        """Close and remove the temporary file after an error, which the caller goes on to raise."""
        stream, target = self._stream, self._target
        self._stream = self._target = None
        # What broke writing can break closing and removing too; the first error is the one to tell.
        try:
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        finally:
            if target is not None:
                with suppress(OSError):
                    target.__exit__(type(error), error, error.__traceback__)

    def _header(self) -> bytes:
        data = self.frames * self.channels * SAMPLE_BYTES
        riff = HEADER_BYTES - 8 + data
        large = riff > self._riff_limit
        ds64 = struct.pack("<QQQI", riff, data, self.frames, 0) if large else bytes(28)
        align = self.channels * SAMPLE_BYTES
        byte_rate = min(self.sample_rate * align, _UINT32_MAX)  # a hint to players; saturates
        fmt = struct.pack(
            "<HHIIHHH", _FLOAT_TAG, self.channels, self.sample_rate, byte_rate, align, 8 * SAMPLE_BYTES, 0
        )
        return b"".join(
            [
                b"RF64" if large else b"RIFF",
                struct.pack("<I", _UINT32_MAX if large else riff),
                b"WAVE",
                _chunk(b"ds64" if large else b"JUNK", ds64),
                _chunk(b"fmt ", fmt),
                _chunk(b"fact", struct.pack("<I", _UINT32_MAX if large else self.frames)),
                b"data",
                struct.pack("<I", _UINT32_MAX if large else data),
            ]
        )

    def _failure(self, error: OSError) -> OutputError:
        return OutputError("the file cannot be written", where=self.path, got=error.strerror or str(error))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


def write_audio(path: Path | str, audio: ArrayLike, sample_rate: int) -> None:
    """Write audio as a 32-bit float WAV file, as `WavWriter` does.

    Parameters
    ----------
    path
        The file to write; its folder is made.
    audio
        [samples] or [channels, samples], floating point.
    sample_rate
        Hertz.
    """
    array = np.atleast_2d(as_audio(audio))
    with WavWriter(path, sample_rate, array.shape[0]) as wav:
        for start in range(0, array.shape[1], 1 << 20):
            wav.write(array[:, start : start + (1 << 20)])
