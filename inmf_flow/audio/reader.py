"""Reading audio in blocks, at any rate, in memory that does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from inmf_flow.audio.arrays import as_count
from inmf_flow.audio.info import AudioInfo, audio_info, decode_error, open_stream
from inmf_flow.audio.resampling import StreamResampler, resampled_length
from inmf_flow.errors import ArgumentError, AudioError

Float32 = NDArray[np.float32]

# What is decoded at a time, over all channels. It does not follow the caller's block size, so the samples
# cannot depend on it either.
_CHUNK_SAMPLES = 1 << 18
_CHUNK_FRAMES = 1 << 16


class AudioReader:
    """Reads an audio file in blocks, resampled where another rate is asked for.

    A context manager: leaving it closes the file.

    Parameters
    ----------
    path
        Any file that libsndfile reads.
    sample_rate
        The rate to deliver in hertz; by default the file's own.
    info
        What `audio_info` says of the file, where that is known: a header without a length is costly to read.

    Attributes
    ----------
    info
        What the file's header says (its own rate and length).
    sample_rate
        The rate of the blocks in hertz.
    frames
        Samples per channel that the blocks have in all. MP3 and Ogg headers may only estimate it; once the
        blocks were read to the end it is exact for them too.

    Raises
    ------
    AudioNotFoundError
        When nothing is there.
    AudioError
        When it is not audio, holds no samples, is truncated, or is headerless audio.

    Examples
    --------
    >>> with AudioReader("speech.flac", sample_rate=16000) as reader:  # doctest: +SKIP
    ...     for block in reader.blocks(65536):
    ...         print(block.shape)
    """

    def __init__(self, path: Path | str, sample_rate: int | None = None, info: AudioInfo | None = None) -> None:
        wanted = None if sample_rate is None else as_count(sample_rate, "sample_rate", "hertz")
        self.info = info or audio_info(path)
        self.sample_rate = self.info.sample_rate if wanted is None else wanted
        self.frames = resampled_length(self.info.frames, self.info.sample_rate, self.sample_rate)
        self._open_streams: set[Any] = set()
        self._closed = False

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; blocks can no longer be read."""
        self._closed = True
        for stream in tuple(self._open_streams):
            stream.close()
        self._open_streams.clear()

    def blocks(self, size: int) -> Iterator[Float32]:
        """Read the file from its start in blocks.

        Parameters
        ----------
        size
            Samples per channel of each block; the last one may be shorter.

        Yields
        ------
        block
            float32 [channels, <= size] at the reader's ``sample_rate``; samples do not depend on ``size``.

        Raises
        ------
        AudioError
            When the audio is truncated or damaged, or holds NaN or infinite samples.
        """
        size = as_count(size, "size", "samples")
        if self._closed:
            raise ArgumentError("the audio file was closed", where=self.info.path)
        return _rechunk(self._delivered(), size)

    def _delivered(self) -> Iterator[Float32]:
        """Yield pieces of any length at the wanted rate, and settle ``frames``."""
        given = 0
        for piece in self._native() if self.sample_rate == self.info.sample_rate else self._resampled():
            given += piece.shape[1]
            yield piece
        self.frames = given

    def _resampled(self) -> Iterator[Float32]:
        stream = StreamResampler(self.info.sample_rate, self.sample_rate, self.info.channels)
        for piece in self._native():
            yield stream.push(piece)
        yield stream.finish()

    def _native(self) -> Iterator[Float32]:
        """Yield checked pieces at the file's own rate."""
        # Short where resampling makes much of little: a damaged header may claim 1 Hz.
        growth = max(1.0, self.sample_rate / self.info.sample_rate)
        chunk = max(1, min(_CHUNK_FRAMES, int(_CHUNK_SAMPLES / growth) // self.info.channels))
        # A stream of its own, so that iterating twice, or two at a time, always starts at the beginning.
        stream = open_stream(self.info.path)
        self._open_streams.add(stream)
        position = 0
        try:
            while position < self.info.frames or self.info.length_slack > 0:
                piece = self._decode(stream, chunk, position)
                if piece.shape[1] == 0:
                    break
                self._check_finite(piece, position)
                position += piece.shape[1]
                yield piece
        finally:
            stream.close()
            self._open_streams.discard(stream)
        self._check_complete(position)

    def _decode(self, stream: Any, frames: int, position: int) -> Float32:
        if stream.closed:
            raise ArgumentError("the audio file was closed while its blocks were read", where=self.info.path)
        try:
            samples = stream.read(frames, dtype="float32", always_2d=True)
        except AudioError:
            # A store that cannot be reached.
            raise
        except (soundfile.SoundFileError, OSError) as error:
            raise decode_error(self.info.path, error, position / self.info.sample_rate) from None
        piece: Float32 = samples.T
        return piece

    def _check_finite(self, piece: Float32, position: int) -> None:
        finite = np.isfinite(piece)
        if finite.all():
            return
        first = position + int(np.argmin(finite.all(axis=0)))
        channel, value = next((c, v) for c, v in enumerate(piece[:, first - position]) if not np.isfinite(v))
        raise AudioError(
            "the audio holds samples that are not finite numbers",
            where=self.info.path,
            got=f"{value} at {first / self.info.sample_rate:.3f} s (sample {first}, channel {channel + 1})",
            hint="Export the recording again, or repair these samples.",
        )

    def _check_complete(self, position: int) -> None:
        missing = (self.info.frames - position) / self.info.sample_rate
        if position == 0 or missing > self.info.length_slack:
            raise AudioError(
                "the audio is truncated or damaged",
                where=self.info.path,
                got=f"{position} frames",
                expected=f"{self.info.frames}, as its header promises",
            )


def _rechunk(pieces: Iterable[Float32], size: int) -> Iterator[Float32]:
    """Cut pieces of any length into blocks of ``size`` (the last one shorter), each an array of its own."""
    held: list[Float32] = []
    count = 0
    for piece in pieces:
        while count + piece.shape[1] >= size:
            held.append(piece[:, : size - count])
            piece = piece[:, size - count :]
            yield np.ascontiguousarray(np.concatenate(held, axis=1))
            held, count = [], 0
        if piece.shape[1]:
            held.append(piece)
            count += piece.shape[1]
    if count:
        yield np.ascontiguousarray(np.concatenate(held, axis=1))


def read_audio(path: Path | str, sample_rate: int | None = None) -> tuple[Float32, int]:
    """Read a whole audio file.

    Parameters
    ----------
    path
        Any file that libsndfile reads.
    sample_rate
        The rate to deliver in hertz; by default the file's own.

    Returns
    -------
    audio
        float32 [channels, samples]; integers are scaled to full scale 1.0, floats are not clipped.
    sample_rate
        Hertz.

    Raises
    ------
    AudioNotFoundError
        When nothing is there.
    AudioError
        When it is not audio, holds no samples or NaN, or is truncated or damaged.
    """
    with AudioReader(path, sample_rate) as reader:
        blocks = list(reader.blocks(_CHUNK_FRAMES))
        # A clip of a sample or two can vanish at a much lower rate.
        nothing = np.zeros((reader.info.channels, 0), np.float32)
        return np.concatenate([*blocks, nothing], axis=1), reader.sample_rate
