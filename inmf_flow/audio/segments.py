"""Reading a part of an audio file as if it were a file of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from inmf_flow.audio.info import AudioInfo, open_stream
from inmf_flow.audio.reader import AudioReader
from inmf_flow.audio.resampling import StreamResampler, resampled_length
from inmf_flow.errors import ArgumentError, AudioError
from inmf_flow.remote import as_path

_CHUNK_FRAMES = 1 << 16
# Samples at the lower of the two rates that the resampler may look at on either side of an instant, and more.
_CONTEXT = 1024
# Seconds to decode before what is wanted: an MP3 frame may begin in the frames before it.
_PREROLL = {"MP3": 1.0}
# Seconds by which a manifest's rounded limits may miss the end of a file.
_ROUNDING = 0.05


def segment_fault(start: float | None, stop: float | None) -> str | None:
    """Return what is wrong with a segment's limits in seconds, or None."""
    for name, second in (("start", start), ("stop", stop)):
        if second is not None and not (second >= 0 and math.isfinite(second)):
            return f"{name} is {second!r}, expected seconds of at least 0"
    if stop is not None and stop <= (start or 0.0):
        return f"start {start or 0.0!r} is not before stop {stop!r}"
    return None


def can_seek(path: Path | str) -> bool:
    """Return whether a part of an audio file can be read without decoding all that is before it.

    Raises
    ------
    AudioNotFoundError
        When nothing is there.
    AudioError
        When it is not audio.
    """
    with open_stream(as_path(path)) as stream:
        try:
            return bool(stream.seek(1) == 1)
        except (soundfile.SoundFileError, OSError):
            return False


def open_audio(
    path: Path | str,
    sample_rate: int | None = None,
    start: float | None = None,
    stop: float | None = None,
    *,
    info: AudioInfo | None = None,
) -> AudioReader:
    """Open an audio file, or a part of one, for reading in blocks.

    Parameters
    ----------
    path
        Any file that libsndfile reads.
    sample_rate
        The rate to deliver in hertz; by default the file's own.
    start, stop
        Seconds from the file's start; None stands for its start and its end.
    info
        What `audio_info` says of the file, where that is known.

    Returns
    -------
    reader
        Its ``frames`` and ``blocks`` are those of the part, its ``info`` is the whole file's.

    Raises
    ------
    AudioNotFoundError
        When nothing is there.
    AudioError
        When it is not audio, or the part does not lie in it.
    """
    if start is None and stop is None:
        return AudioReader(path, sample_rate, info)
    return SegmentReader(path, start or 0.0, stop, sample_rate, info)


class SegmentReader(AudioReader):
    """Reads a part of an audio file in blocks, without decoding what is before it where the format allows.

    Segments that meet share the sample at which they do: read one after another they are the whole file, of the same
    number of samples at any rate. At another rate the resampler hears what is around the segment, so there is no seam.

    Parameters
    ----------
    path
        Any file that libsndfile reads.
    start
        Seconds from the file's start.
    stop
        Seconds from the file's start; None stands for its end.
    sample_rate
        The rate to deliver in hertz; by default the file's own.
    info
        As for `AudioReader`.

    Raises
    ------
    AudioNotFoundError
        When nothing is there.
    AudioError
        When it is not audio, or the segment does not lie in it.
    """

    def __init__(
        self,
        path: Path | str,
        start: float = 0.0,
        stop: float | None = None,
        sample_rate: int | None = None,
        info: AudioInfo | None = None,
    ) -> None:
        wrong = segment_fault(start, stop)
        if wrong is not None:
            raise ArgumentError("this is not a segment", where=path, got=wrong)
        super().__init__(path, sample_rate, info)
        info = self.info
        self._to_the_end = stop is None
        self._first = round(start * info.sample_rate)
        self._stop = info.frames if stop is None else min(round(stop * info.sample_rate), info.frames)
        lasts = f"{info.duration:.3f} s"
        if stop is not None and stop > info.duration + info.length_slack + _ROUNDING:
            raise AudioError("the segment ends after the audio", where=path, got=f"stop {stop!r}", expected=lasts)
        if self._first >= self._stop:
            less = f"less than {lasts}"
            raise AudioError("the segment holds no audio", where=path, got=f"start {start!r}", expected=less)
        self.frames = self._at_rate(self._stop) - self._at_rate(self._first)

    def _at_rate(self, frames: int) -> int:
        return resampled_length(frames, self.info.sample_rate, self.sample_rate)

    def _native(self) -> Iterator[NDArray[np.float32]]:
        """Yield checked pieces of the segment at the file's own rate."""
        return self._between(self._first, None if self._to_the_end else self._stop)

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        """Yield pieces of what the whole file, resampled, has between the segment's limits."""
        rate, to_rate = self.info.sample_rate, self.sample_rate
        period = rate // math.gcd(rate, to_rate)
        context = math.ceil(_CONTEXT * max(1.0, rate / to_rate))
        # At multiples of the period both rates have a sample: there a resampler may begin as well as at the start.
        begin = max(0, self._first - context) // period * period
        skip = self._at_rate(self._first) - begin * to_rate // rate
        # A header that only estimates the length must not cut the end.
        left = math.inf if self._to_the_end else self.frames
        stream = StreamResampler(rate, to_rate, self.info.channels)
        for piece in self._pushed(stream, begin, None if self._to_the_end else self._stop + context):
            dropped = min(skip, piece.shape[1])
            skip -= dropped
            piece = piece[:, dropped:] if left == math.inf else piece[:, dropped : dropped + int(left)]
            left -= piece.shape[1]
            yield piece

    def _pushed(self, stream: StreamResampler, begin: int, end: int | None) -> Iterator[NDArray[np.float32]]:
        for piece in self._between(begin, end):
            yield stream.push(piece)
        yield stream.finish()

    def _between(self, begin: int, end: int | None) -> Iterator[NDArray[np.float32]]:
        """Yield checked pieces from a frame to another; the file's end may come first where the segment's does."""
        # Short where resampling makes much of little: a damaged header may claim 1 Hz.
        growth = max(1.0, self.sample_rate / self.info.sample_rate) * self.info.channels
        chunk = max(1, int(_CHUNK_FRAMES / growth))
        stream = self._opened_at(begin)
        position = begin
        try:
            while end is None or position < end:
                piece = self._decode(stream, chunk if end is None else min(chunk, end - position), position)
                if piece.shape[1] == 0:
                    break
                self._check_finite(piece, position)
                position += piece.shape[1]
                yield piece
        finally:
            stream.close()
            self._open_streams.discard(stream)
        self._check_reached(position)

    def _opened_at(self, begin: int) -> Any:
        """Open the file at a frame, by decoding all before it where the format cannot seek."""
        stream = open_stream(self.info.path)
        position = max(0, begin - round(_PREROLL.get(self.info.format, 0.0) * self.info.sample_rate))
        try:
            sought = stream.seek(position) == position
        except (soundfile.SoundFileError, OSError):
            sought = False
        if not sought:
            stream.close()
            stream, position = open_stream(self.info.path), 0
        self._open_streams.add(stream)
        while position < begin:
            piece = self._decode(stream, min(_CHUNK_FRAMES, begin - position), position)
            if piece.shape[1] == 0:
                break
            position += piece.shape[1]
        return stream

    def _check_reached(self, position: int) -> None:
        missing = (self._stop - position) / self.info.sample_rate
        if position <= self._first or missing > self.info.length_slack:
            raise AudioError(
                "the audio is truncated or damaged",
                where=self.info.path,
                got=f"{position} frames",
                expected=f"{self._stop}, where the segment ends",
            )
