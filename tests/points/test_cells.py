"""Cells fill the axis: nothing is counted twice, and nothing is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.points import cell_widths

# In thousandths: apart enough for a difference to be measured.
COORDINATES = st.lists(st.integers(-100_000, 1_000_000), min_size=1, max_size=20, unique=True).map(
    lambda values: np.sort(np.array(values)) / 1000
)


@given(COORDINATES, st.floats(-50, 50), st.floats(0, 2000))
def test_cells_fill_a_known_range_wherever_the_centres_are(centres: Any, lower: float, extent: float) -> None:
    upper = lower + extent
    widths = cell_widths(centres, lower, upper)
    assert widths.shape == centres.shape
    assert (widths >= 0).all()
    assert widths.sum() == pytest.approx(upper - lower, abs=1e-9)


@given(COORDINATES, st.floats(-50, 50), st.floats(0, 2000))
def test_a_cell_holds_what_is_nearest_to_its_centre(centres: Any, lower: float, extent: float) -> None:
    grid = lower + (np.arange(4000) + 0.5) * (extent / 4000)
    nearest = np.abs(grid[:, None] - centres).argmin(axis=1)
    counted = np.bincount(nearest, minlength=len(centres)) * (extent / 4000)
    assert np.allclose(cell_widths(centres, lower, lower + extent), counted, atol=2 * extent / 4000 + 1e-9)


@given(COORDINATES)
def test_without_an_upper_end_the_last_cell_is_symmetric(centres: Any) -> None:
    centres = np.unique(np.abs(np.append(centres, 2000.0)))
    widths = cell_widths(centres)
    assert widths[-1] == pytest.approx(centres[-1] - centres[-2], rel=1e-6, abs=1e-9)
    # The first reaches as far down as up, or to 0 where that is nearer.
    half = (centres[1] - centres[0]) / 2
    assert widths[0] == pytest.approx(half + min(half, centres[0]), rel=1e-6, abs=1e-9)


@given(COORDINATES, st.floats(0.1, 10))
def test_widths_follow_a_change_of_unit(centres: Any, factor: float) -> None:
    scaled = cell_widths(centres * factor, 0.0, 500 * factor)
    assert np.allclose(scaled, cell_widths(centres, 0.0, 500.0) * factor, atol=1e-9)


def test_a_uniform_axis_that_starts_at_0_has_half_a_cell_at_either_end() -> None:
    assert cell_widths(np.arange(5.0), 0.0, 4.0).tolist() == [0.5, 1, 1, 1, 0.5]
    assert cell_widths(np.arange(5.0)).tolist() == [0.5, 1, 1, 1, 1]


def test_no_points_have_no_cells() -> None:
    assert cell_widths(np.zeros(0), 0.0, 5.0).shape == (0,)


@pytest.mark.parametrize(
    ("centre", "upper", "width"),
    [(3.0, None, 6.0), (0.0, None, 1.0), (-2.0, None, 1.0), (3.0, 4.0, 4.0), (9.0, 4.0, 4.0)],
)
def test_a_single_point_stands_for_the_whole_axis(centre: float, upper: float | None, width: float) -> None:
    assert cell_widths(np.array([centre]), 0.0, upper).tolist() == [width]


def test_cells_beyond_the_range_are_empty() -> None:
    assert cell_widths(np.array([1.0, 3.0, 7.0, 9.0]), 0.0, 4.0).tolist() == [2.0, 2.0, 0.0, 0.0]
