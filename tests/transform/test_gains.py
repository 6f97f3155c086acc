"""Gains in every form that users give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import TransformError
from inmf_flow.points import GridBlock, PointSet, ScatteredBlock
from inmf_flow.transform import resolve_gains

POINTS = PointSet(
    (
        GridBlock.build([0, 1, 2], [10, 20], np.ones((2, 2, 3))),
        ScatteredBlock.build([0, 1], [1, 2], np.ones((2, 2))),
    )
)
GOOD = np.ones(2)


def test_nothing_stays_nothing() -> None:
    assert resolve_gains(POINTS, None, "somewhere") is None


def test_arrays_are_passed_on_in_the_order_of_the_blocks() -> None:
    arrays = [np.full((2, 3), 0.5), np.full(2, 0.25)]
    resolved = resolve_gains(POINTS, arrays, "somewhere")
    assert resolved is not None
    for got, expected in zip(resolved, arrays, strict=True):
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (2, 3), (1, 3), (2, 2, 3), (2, 1, 1), (1, 2, 3)])
def test_gains_are_broadcast_against_the_points(shape: tuple[int, ...]) -> None:
    resolved = resolve_gains(POINTS, [np.ones(shape), GOOD], "somewhere")
    assert resolved is not None
    assert np.broadcast_to(resolved[0], (2, 2, 3)).shape == (2, 2, 3)


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 2), (3, 2, 3), (1, 2, 2, 3), (2, 4), (0,)])
def test_gains_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TransformError, match=r"gains of block 0 do not fit.*broadcasts to \(2, 2, 3\)"):
        resolve_gains(POINTS, [np.ones(shape), GOOD], "somewhere")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_array_is_needed_for_each_block(count: int) -> None:
    with pytest.raises(TransformError, match=f"one array of gains is needed for each block; got {count}; expected 2"):
        resolve_gains(POINTS, [GOOD] * count, "somewhere")


def test_a_function_is_called_with_the_coordinates_of_each_block() -> None:
    seen = []

    def gains(times: Any, frequencies: Any) -> Any:
        seen.append((times.tolist(), frequencies.tolist()))
        return np.ones(())

    resolve_gains(POINTS, gains, "somewhere")
    assert seen == [([0, 1, 2], [10, 20]), ([0, 1], [1, 2])]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([1, np.nan]), "not all finite"),
        (np.array([1, np.inf]), "not all finite"),
        (np.array([1, 1j]), "not real numbers; got complex128"),
        (np.array(["a", "b"]), "not real numbers"),
        (np.array([None, 1]), "not real numbers; got object"),
    ],
)
def test_gains_that_are_no_finite_numbers_are_refused(bad: Any, message: str) -> None:
    with pytest.raises(TransformError, match=f"somewhere: the gains of block 1 are {message}"):
        resolve_gains(POINTS, [np.ones((2, 3)), bad], "somewhere")


@pytest.mark.parametrize("dtype", [bool, np.uint8, int, np.float16, np.float64])
def test_gains_may_be_any_real_numbers(dtype: type) -> None:
    assert resolve_gains(POINTS, [np.ones((2, 3), dtype), GOOD], "somewhere") is not None
