"""A window slides over blocks of any size, and nothing before it is kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform import SlidingAudio, Span, Transform, analyze_in_blocks, as_channels, synthesis_context


def cut(audio: Any, sizes: list[int]) -> list[Any]:
    """Cut audio into blocks of these sizes; the rest is the last block."""
    edges = np.minimum(np.cumsum([0, *sizes]), audio.shape[-1])
    return [audio[:, a:b] for a, b in zip(edges, [*edges[1:], audio.shape[-1]], strict=True)]


@given(st.data())
def test_windows_hold_what_the_recording_holds(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 60))
    audio = np.arange(2 * length).reshape(2, length).astype(np.float32)
    sliding = SlidingAudio(cut(audio, data.draw(st.lists(st.integers(0, 20)))))
    start = data.draw(st.integers(-10, 5))
    for _ in range(data.draw(st.integers(1, 12))):
        stop = max(start, 0) + data.draw(st.integers(0, 25))
        window, first = sliding.window(start, stop)
        assert first == max(start, 0)
        assert np.array_equal(window, audio[:, first:stop])
        # The end is noticed as soon as a window reaches it, and not before.
        assert sliding.length == (length if stop >= length else sliding.length)
        assert sliding.length in (None, length)
        start = max(start, 0) + data.draw(st.integers(0, 15))


def test_no_more_is_read_than_the_window_needs() -> None:
    read = 0

    def blocks() -> Iterator[Any]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield np.zeros((1, 10))

    sliding = SlidingAudio(blocks())
    sliding.window(0, 25)
    assert read == 3
    assert sliding.length is None


@pytest.mark.parametrize("overlap", [0, 1_000, 45_000])
def test_memory_does_not_grow_with_the_recording(overlap: int) -> None:
    sliding = SlidingAudio(np.full((1, 10_000), number, np.float32) for number in range(2_000))
    tracemalloc.start()
    for start in range(0, 20_000_000, 50_000):
        window, _ = sliding.window(start - overlap, start + 50_000 + overlap)
        middle = window[0, min(start, overlap)]
        assert middle == start // 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The recording takes 80 MB; a window and its copy at most 1.2.
    assert peak < 3e6


def test_going_back_to_what_was_forgotten_is_an_error() -> None:
    sliding = SlidingAudio(np.full((1, 10), number) for number in range(10))
    sliding.window(50, 70)
    with pytest.raises(TransformError, match="left behind is asked for; got 5; expected >= 50"):
        sliding.window(5, 8)
    assert sliding.window(55, 58)[0].tolist() == [[5, 5, 5]]


@pytest.mark.parametrize("blocks", [[], [np.zeros((2, 0))] * 3])
def test_audio_without_samples_is_an_error(blocks: list[Any]) -> None:
    with pytest.raises(TransformError, match="audio is empty"):
        SlidingAudio(blocks).window(0, 10)


class Sums(Transform):
    """The sum of what lies around each sample: each point needs all of its halo, and lists what it was given."""

    name = "sums"
    before, after = 3, 2
    spans: list[Span]

    def halo(self, sample_rate: int) -> tuple[int, int]:
        return self.before, self.after

    def analyze(self, audio: Any, sample_rate: int, *, span: Span | None = None) -> PointSet:
        samples, _ = as_channels(audio, self.name)
        span = span or Span.whole(samples.shape[-1])
        self.__dict__.setdefault("spans", []).append(span)
        end = span.offset + samples.shape[-1]
        assert span.offset <= max(span.start - self.before, 0)
        assert end >= span.stop + self.after or end == span.length
        sums = [
            samples[:, max(n - self.before - span.offset, 0) : n + self.after + 1 - span.offset].sum(axis=1)
            for n in range(span.start, span.stop)
        ]
        return PointSet.from_grid(np.arange(span.start, span.stop) / sample_rate, [0.0], np.stack(sums, -1)[:, None])


@given(st.integers(1, 50), st.lists(st.integers(0, 20)), st.integers(1, 60))
def test_blocks_have_their_context_and_join_to_the_whole(length: int, sizes: list[int], block_length: int) -> None:
    audio = np.random.default_rng(length).random((2, length))
    sums = Sums()
    (whole,) = sums.analyze(audio, 10).blocks
    sums.spans.clear()
    parts = list(analyze_in_blocks(sums, cut(audio, sizes), 10, block_length))
    (joined,) = PointSet.consecutive(parts).blocks
    assert np.allclose(joined.times, whole.times)
    assert np.allclose(joined.magnitudes, whole.magnitudes, rtol=1e-6)
    assert [(span.start, span.stop) for span in sums.spans] == [
        (start, min(start + block_length, length)) for start in range(0, length, block_length)
    ]
    assert [span.is_last for span in sums.spans] == [False] * (len(parts) - 1) + [True]


def test_blocks_of_nothing_are_refused() -> None:
    with pytest.raises(TransformError, match="blocks must hold samples; got block_length 0"):
        next(analyze_in_blocks(Sums(), [np.ones((1, 5))], 10, 0))
    with pytest.raises(TransformError, match="audio is empty"):
        next(analyze_in_blocks(Sums(), [], 10, 5))


def test_output_needs_the_context_of_the_points_that_it_needs() -> None:
    assert synthesis_context(Sums(), 10) == (5, 5)
