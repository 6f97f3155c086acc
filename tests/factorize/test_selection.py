"""The number of components is found by points that were hidden from the fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import PointSet, get_transform
from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.selection import Selection, select_components, split_points

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")
COUNTS: dict[str, Any] = {"power": 1.0, "weights": "uniform", "max_iter": 80}


def counts(seed: int) -> PointSet:
    """Return a table of Poisson counts whose rates have rank 3."""
    random = np.random.default_rng(seed)
    rates = 10 * random.gamma(0.5, 1.0, (30, 3)) @ random.gamma(0.5, 1.0, (3, 40))
    return PointSet.from_grid(np.arange(40) / 10, np.arange(30) * 100.0, random.poisson(rates))


def scattered_counts(seed: int) -> PointSet:
    """Return Poisson counts at random places whose rates are three bumps in hertz, each with its own rhythm."""
    random = np.random.default_rng(seed)
    times, hertz = random.uniform(0, 2, 1500), random.uniform(0, 4000, 1500)
    bumps = np.exp(-0.5 * ((hertz[:, None] - [500, 1600, 3000]) / 350) ** 2)
    rhythms = np.sin(np.outer(times, np.pi * np.arange(1, 4) / 2) + np.arange(3)) ** 2
    return PointSet.from_points(times, hertz, random.poisson(20 * (bumps * rhythms).sum(1)), duration=2.0)


def three_noises(seed: int) -> NDArray[np.float32]:
    """Return two seconds at 8 kHz of three bands of noise, each with its own rhythm."""
    random = np.random.default_rng(seed)
    times, hertz = np.arange(16000) / 8000, np.fft.rfftfreq(16000, 1 / 8000)
    audio = 0.01 * random.standard_normal(16000)
    for number, (low, high) in enumerate([(300, 900), (1300, 2000), (2500, 3300)]):
        spectrum = np.fft.rfft(random.standard_normal(16000)) * ((hertz > low) & (hertz < high))
        rhythm = 0.02 + np.sin(0.7 * np.pi * (number + 1) * times + number) ** 4
        audio += np.fft.irfft(spectrum) * rhythm
    return audio.astype(np.float32)


def values(points: PointSet) -> NDArray[np.float32]:
    return np.concatenate([block.magnitudes.ravel() for block in points.blocks])


def weights(points: PointSet) -> NDArray[np.float32]:
    whole = [np.broadcast_to(block.weights, block.magnitudes.shape).ravel() for block in points.blocks]
    return np.concatenate(whole)


def places(points: PointSet) -> list[tuple[float, float]]:
    """Return seconds and hertz of each point that has weight and a value."""
    found = []
    for block in points.blocks:
        t, f = block.times, block.frequencies
        if block.weights.ndim == 2:
            t, f = np.broadcast_to(t, block.weights.shape), np.broadcast_to(f[:, None], block.weights.shape)
        known = np.isfinite(block.magnitudes)
        known = (known.any(0) if block.has_channels else known) & (block.weights > 0)
        found += list(zip(t[known], f[known], strict=True))
    return found


def coordinates(points: PointSet) -> list[Counter[float]]:
    """Return how many points are at each time, and at each frequency."""
    return [Counter(axis) for axis in zip(*places(points), strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_the_rank_of_noisy_tables_is_found(seed: int) -> None:
    found = select_components(counts(seed), range(1, 7), field="matrix", random_state=seed, **COUNTS)
    assert found.n_components == found.one_standard_error == 3
    assert found.candidates == (1, 2, 3, 4, 5, 6)
    assert found.divergences.shape == found.training_divergences.shape == (6, 5)
    assert found.mean[5] > found.mean[3] + 0.1 > found.mean[2] + 0.1, "too many components predict worse"
    assert (np.diff(found.training_divergences.mean(1)) < 0).all()
    assert (found.mean > found.training_divergences.mean(1)).all()


def test_the_rank_of_scattered_points_is_found() -> None:
    nodes = dict.fromkeys(("field", "time_field"), "hat:nodes=28,warp=linear")
    found = select_components(scattered_counts(0), [6, 4, 3, 2, 1], folds=4, **nodes, **COUNTS)
    assert found.candidates == (1, 2, 3, 4, 6)
    assert found.n_components == 3
    assert found.mean[4] > found.mean[2]


def test_points_of_overlapping_frames_tell_their_neighbours_and_patches_do_not() -> None:
    stft = get_transform("stft", n_fft=512, hop_length=32)
    points = stft.analyze(three_noises(0), 8000)
    common: dict[str, Any] = {"folds": 3, "field": "matrix", "power": 1.0, "max_iter": 60}
    assert select_components(points, [3, 16], **common).n_components == 16
    patches = select_components(points, [1, 3, 16], holdout="patches", patch=(0.13, 100.0), **common)
    assert patches.n_components == 3


@pytest.mark.parametrize(("holdout", "patch"), [("points", None), ("patches", (0.07, 250.0))])
def test_components_help_to_tell_hidden_parts_of_speech(
    holdout: str, patch: tuple[float, float] | None, voice: NDArray[np.float32]
) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice, 16000)
    found = select_components(points, [1, 6], folds=4, holdout=holdout, patch=patch, max_iter=40)
    assert found.n_components == 6
    assert found.mean[1] < 0.9 * found.mean[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["hat", "matrix", "network:hidden=4"])
def test_points_of_every_kind_are_predicted(kind: str, field: str, make_points: Callable[..., PointSet]) -> None:
    found = select_components(make_points(kind), [1, 2], folds=2, field=field, max_iter=5)
    for array in (found.divergences, found.training_divergences):
        assert np.isfinite(array).all()
        assert (array > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("patch", [None, (0.25, 700.0)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), folds=st.integers(2, 4))
def test_each_point_is_hidden_at_most_once_and_no_coordinate_wholly(
    kind: str, patch: tuple[float, float] | None, make_points: Callable[..., PointSet], seed: int, folds: int
) -> None:
    points = make_points(kind, seed)
    whole, all_weights, all_counts = values(points), weights(points), coordinates(points)
    times_hidden = np.zeros(len(whole), int)
    holdout = "points" if patch is None else "patches"
    for visible, hidden in split_points(points, folds, holdout=holdout, patch=patch, random_state=seed):
        left, taken = values(visible), values(hidden)
        assert not (np.isfinite(left) & np.isfinite(taken)).any()
        assert np.array_equal(np.where(np.isfinite(taken), taken, left), whole, equal_nan=True)
        assert np.array_equal(weights(visible), all_weights)
        here = np.isfinite(taken) & (all_weights > 0)
        assert here.any()
        times_hidden += here
        for before, after in zip(all_counts, coordinates(visible), strict=True):
            assert {coordinate for coordinate, count in before.items() if count > 1} <= set(after)
        assert visible.end == hidden.end == points.end
    assert times_hidden.max() == 1
    here = np.isfinite(whole) & (all_weights > 0)
    assert not times_hidden[~here].any()
    assert times_hidden.sum() > 0.5 * here.sum()


def test_almost_all_points_of_a_grid_are_hidden_once_in_parts_of_one_size() -> None:
    sizes = [np.isfinite(values(hidden)).sum() for _, hidden in split_points(counts(0), 7)]
    assert sum(sizes) >= 1199
    assert max(sizes) - min(sizes) <= 2


def test_channels_of_a_point_are_hidden_together(make_points: Callable[..., PointSet]) -> None:
    for _, hidden in split_points(make_points("channels")):
        first, second = np.isfinite(hidden.blocks[0].magnitudes)
        assert first.any()
        assert np.array_equal(first, second)


def test_a_patch_hides_the_points_of_every_block() -> None:
    grid = counts(0)
    places_of_grid = np.array([(t, f) for f in grid.blocks[0].frequencies for t in grid.blocks[0].times])
    again = PointSet.from_points(*places_of_grid.T, values(grid))
    parts = list(split_points(grid + again, 4, holdout="patches", patch=(0.7, 450.0), random_state=3))
    for _, hidden in parts:
        first, second = (np.isfinite(block.magnitudes).ravel() for block in hidden.blocks)
        assert first.sum() > 200
        assert np.array_equal(first, second)
    fold = sum((i + 1) * np.isfinite(hidden.blocks[0].magnitudes) for i, (_, hidden) in enumerate(parts))
    rims = (np.diff(fold, axis=0) != 0).mean(), (np.diff(fold, axis=1) != 0).mean()
    # Patches are 4.5 rows high and 7 columns wide; 3 of 4 neighbours belong to another fold.
    assert rims == pytest.approx((0.75 / 4.5, 0.75 / 7), abs=0.06)


def test_equal_seeds_give_equal_numbers() -> None:
    def run(seed: int, patch: Any = None) -> bytes:
        holdout = "points" if patch is None else "patches"
        found = select_components(
            counts(0), [2, 3], folds=2, holdout=holdout, patch=patch, random_state=seed, **{**COUNTS, "max_iter": 3}
        )
        return found.divergences.tobytes() + found.training_divergences.tobytes()

    for patch in (None, (0.5, 400.0)):
        assert run(4, patch) == run(4, patch) != run(5, patch)


def test_nothing_of_the_users_points_is_changed() -> None:
    points = counts(0)
    before = values(points).copy()
    select_components(points, [2], folds=2, max_iter=2)
    assert np.array_equal(values(points), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": []}, "one at least"),
        ({"candidates": [2, 2]}, "different numbers"),
        ({"candidates": [0, 2]}, "whole numbers; got 0"),
        ({"candidates": [2.0]}, "whole numbers; got 2.0"),
        ({"candidates": [True]}, "whole numbers; got True"),
        ({"n_components": 3}, "n_components: the number of components is what is chosen"),
        ({"folds": 1}, "folds must be a whole number"),
        ({"folds": 2.5}, "folds must be a whole number"),
        ({"holdout": "frames"}, "no such holdout"),
        ({"holdout": "patches"}, "a patch goes with"),
        ({"patch": (1.0, 1.0)}, "a patch goes with"),
        ({"holdout": "patches", "patch": (1.0,)}, "must have an extent"),
        ({"holdout": "patches", "patch": (1.0, 0.0)}, "must have an extent"),
        ({"holdout": "patches", "patch": (float("nan"), 1.0)}, "must have an extent"),
        ({"random_state": -1}, "random_state must be a whole number"),
        ({"power": -1.0}, "power must be positive"),
        ({"weights": "loud"}, "no such weights"),
    ],
)
def test_what_cannot_work_is_refused_before_any_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        select_components(counts(0), **{"candidates": [1, 2], "max_iter": 10**9, **arguments})


def test_settings_that_no_model_has_are_refused() -> None:
    with pytest.raises(TypeError, match="iterations"):
        select_components(counts(0), [1], iterations=3)


def test_too_few_points_or_patches_are_refused() -> None:
    few = PointSet.from_points([0.0, 0.1, 0.2], [100.0, 200.0, 300.0], [1.0, 2.0, np.nan])
    none = PointSet.from_grid([0.0, 1.0], [0.0, 1.0], np.full((2, 2), np.nan))
    for points in (few, none, PointSet(())):
        with pytest.raises(PointsError, match="too little to hide"):
            select_components(points, [1], folds=3)
    with pytest.raises(PointsError, match="smaller patches"):
        select_components(counts(0), [1], holdout="patches", patch=(1e3, 1e6))


def selection() -> Selection:
    """Return one in which 8 is best, and 3 is within its standard error of 0.01."""
    folds = np.array([-0.02, 0.0, 0.02]) * np.sqrt(3) / 2
    held_out = np.array([0.5, 0.312, 0.305, 0.3, 0.4])[:, None] + folds
    return Selection((1, 2, 3, 8, 20), held_out, held_out - 0.1)


def test_the_smallest_within_one_standard_error_is_told() -> None:
    found = selection()
    assert found.standard_error == pytest.approx(np.full(5, 0.01))
    assert (found.n_components, found.one_standard_error) == (8, 3)
    lines = repr(found).splitlines()
    assert "K = 8" in lines[0]
    assert "3 folds" in lines[0]
    rows = [line.split() for line in lines[2:]]
    assert [row[0] for row in rows] == ["1", "2", "3", "8", "20"]
    assert rows[3][1:5] == ["0.3", "0.01", "0.2", "best"]
    assert rows[2][4:] == ["smallest", "within", "one", "s.e."]
    assert {len(row) for row in (rows[0], rows[1], rows[4])} == {4}


def test_the_picture_shows_both_curves_and_the_choice(tmp_path: Path) -> None:
    from matplotlib.image import imread

    ax = selection().plot(tmp_path / "deep" / "k.png")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["k.png"]
    pixels = imread(tmp_path / "deep" / "k.png")
    assert min(pixels.shape[:2]) > 300
    assert pixels.std() > 0.05
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["held out", "training", "best: K = 8", "within one s.e.: K = 3"]
    curves = {tuple(np.round(line.get_ydata(), 6)) for line in ax.lines}
    assert {tuple(np.round(selection().mean - low, 6)) for low in (0, 0.1)} <= curves
    assert {(0.3,), (0.305,)} <= curves


def test_pictures_go_into_given_axes_and_by_their_suffix(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    left, right = Figure().subplots(1, 2)
    assert selection().plot(ax=right) is right
    assert right.lines
    assert not left.lines
    assert selection().plot(tmp_path / "k.svg", ax=left) is left
    assert "<svg" in (tmp_path / "k.svg").read_text()
    with pytest.raises(ValueError, match="not supported"):
        selection().plot(tmp_path / "k.nonsense")
    assert [path.name for path in tmp_path.iterdir()] == ["k.svg"]


def test_drawing_leaves_pyplot_and_its_settings_alone(tmp_path: Path) -> None:
    import matplotlib
    from matplotlib import pyplot

    before = pyplot.get_fignums(), dict(matplotlib.rcParams)
    ax = selection().plot(tmp_path / "k.png")
    assert (pyplot.get_fignums(), dict(matplotlib.rcParams)) == before
    assert ax.figure.canvas.manager is None
