"""Point sets are joined on one clock, laid end to end, cut at a frequency and taken apart by channel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import PointsError
from inmf_flow.points import GridBlock, PointSet, ScatteredBlock


def make(seed: int, channels: int | None = None, duration: float | None = None, frames: int = 5) -> PointSet:
    """Return a grid and scattered points with phases, as a transform would give them."""
    random = np.random.default_rng(seed)
    lead = () if channels is None else (channels,)
    times = np.sort(random.uniform(0, 2, frames))
    frequencies = np.sort(random.uniform(0, 8000, 4))
    blocks = (
        GridBlock.build(times, frequencies, random.random((*lead, 4, frames)), coefficients="phases"),
        ScatteredBlock.build(
            random.random(6), random.random(6) * 8000, random.random((*lead, 6)), coefficients="phases"
        ),
    )
    return PointSet(blocks, 16_000, duration, "tone", synthesis="origin")


def flat(points: PointSet) -> Any:
    """Return times, frequencies, magnitudes and weights of every point, shape [N, 4]."""
    rows = []
    for block in points.blocks:
        t, f = block.times, block.frequencies
        if isinstance(block, GridBlock):
            f, t = (axis.ravel() for axis in np.meshgrid(f, t, indexing="ij"))
        rows.append(np.stack([t, f, block.magnitudes.ravel(), block.weights.ravel()], axis=1))
    return np.concatenate(rows)


def test_joining_keeps_every_point_and_drops_the_phases() -> None:
    a, b = make(0, duration=2.0), make(1, duration=3.0)
    joined = a + b
    assert np.array_equal(flat(joined), np.concatenate([flat(a), flat(b)]))
    assert joined.n_points == a.n_points + b.n_points
    assert (joined.duration, joined.sample_rate, joined.calibration) == (3.0, 16_000, "tone")
    assert joined.synthesis is None
    assert all(block.coefficients is None for block in joined.blocks)
    assert a.synthesis == "origin"
    assert all(block.coefficients == "phases" for block in a.blocks)


def test_joining_is_associative() -> None:
    a, b, c = make(0), replace(make(1), calibration=None), replace(make(2), sample_rate=8_000)
    left, right = (a + b) + c, a + (b + c)
    assert np.array_equal(flat(left), flat(right))
    assert left.calibration == right.calibration == "tone"
    assert left.sample_rate is right.sample_rate is None


def test_what_is_not_known_of_one_is_taken_from_the_other() -> None:
    bare = PointSet.from_points([0.5], [100], [1])
    assert (bare + make(0, duration=2.0)).duration == 2.0
    assert (bare + make(0)).calibration == "tone"
    assert (bare + bare).duration is None


def test_different_calibrations_or_channels_are_not_joined() -> None:
    with pytest.raises(PointsError, match=r"different calibrations.*'noise' and 'tone'"):
        make(0) + replace(make(1), calibration="noise")
    with pytest.raises(PointsError, match=r"numbers of channels.*got 1 and 2"):
        make(0) + make(1, channels=2)


def test_one_channel_with_and_without_an_axis_can_be_joined() -> None:
    assert (make(0) + make(1, channels=1)).channels == 1


def test_only_point_sets_are_joined() -> None:
    with pytest.raises(TypeError):
        make(0) + 1  # type: ignore[operator]


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 5)), min_size=1, max_size=7), st.floats(0, 3))
def test_recordings_end_to_end_never_overlap_and_keep_their_order(
    recordings: Sequence[tuple[int, float | None]], gap: float
) -> None:
    parts = [make(seed, duration=duration) for seed, duration in recordings]
    laid = PointSet.end_to_end(parts, gap)
    assert len(laid.blocks) == 2 * len(parts)
    clock = 0.0
    for number, part in enumerate(parts):
        placed = PointSet(laid.blocks[2 * number : 2 * number + 2])
        assert np.allclose(flat(placed), flat(part) + np.array([clock, 0, 0, 0]))
        assert placed.end <= clock + part.end + 1e-9
        clock += part.end + gap
    assert laid.duration == pytest.approx(clock - gap)
    assert laid.synthesis is None


def test_recordings_end_to_end_must_be_of_one_kind() -> None:
    with pytest.raises(PointsError, match="nothing to lay end to end"):
        PointSet.end_to_end([])
    with pytest.raises(PointsError, match="calibrations"):
        PointSet.end_to_end([make(0), make(1), replace(make(2), calibration="noise")])


def test_ten_thousand_recordings_are_laid_end_to_end_in_seconds() -> None:
    part = PointSet.from_grid([0.0, 1.0], [100.0, 200.0], np.ones((2, 2)), duration=2.0)
    begin = time.perf_counter()
    laid = PointSet.end_to_end([part] * 10_000)
    # Seconds where work grows with the number, minutes where it grows with its square.
    assert time.perf_counter() - begin < 15
    assert len(laid.blocks) == 10_000
    assert laid.end == pytest.approx(10_000 * 3.0 - 1.0)


def test_spans_of_one_recording_become_one_grid_again() -> None:
    whole = make(0, channels=2, frames=9, duration=2.0)
    grid, scattered = whole.blocks
    assert isinstance(grid, GridBlock)
    assert isinstance(scattered, ScatteredBlock)
    parts = []
    for piece, chosen in ((slice(0, 4), slice(0, 2)), (slice(4, 4), slice(2, 2)), (slice(4, 9), slice(2, 6))):
        one = replace(
            grid,
            times=grid.times[piece],
            magnitudes=grid.magnitudes[..., piece],
            time_weights=grid.time_weights[piece],
        )
        other = replace(
            scattered,
            times=scattered.times[chosen],
            frequencies=scattered.frequencies[chosen],
            magnitudes=scattered.magnitudes[..., chosen],
            point_weights=scattered.point_weights[chosen],
        )
        parts.append(replace(whole, blocks=(one, other), duration=None))
    parts[-1] = replace(parts[-1], duration=2.0)
    joined = PointSet.consecutive(iter(parts))
    assert joined.synthesis is None
    assert joined.duration == 2.0
    assert len(joined.blocks) == 2
    for got, expected in zip(joined.blocks, whole.blocks, strict=True):
        assert got.coefficients is None
        for name in ("times", "frequencies", "magnitudes", "weights"):
            assert np.array_equal(getattr(got, name), getattr(expected, name)), name


def test_spans_that_are_out_of_order_or_missing_are_refused() -> None:
    part = PointSet.from_grid([0.0, 1.0], [100.0, 200.0], np.ones((2, 2)))
    with pytest.raises(PointsError, match="times of a grid must rise"):
        PointSet.consecutive([part, part])
    with pytest.raises(PointsError, match="no parts"):
        PointSet.consecutive([])


@given(st.floats(-1, 9000))
def test_below_a_frequency_everything_keeps_its_weight(limit: float) -> None:
    points = make(3)
    before, after = flat(points), flat(points.below(limit))
    assert np.array_equal(after[:, :3], before[:, :3])
    assert np.array_equal(after[:, 3], np.where(before[:, 1] <= limit, before[:, 3], 0))
    kept = before[(before[:, 1] <= limit) & (before[:, 3] > 0), 1]
    assert points.below(limit).max_frequency == kept.max(initial=0)


def test_points_of_weight_0_do_not_raise_the_highest_frequency() -> None:
    points = PointSet.from_points([0, 0], [100, 900], [1, 1], [1, 0])
    assert points.max_frequency == 100
    assert PointSet(()).max_frequency == 0


def test_channels_are_taken_apart() -> None:
    points = make(4, channels=3)
    for index in (0, 1, 2, -1):
        one = points.channel(index)
        assert one.channels == 1
        assert one.synthesis is None
        for got, block in zip(one.blocks, points.blocks, strict=True):
            assert np.array_equal(got.magnitudes, block.magnitudes[index])
            assert np.array_equal(got.weights, block.weights)
            assert got.coefficients is None


def test_the_only_channel_of_mono_is_the_first() -> None:
    assert np.array_equal(flat(make(4).channel(0)), flat(make(4)))


@pytest.mark.parametrize(("channels", "index"), [(None, 1), (None, -2), (2, 2), (2, -3)])
def test_a_channel_that_is_not_there_is_refused(channels: int | None, index: int) -> None:
    with pytest.raises(PointsError, match=f"no such channel; got {index}; expected 0 to {(channels or 1) - 1}"):
        make(0, channels).channel(index)


@pytest.mark.parametrize(
    ("times", "duration", "end"),
    [([0.5, 2.0], None, 2.0), ([0.5, 2.0], 3.0, 3.0), ([0.5, 2.0], 1.0, 2.0), ([], 1.5, 1.5)],
)
def test_a_recording_ends_after_its_last_point(times: list[float], duration: float | None, end: float) -> None:
    assert PointSet.from_points(times, times, times, duration=duration).end == end


def test_bare_points_keep_everything_but_the_phases() -> None:
    points = make(0, duration=2.0)
    bare = points.without_synthesis()
    assert np.array_equal(flat(bare), flat(points))
    assert bare.synthesis is None
    assert {block.coefficients for block in bare.blocks} == {None}
    assert (bare.sample_rate, bare.duration, bare.calibration) == (16_000, 2.0, "tone")


def test_a_set_of_nothing_is_a_set() -> None:
    empty = PointSet(())
    assert (empty.n_points, empty.channels, empty.end) == (0, 1, 0.0)
    assert repr(empty) == "PointSet(0 points in 0 blocks [], 0.000 s)"
    assert (empty + make(0)).n_points == make(0).n_points


def test_the_text_of_a_set_says_how_large_it_is() -> None:
    assert repr(make(0, channels=2, duration=2.0)) == "PointSet(52 points in 2 blocks [2x4x5, 2x6], 2.000 s)"


def test_recordings_of_other_channels_and_rates_are_laid_end_to_end() -> None:
    mono = PointSet.from_grid([0.0, 0.5], [0.0, 10.0], np.ones((2, 2)), duration=1.0)
    stereo = PointSet.from_grid([0.0, 0.25], [0.0, 5.0], np.ones((2, 2, 2)), duration=0.5)
    joined = PointSet.end_to_end([mono, stereo], gap=1.0)
    assert [block.channels for block in joined.blocks] == [1, 2]
    np.testing.assert_allclose(joined.blocks[1].times, [2.0, 2.25])
    assert joined.duration == pytest.approx(2.5)
