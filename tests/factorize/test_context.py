"""Templates that move: functions of hertz and of lag."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.audio import read_audio
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import fit_segments
from inmf_flow.factorize.context import SPAN, common_hop, lags_for, with_lags

FREQUENCIES = np.arange(1, 9) * 100.0
HOP = 0.01


def steps(falling: bool = False, frames: int = 120) -> PointSet:
    """Return points of sounds that last three frames each and rise in pitch, or fall, through the same pitches."""
    rng = np.random.default_rng(0)
    rows = [4, 2, 0] if falling else [0, 2, 4]
    values = np.full((8, frames), 1e-3)
    for onset in range(4, frames - 3, 9):
        values[rows, onset + np.arange(3)] += rng.uniform(0.5, 1.5)
    return PointSet.from_grid(np.arange(frames) * HOP, FREQUENCIES, values)


def test_sounds_that_differ_only_in_their_course_are_told_apart() -> None:
    rising, falling = steps(), steps(falling=True)
    ratios = []
    for context in (0.0, 2 * HOP):
        model = INMF(6, power=1, field="matrix", context=context, max_iter=200).fit(rising)
        foreign, own = (model.divergence(points, model.transform(points, 200)) for points in (falling, rising))
        ratios.append(foreign / own)
    # Frame by frame both are made of the same; in their course they are not.
    assert ratios[0] < 1.5
    assert ratios[1] > 3


@pytest.mark.parametrize("field", ["hat", "matrix"])
def test_a_context_of_less_than_a_hop_changes_nothing(field: str) -> None:
    points = steps()
    models = [INMF(3, field=field, max_iter=20, context=context).fit(points) for context in (0.0, 0.9 * HOP)]
    assert len(models[1].lags_) == 1
    assert np.array_equal(models[0].templates(FREQUENCIES), models[1].templates(FREQUENCIES))


def test_lags_are_whole_hops_or_ticks() -> None:
    grid = steps()
    assert np.allclose(lags_for(grid, 0.035), [0, 0.01, 0.02, 0.03])
    assert common_hop(grid + grid) is not None
    # Two grids at once share moments: they are held against the templates at ticks of the activations' clock.
    assert np.allclose(lags_for(grid + grid, 0.0625), np.array([0, 2, 4]) / 64)
    scattered = PointSet.from_points([0.0, 0.3, 0.31], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert common_hop(scattered) is None
    assert lags_for(scattered, 0.0625)[-1] <= 0.0625
    assert lags_for(scattered, 0.0).tolist() == [0.0]


@settings(max_examples=30)
@given(frames=st.integers(2, 12), lags=st.integers(2, 5), padded=st.booleans(), channels=st.sampled_from([0, 2]))
def test_copies_show_the_frames_that_come_later(frames: int, lags: int, padded: bool, channels: int) -> None:
    rng = np.random.default_rng(frames)
    values = rng.random((*([channels] if channels else []), 4, frames)).astype(np.float32) + 0.5
    points = PointSet.from_grid(1.0 + np.arange(frames) * 0.5, np.arange(4.0), values)
    (block,) = with_lags(points, np.arange(lags) * 0.5, padded=padded).blocks
    padded = padded or frames < lags
    assert len(block.times) == frames + (lags - 1) * (1 if padded else -1)
    for column, time in enumerate(block.times):
        for lag in range(lags):
            frame = round((time - 1.0) / 0.5) + lag
            rows = slice(4 * lag, 4 * lag + 4)
            expected = values[..., frame] if 0 <= frame < frames else 0
            assert np.array_equal(block.magnitudes[..., rows, column], expected + np.zeros_like(values[..., 0]))
            assert np.allclose(block.frequencies[rows], lag * SPAN + np.arange(4.0))


def test_templates_at_any_lag_lie_between_those_that_were_learned() -> None:
    points = steps()
    model = INMF(2, context=2 * HOP, max_iter=30).fit(points)
    first, second, third = (model.templates(FREQUENCIES, lag) for lag in model.lags_)
    assert np.allclose(model.templates(FREQUENCIES, 0.25 * HOP), 0.75 * first + 0.25 * second, atol=1e-6)
    assert np.array_equal(model.templates(FREQUENCIES, 10.0), third)
    assert np.allclose(model.templates(FREQUENCIES), (first + second + third) / 3, atol=1e-6)
    # Above what it has seen a template keeps its last value, at each lag its own.
    top = [model.templates([800.0, 1e6], lag) for lag in model.lags_]
    assert all(np.array_equal(rows[0], rows[1]) for rows in top)


def test_divergence_falls_monotonically_with_plain_updates() -> None:
    points = steps()
    model = INMF(3, context=2 * HOP, relaxation=1, max_iter=100, tol=0).fit(points)
    values = [value for _, value in model.divergence_curve_]
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(values))


def test_a_file_keeps_all_lags(tmp_path: Path) -> None:
    points = steps()
    model = INMF(2, context=2 * HOP, max_iter=20).fit(points)
    model.save(tmp_path / "m.safetensors")
    again = INMF.load(tmp_path / "m.safetensors")
    assert again.context == model.context
    assert np.array_equal(again.lags_, model.lags_)
    for lag in (None, 0.0, 0.013):
        assert np.array_equal(again.templates(FREQUENCIES, lag), model.templates(FREQUENCIES, lag))
    assert all(np.array_equal(*pair) for pair in zip(again.predict(points), model.predict(points), strict=True))


def test_given_templates_start_every_lag_and_may_stay() -> None:
    points = steps()
    model = INMF(2, power=1, context=2 * HOP, n_init=3).fit(points)
    more = INMF(3, power=1, context=2 * HOP, max_iter=30).fit(points, templates=model, fixed=[True, True])
    for lag in model.lags_:
        assert np.allclose(more.templates(FREQUENCIES, lag)[:, :2], model.templates(FREQUENCIES, lag), atol=1e-6)
    flat = INMF(2, power=1, context=2 * HOP, max_iter=1).fit(
        points, templates=lambda f: np.ones((len(f), 1)), fixed=True
    )
    assert np.allclose(flat.templates(FREQUENCIES, HOP)[:, 0], 1)


def test_activations_of_other_points_explain_them(speech: dict[str, Path]) -> None:
    audio = {name: read_audio(speech[f"male_{name}"])[0][0] for name in ("train", "test")}
    learned = get_transform("stft", n_fft=1000)
    model = INMF(20, context=0.0625, max_iter=60).fit(learned.analyze(audio["train"], 16000))
    for spec in ({"n_fft": 1000}, {"n_fft": 2000, "hop_length": 500}, {"n_fft": 1500}):
        points = get_transform("stft", **spec).analyze(audio["test"], 16000)
        h = model.transform(points, max_iter=60)
        own, nothing = model.divergence(points, h), INMF(1, max_iter=60).fit(points).divergence(points)
        assert own < 0.6 * nothing, spec


@pytest.mark.parametrize("field", ["network", "grid", "siren"])
def test_other_fields_are_refused(field: str) -> None:
    with pytest.raises(ArgumentError, match="hat and matrix"):
        INMF(2, field=field, context=2 * HOP).fit(steps())


def test_what_learns_piece_by_piece_refuses_a_context() -> None:
    model = INMF(2, context=2 * HOP)
    with pytest.raises(ArgumentError, match="context=0"):
        model.partial_fit(steps())
    with pytest.raises(ArgumentError, match="context=0"):
        fit_segments([steps()], 2, context=2 * HOP, passes=1)


@pytest.mark.parametrize("context", [-0.1, 1.1, float("nan"), "long", True])
def test_a_context_out_of_range_is_refused(context: Any) -> None:
    with pytest.raises(ArgumentError, match="context is out of range 0 to 1 seconds"):
        INMF(2, context=context)


def test_frequencies_must_leave_room_for_the_lags() -> None:
    points = PointSet.from_grid(np.arange(5) * HOP, [1.0, SPAN], np.ones((2, 5)))
    with pytest.raises(Exception, match="too high"):
        INMF(1, context=2 * HOP).fit(points)
