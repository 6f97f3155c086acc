"""Templates learned from one point set after another, and recordings fitted a segment at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, fit_segments, get_transform
from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.online import draw_sample


@pytest.fixture(scope="module")
def points(voice: NDArray[np.float32]) -> PointSet:
    return get_transform("stft", n_fft=512, hop_length=128).analyze(voice, 16000).without_synthesis()


def cut(points: PointSet, frames: int) -> list[PointSet]:
    block = points.blocks[0]
    return [
        PointSet.from_grid(block.times[at : at + frames], block.frequencies, block.magnitudes[:, at : at + frames])
        for at in range(0, len(block.times), frames)
    ]


def scattered(points: PointSet, begin: float, end: float, seed: int = 0) -> PointSet:
    """Return a random half of the points between two times, as scattered ones."""
    block = points.blocks[0]
    columns = np.flatnonzero((block.times >= begin) & (block.times < end))
    random = np.random.default_rng(seed)
    f, t = (axis.ravel() for axis in np.meshgrid(np.arange(len(block.frequencies)), columns, indexing="ij"))
    keep = random.random(len(f)) < 0.5
    f, t = f[keep], t[keep]
    return PointSet.from_points(block.times[t], block.frequencies[f], block.magnitudes[f, t])


SETTINGS: dict[str, Any] = {"n_components": 8, "random_state": 1}


@pytest.mark.parametrize("field", ["hat", "matrix"])
def test_segments_explain_a_recording_as_a_whole_fit_does(points: PointSet, field: str) -> None:
    whole = INMF(field=field, **SETTINGS).fit(points)
    parts = fit_segments(cut(points, 60), field=field, **SETTINGS)
    assert parts.divergence(points) < 1.03 * whole.divergence(points)
    # Its activations are those of all segments, on their own times.
    h = parts.activations(points.blocks[0].times)
    assert h.shape == (8, len(points.blocks[0].times))
    assert (h.max(1) > 0).all()


def test_further_passes_bring_the_divergence_down(points: PointSet) -> None:
    curves = [fit_segments(cut(points, 60), passes=n, max_iter=10, **SETTINGS).divergence_curve_ for n in (2, 5)]
    assert [i for i, _ in curves[1]] == [1, 2, 3, 4]
    values = [value for _, value in curves[1]]
    assert values == sorted(values, reverse=True)
    assert curves[0][0] == curves[1][0]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_one_set_alone_gives_a_plain_update_of_the_templates(points: PointSet, beta: float) -> None:
    # What one set says, at the coefficients it was said at, is the majorizer of an ordinary update: it never rises.
    options = {**SETTINGS, "beta_loss": beta, "power": 1.0, "weights": "uniform", "field": "matrix", "max_iter": 3}
    model = INMF(**options).fit(points)
    before = model.divergence(points, model.transform(points, max_iter=50))
    online = INMF(**options).partial_fit(points)
    after = online.divergence(points, online.transform(points, max_iter=50))
    assert after < before


def test_a_stream_teaches_templates_what_it_brings(points: PointSet) -> None:
    first, *rest = cut(points, 90)
    model = INMF(**SETTINGS).partial_fit(first)
    before = [model.divergence(each, model.transform(each)) for each in rest]
    for _ in range(3):
        for each in rest:
            model.partial_fit(each)
    after = [model.divergence(each, model.transform(each)) for each in rest]
    assert np.mean(after) < 0.97 * np.mean(before)
    assert model.activations(rest[-1].blocks[0].times).shape == (8, rest[-1].blocks[0].magnitudes.shape[1])
    # Streams go on from there: the level of a set, far below the rest, does not matter.
    quiet = PointSet.from_grid(first.blocks[0].times, first.blocks[0].frequencies, 1e-6 * first.blocks[0].magnitudes)
    kept = model.templates(first.blocks[0].frequencies)
    model.partial_fit(quiet)
    assert np.abs(model.templates(first.blocks[0].frequencies) - kept).max() < 0.01


def test_forgetting_lets_go_of_the_past(points: PointSet) -> None:
    first, last = cut(points, 190)
    errors = {}
    for forgetting in (0.2, 1.0):
        model = INMF(**SETTINGS)
        for _ in range(3):
            model.partial_fit(first)
        for _ in range(4):
            model.partial_fit(last, forgetting=forgetting)
        errors[forgetting] = [model.divergence(each, model.transform(each)) for each in (first, last)]
    assert errors[0.2][1] < errors[1.0][1]
    assert errors[0.2][0] > errors[1.0][0]


def test_activations_of_hats_are_continuous_across_segments(points: PointSet) -> None:
    borders = (0.0, 0.97, 2.02, 3.0)
    segments = [scattered(points, a, b) for a, b in pairwise(borders)]
    model = fit_segments(segments, passes=1, n_components=4)
    assert model.divergence(sum(segments[1:], segments[0])) < 0.2
    for border in borders[1:-1]:
        near = model.activations(border + np.array([-1e-6, 0, 1e-6]))
        assert np.abs(near[:, 0] - near[:, 2]).max() < 1e-3 * (near.max() + 1e-9)


def test_a_sample_has_frames_from_everywhere_in_equal_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inmf_flow.factorize.online._SAMPLE_POINTS", 5 * 40)

    def grid(k: int) -> PointSet:
        times = np.arange(20) / 10 + 2 * k
        return PointSet.from_grid(times, np.arange(5.0), np.full((5, 20), k + 1.0))

    sample = draw_sample((grid(k) for k in range(40)), np.random.default_rng(0))
    assert sample is not None
    block = sample.blocks[0]
    assert 20 <= len(block.times) <= 60
    assert (np.diff(block.times) > 0).all()
    # Each frame is one that was there, and early segments are no likelier than late ones.
    assert (block.magnitudes[0] == np.floor(block.times / 2 + 1e-9) + 1).all()
    assert 20 < block.times.mean() < 60


def test_a_sample_needs_grids_alike(points: PointSet) -> None:
    random = np.random.default_rng(0)
    assert draw_sample([scattered(points, 0, 1)], random) is None
    other = PointSet.from_grid([0.0, 0.1], [1.0, 2.0], np.ones((2, 2)))
    assert draw_sample([points, other], random) is None
    assert draw_sample([], random) is None


@pytest.mark.full
def test_memory_does_not_hold_more_than_a_segment(points: PointSet, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    seen: list[weakref.ref[Any]] = []
    frames = len(points.blocks[0].times)

    def segments() -> Iterator[PointSet]:
        for at in range(0, frames, 40):
            block = points.blocks[0]
            times, magnitudes = block.times[at : at + 40], block.magnitudes[:, at : at + 40]
            part = PointSet.from_grid(times, block.frequencies, magnitudes.copy())
            seen.append(weakref.ref(part.blocks[0].magnitudes))
            yield part
            del part
            gc.collect()
            alive.append(sum(ref() is not None for ref in seen))

    monkeypatch.setattr("inmf_flow.factorize.online._SAMPLE_POINTS", 1000)
    fit_segments(segments, passes=3, max_iter=5, **SETTINGS)
    assert len(alive) == 3 * -(-frames // 40)
    assert max(alive) <= 2


def test_segments_of_a_list_in_any_length_and_silence(points: PointSet) -> None:
    parts = cut(points, 50)
    block = parts[2].blocks[0]
    parts[2] = PointSet.from_grid(block.times, block.frequencies, np.zeros_like(block.magnitudes))
    model = fit_segments(parts, **SETTINGS)
    assert np.isfinite(model.templates(block.frequencies)).all()
    assert np.abs(model.activations(block.times[1:-1])).max() < 1e-3 * model.activations(parts[0].blocks[0].times).max()


def test_what_cannot_be_fitted_one_after_another(points: PointSet) -> None:
    with pytest.raises(ArgumentError, match="read only once"):
        fit_segments(iter(cut(points, 60)))
    with pytest.raises(PointsError, match="no segments"):
        fit_segments([])
    with pytest.raises(PointsError, match="follow one another"):
        fit_segments(cut(points, 60)[::-1])
    with pytest.raises(ArgumentError, match="passes"):
        fit_segments(cut(points, 60), passes=0)
    with pytest.raises(ArgumentError, match="forgetting"):
        INMF().partial_fit(points, forgetting=1.5)
    with pytest.raises(ArgumentError, match="penalties"):
        INMF(sparsity=0.1).partial_fit(points)
    with pytest.raises(ArgumentError, match="networks"):
        INMF(2, field={"network": {"hidden": 4, "layers": 1}}, optimizer="rprop", max_iter=1).partial_fit(points)


def test_a_segmented_model_is_saved_and_separates_like_any_other(points: PointSet, tmp_path: Any) -> None:
    model = fit_segments(cut(points, 60), **SETTINGS)
    model.save(tmp_path / "voice.safetensors")
    loaded = INMF.load(tmp_path / "voice.safetensors")
    assert loaded.divergence(points) == pytest.approx(model.divergence(points), rel=1e-6)


def test_a_fitted_model_goes_on_from_what_it_knows(points: PointSet, tmp_path: Any) -> None:
    first, last = cut(points, 190)
    fitted = INMF(**SETTINGS).fit(first)
    fitted.save(tmp_path / "voice.safetensors")
    for model in (fitted, INMF.load(tmp_path / "voice.safetensors")):
        before = [model.divergence(each, model.transform(each)) for each in (first, last)]
        model.partial_fit(last)
        after = [model.divergence(each, model.transform(each)) for each in (first, last)]
        assert after[1] < before[1], "it learns what is new"
        assert after[0] < 1.3 * before[0], "and keeps what it knew"


def test_silence_at_the_beginning_does_no_harm(points: PointSet) -> None:
    block = points.blocks[0]
    silence = PointSet.from_grid(block.times, block.frequencies, np.zeros_like(block.magnitudes))
    plain, delayed = INMF(**SETTINGS), INMF(**SETTINGS).partial_fit(silence)
    for model in (plain, delayed):
        model.partial_fit(points)
    assert np.array_equal(plain.templates(block.frequencies), delayed.templates(block.frequencies))
    parts = cut(points, 60)
    first = parts[0].blocks[0]
    parts[0] = PointSet.from_grid(first.times, first.frequencies, np.zeros_like(first.magnitudes))
    one_pass = fit_segments(parts, passes=1, **SETTINGS)
    assert (one_pass.activations(first.times) == 0).all()
    assert one_pass.activations(parts[1].blocks[0].times).max() > 0


def test_templates_of_segments_peak_at_one(points: PointSet) -> None:
    model = fit_segments(cut(points, 60), **SETTINGS)
    peaks = model.templates(points.blocks[0].frequencies).max(0)
    np.testing.assert_allclose(peaks, 1, rtol=1e-5)


def test_a_segmented_model_takes_more_points(points: PointSet) -> None:
    first, last = cut(points, 190)
    model = fit_segments(cut(first, 60), **SETTINGS)
    before = model.divergence(last, model.transform(last))
    model.partial_fit(last)
    assert model.divergence(last, model.transform(last)) < before
    assert model.divergence(first, model.transform(first)) < 0.1
