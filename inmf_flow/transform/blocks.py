"""Running a transform over a recording that is too long to hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform.checked import checked_analysis, checked_halo, checked_latency
from inmf_flow.transform.contract import Span, Transform


class SlidingAudio:
    """A window that slides over blocks of audio: holds what is still needed, and nothing before.

    Parameters
    ----------
    blocks
        Consecutive blocks, each [channels, samples], of any sizes.
    offset
        Which sample of the recording the first block begins with; what is before it counts as left behind.
    """

    def __init__(self, blocks: Iterable[NDArray[Any]], offset: int = 0) -> None:
        self._blocks = iter(blocks)
        self._held: list[NDArray[Any]] = []
        self._offset = offset
        self._end = offset
        #: Samples in the recording, known once its end was read.
        self.length: int | None = None

    def window(self, start: int, stop: int) -> tuple[NDArray[Any], int]:
        """Return audio [channels, samples] of [start, stop) as far as it exists, and the first sample's index.

        ``start`` must not go back before an earlier window's: what lies before it is forgotten, and asking for it
        raises `TransformError`.
        """
        start = max(start, 0)
        # One sample more, so that the end of the recording is noticed when it is reached, not a block later.
        while self.length is None and self._end < stop + 1:
            block = next(self._blocks, None)
            if block is None:
                self.length = self._end
            elif block.shape[-1]:
                self._held.append(block)
                self._end += block.shape[-1]
        while len(self._held) > 1 and self._offset + self._held[0].shape[-1] <= start:
            self._offset += self._held.pop(0).shape[-1]
        if not self._held:
            raise TransformError("the audio is empty")
        if start < self._offset:
            raise TransformError("audio that was left behind is asked for", got=start, expected=f">= {self._offset}")
        if len(self._held) > 1:
            # Copied without what lies before the window, or all that was ever read would stay in the first piece.
            self._held[0] = self._held[0][..., start - self._offset :]
            self._held = [np.concatenate(self._held, axis=-1)]
            self._offset = start
        return self._held[0][..., start - self._offset : max(stop - self._offset, 0)], start


def synthesis_context(transform: Transform, sample_rate: int) -> tuple[int, int]:
    """Return how many samples before and after a stretch of output its analysis and synthesis need together."""
    left, right = checked_halo(transform, sample_rate)
    return left + right, checked_latency(transform, sample_rate)


def analyze_in_blocks(
    transform: Transform, blocks: Iterable[NDArray[Any]], sample_rate: int, block_length: int
) -> Iterator[PointSet]:
    """Analyse a recording block by block; together the points equal those of the whole.

    Parameters
    ----------
    blocks
        Consecutive blocks of the recording, each [channels, samples].
    sample_rate
        Hertz.
    block_length
        Samples whose points are made at a time; memory grows with it, not with the recording.
    """
    if block_length < 1:
        raise TransformError("blocks must hold samples", got=f"block_length {block_length}", expected="1 or more")
    audio = SlidingAudio(blocks)
    left, right = checked_halo(transform, sample_rate)
    start = 0
    while audio.length is None or start < audio.length:
        stop = start + block_length
        window, offset = audio.window(start - left, stop + right)
        if audio.length is not None:
            stop = min(stop, audio.length)
            if start >= stop:
                break
        yield checked_analysis(transform, window, sample_rate, Span(offset, start, stop, audio.length))
        start = stop
