"""What a block accepts, what it refuses, and what it says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import PointsError
from inmf_flow.points import GridBlock, PointSet, ScatteredBlock

TIMES, FREQUENCIES = [0.0, 0.5, 1.5], [100.0, 300.0]


def grid(magnitudes: Any = None, **options: Any) -> GridBlock:
    return GridBlock.build(TIMES, FREQUENCIES, np.ones((2, 3)) if magnitudes is None else magnitudes, **options)


@pytest.mark.parametrize(
    ("times", "frequencies", "magnitudes", "message"),
    [
        (TIMES, FREQUENCIES, np.ones((3, 2)), r"do not fit the axes; got shape \(3, 2\); expected \[2, 3\]"),
        (TIMES, FREQUENCIES, np.ones(6), "do not fit the axes"),
        (TIMES, FREQUENCIES, np.ones((1, 1, 2, 3)), "do not fit the axes"),
        ([TIMES], FREQUENCIES, np.ones((2, 3)), "times must be one-dimensional"),
        ([0, 1, 1], FREQUENCIES, np.ones((2, 3)), "times of a grid must rise strictly"),
        (TIMES, [2, 1], np.ones((2, 3)), "frequencies of a grid must rise strictly"),
        ([0, np.nan, 1], FREQUENCIES, np.ones((2, 3)), "times must be finite; got 1 NaN or infinite"),
        (TIMES, [1, np.inf], np.ones((2, 3)), "frequencies must be finite"),
        (TIMES, FREQUENCIES, np.full((2, 3), np.inf), "magnitudes hold infinite values"),
        (TIMES, FREQUENCIES, np.full((2, 3), 1e300), "magnitudes hold infinite values"),
        (TIMES, FREQUENCIES, np.ones((2, 3)) * 1j, "magnitudes are complex.*absolute values"),
    ],
)
def test_a_malformed_grid_is_refused(times: Any, frequencies: Any, magnitudes: Any, message: str) -> None:
    with pytest.raises(PointsError, match=message):
        PointSet.from_grid(times, frequencies, magnitudes)


@pytest.mark.parametrize(
    ("times", "frequencies", "magnitudes", "weights", "message"),
    [
        ([0, 1], [1], [1, 1], None, "must pair up"),
        ([0, 1], [1, 2], [1], None, "must pair up"),
        ([0, 1], [1, 2], [[[1, 2]]], None, "must pair up"),
        ([0, np.nan], [1, 2], [1, 1], None, "times must be finite"),
        ([0, 1], [1, 2], [1, 1], [1], "weights have the wrong shape"),
        ([0, 1], [1, 2], [1, 1], [1, -1], "weights must be finite and non-negative"),
        ([0, 1], [1, 2], [1, 1], [1, np.nan], "weights must be finite and non-negative"),
    ],
)
def test_malformed_scattered_points_are_refused(
    times: Any, frequencies: Any, magnitudes: Any, weights: Any, message: str
) -> None:
    with pytest.raises(PointsError, match=message):
        PointSet.from_points(times, frequencies, magnitudes, weights)


@pytest.mark.parametrize("name", ["time_weights", "frequency_weights"])
@pytest.mark.parametrize("values", [[1.0], [1.0] * 4, [[1.0] * 3], [-1.0] * 3, [np.nan] * 3])
def test_malformed_weights_of_a_grid_are_refused(name: str, values: Any) -> None:
    with pytest.raises(PointsError, match="weights"):
        GridBlock.build(TIMES, TIMES, np.ones((3, 3)), **{name: values})


def test_missing_points_are_kept_as_nan() -> None:
    magnitudes = np.array([[1, np.nan, 0], [2, 3, 4]])
    assert np.array_equal(grid(magnitudes).magnitudes, magnitudes, equal_nan=True)
    assert grid(magnitudes).n_points == 6


def test_scattered_points_may_come_in_any_order_and_repeat() -> None:
    block = ScatteredBlock.build([3, 1, 1], [5, 9, 9], [1, 2, 3])
    assert block.times.tolist() == [3, 1, 1]
    assert block.weights.tolist() == [1, 1, 1]


def test_coordinates_are_double_and_values_single() -> None:
    for block in (
        GridBlock.build([0, 1], [1, 2], [[1, 2], [3, 4]]),
        ScatteredBlock.build([0, 1], [1, 2], [1, 2]),
    ):
        assert block.times.dtype == block.frequencies.dtype == np.float64
        assert block.magnitudes.dtype == block.weights.dtype == np.float32


@pytest.mark.parametrize(
    ("block", "channels", "points"),
    [
        (GridBlock.build(TIMES, FREQUENCIES, np.ones((2, 3))), 1, 6),
        (GridBlock.build(TIMES, FREQUENCIES, np.ones((4, 2, 3))), 4, 24),
        (GridBlock.build([], [], np.ones((0, 0))), 1, 0),
        (GridBlock.build([], FREQUENCIES, np.ones((3, 2, 0))), 3, 0),
        (ScatteredBlock.build([1, 2], [1, 2], [1, 2]), 1, 2),
        (ScatteredBlock.build([1, 2], [1, 2], np.ones((3, 2))), 3, 6),
        (ScatteredBlock.build([], [], []), 1, 0),
    ],
)
def test_channels_and_points_are_counted(block: Any, channels: int, points: int) -> None:
    assert block.channels == channels
    assert block.n_points == points


def test_a_grids_weights_are_areas_that_fill_the_plane() -> None:
    block = grid(duration=2.0, nyquist=500.0)
    assert block.weights.shape == (2, 3)
    assert block.weights.tolist() == [[50.0, 150.0, 200.0], [75.0, 225.0, 300.0]]
    assert block.weights.sum() == 2.0 * 500.0


def test_given_weights_win_over_computed_ones() -> None:
    block = grid(time_weights=[1, 2, 3], frequency_weights=[10, 20], duration=2.0, nyquist=500.0)
    assert block.weights.tolist() == [[10, 20, 30], [20, 40, 60]]


@pytest.mark.parametrize(
    "block", [grid(coefficients="phases"), ScatteredBlock.build([0, 2], [100, 300], [1, 2], coefficients="phases")]
)
def test_a_change_gives_a_new_block_and_leaves_the_old_one(block: Any) -> None:
    before = block.times.copy(), block.weights.copy()
    later = block.shifted(2.5)
    lower = block.below(100.0)
    assert np.array_equal(later.times, block.times + 2.5)
    assert later.coefficients is None
    assert lower.coefficients == "phases"
    limit = block.frequencies <= 100
    expected = block.weights * (limit[:, None] if isinstance(block, GridBlock) else limit)
    assert np.array_equal(lower.weights, expected)
    assert expected.any()
    assert not expected.all()
    assert np.array_equal(lower.magnitudes, block.magnitudes)
    assert block.without_coefficients().coefficients is None
    assert block.coefficients == "phases"
    assert np.array_equal(block.times, before[0])
    assert np.array_equal(block.weights, before[1])
