"""Reading the files of one item together, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from inmf_flow.audio import open_audio
from inmf_flow.errors import ArgumentError, AudioError
from inmf_flow.evaluate.metric import Float64

Limits = tuple[float | None, float | None]
WHOLE: Limits = (None, None)

LONGEST_WHOLE = 600.0
"""Seconds: items longer than this are scored in windows of `LONG_ITEM_WINDOW`, unless a window is asked for."""
LONG_ITEM_WINDOW = 30.0

# Codecs and transforms pad by less than this; more means that the files do not belong together.
_LENGTH_TOLERANCE = 0.1


class TogetherReader:
    """Reads files that belong together, cut to the shortest, in windows.

    Parameters
    ----------
    files
        Paths, each with its limits in seconds.
    window
        Seconds; None takes items of up to `LONGEST_WHOLE` whole and others in windows of `LONG_ITEM_WINDOW`.

    Raises
    ------
    ArgumentError
        When the window is not a positive number of seconds.
    """

    def __init__(self, files: Sequence[tuple[Path, Limits]], window: float | None) -> None:
        if window is not None and not (math.isfinite(window) and window > 0):
            raise ArgumentError("the window is no length of time", got=window, expected="seconds, more than 0")
        self._files = files
        self._window = window
        self.sample_rate = 0

    def windows(self) -> Iterator[Float64]:
        """Yield the audio of each window, float64 [files, channels, samples].

        A last, incomplete window is left out unless it is the only one. ``sample_rate`` is known with the first.

        Raises
        ------
        AudioError
            When a file cannot be read, or files differ in sample rate, channels, or by more than 0.1 s in length.
        """
        with ExitStack() as stack:
            readers = [stack.enter_context(open_audio(path, None, *limits)) for path, limits in self._files]
            first, like = readers[0], self._files[0][0]
            self.sample_rate = rate = first.sample_rate
            for (path, _), reader in zip(self._files, readers, strict=True):
                _check_alike(path, f"{reader.sample_rate} Hz", f"{rate} Hz", like, "the sample rates differ")
                got, expected = (f"{each.info.channels} channels" for each in (reader, first))
                _check_alike(path, got, expected, like, "the channels differ")
            size = self._size(max(reader.frames for reader in readers), rate)
            streams = [reader.blocks(size) for reader in readers]
            empty = np.zeros((first.info.channels, 0), np.float32)
            lengths = [0] * len(readers)
            count = 0
            while True:
                blocks = [next(stream, empty) for stream in streams]
                lengths = [length + block.shape[1] for length, block in zip(lengths, blocks, strict=True)]
                shortest = min(block.shape[1] for block in blocks)
                if shortest < size:
                    break
                yield np.stack(blocks).astype(np.float64)
                count += 1
            for number, stream in enumerate(streams):
                lengths[number] += sum(block.shape[1] for block in stream)
            self._check_lengths(lengths)
            if count == 0:
                yield np.stack([block[:, :shortest] for block in blocks]).astype(np.float64)

    def _size(self, frames: int, rate: int) -> int:
        window = self._window
        if window is None:
            if frames <= LONGEST_WHOLE * rate:
                # More than any file has, so that whole items are one incomplete window.
                return int((LONGEST_WHOLE + 1) * rate) + frames
            window = LONG_ITEM_WINDOW
        return max(1, round(window * rate))

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        like, rate = self._files[0][0], self.sample_rate
        for (path, _), length in zip(self._files, lengths, strict=True):
            if abs(length - lengths[0]) > _LENGTH_TOLERANCE * rate:
                got, expected = (f"{frames / rate:.3f} s" for frames in (length, lengths[0]))
                _check_alike(path, got, expected, like, "the lengths differ")


def _check_alike(path: Path, got: str, expected: str, like: Path, what: str) -> None:
    if got != expected:
        raise AudioError(what, where=path, got=got, expected=f"{expected}, as in {like}")
