"""Many clips fitted at once: each model is the one that it would be alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import get_transform
from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize import INMF, BetaDivergence
from inmf_flow.factorize.batch import fit_batch
from inmf_flow.points import PointSet
from inmf_flow.registry import divergences

FIELDS = ("hat:nodes=9", "hat", "matrix")


def clip(n_times: int, n_frequencies: int = 13, top: float = 4000.0, seed: int = 0, missing: float = 0.0) -> PointSet:
    """Return a noisy grid of rank 3 on uneven frequencies, some points missing."""
    draw = np.random.default_rng(seed)
    values = draw.gamma(0.5, size=(n_frequencies, 3)) @ draw.gamma(0.5, size=(3, n_times))
    values *= draw.gamma(4.0, 0.25, size=values.shape)
    values[draw.random(values.shape) < missing] = np.nan
    frequencies = top * (np.linspace(0, 1, n_frequencies) ** 1.3)
    return PointSet.from_grid(np.arange(n_times) / 20, frequencies, values)


def ragged() -> list[PointSet]:
    """Return clips of several lengths and frequency axes: with holes, empty rows and frames, two channels, silent."""
    holed = clip(17, seed=3, missing=0.3)
    values = holed.blocks[0].magnitudes.copy()
    values[4], values[-1], values[:, 6] = np.nan, np.nan, np.nan
    stereo = clip(9, seed=4).blocks[0]
    both = np.stack([stereo.magnitudes, 2 * stereo.magnitudes])
    return [
        clip(12, seed=1),
        clip(31, 21, 8000.0, seed=2),
        PointSet.from_grid(holed.blocks[0].times, holed.blocks[0].frequencies, values),
        PointSet.from_grid(stereo.times, stereo.frequencies, both),
        PointSet.from_grid(np.arange(5) / 20, stereo.frequencies, np.zeros((13, 5))),
        clip(1, seed=5),
    ]


def assert_alike(one: INMF, other: INMF, points: PointSet, rel: float = 1e-3) -> None:
    """Assert that two models were fitted in the same steps to the same functions."""
    assert other.n_iter_ == one.n_iter_
    assert [at for at, _ in other.divergence_curve_] == [at for at, _ in one.divergence_curve_]
    curves = ([value for _, value in model.divergence_curve_] for model in (other, one))
    np.testing.assert_allclose(*curves, rtol=1e-4, atol=1e-7)
    assert (other.max_frequency_, other.duration_) == (one.max_frequency_, one.duration_)
    hertz = np.linspace(0, 9000, 50)
    np.testing.assert_allclose(other.templates(hertz), one.templates(hertz), rtol=rel, atol=rel)
    seconds = np.linspace(-0.1, 2, 40)
    level = one.activations(points.blocks[0].times).max()
    np.testing.assert_allclose(other.activations(seconds), one.activations(seconds), rtol=rel, atol=rel * level)


def assert_fits_are_alike(clips: Sequence[PointSet], **options: Any) -> None:
    models = fit_batch(clips, **options)
    assert len(models) == len(clips)
    for points, model in zip(clips, models, strict=True):
        assert_alike(INMF(**{"tol": 0.0, **options}).fit(points), model, points)


@pytest.mark.parametrize("beta_loss", ["kullback-leibler", "itakura-saito", "frobenius", 0.5, 2.5])
@pytest.mark.parametrize("field", FIELDS)
def test_each_clip_gets_the_model_that_it_gets_alone(field: str, beta_loss: str | float) -> None:
    assert_fits_are_alike(ragged(), n_components=3, field=field, beta_loss=beta_loss, max_iter=25)


@pytest.mark.parametrize("beta_loss", ["kullback-leibler", "itakura-saito", "frobenius"])
def test_clips_without_missing_points_get_it_too(beta_loss: str) -> None:
    clips = [clip(12, seed=1), clip(20, seed=2), clip(15, 19, seed=3)]
    assert_fits_are_alike(clips, n_components=3, beta_loss=beta_loss, max_iter=40)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "uniform", "power": 1.0},
        {"init": "random", "random_state": 7},
        {"init": {"harmonic": {"low": 100.0}}, "relaxation": 1.0},
        {"field": {"hat": {"nodes": 7, "warp": "data"}}, "n_components": 1},
        {"max_iter": 1},
        {"max_iter": 9},
        {"max_iter": 20},
    ],
    ids=str,
)
def test_every_setting_means_what_it_means_alone(options: dict[str, Any]) -> None:
    assert_fits_are_alike(ragged()[:4], **{"n_components": 3, "max_iter": 15, **options})


def test_recordings_of_different_rates_and_lengths_get_the_models_that_they_get_alone(
    voice: NDArray[np.float32],
) -> None:
    stft = get_transform("stft", n_fft=512)
    clips = [stft.analyze(voice[:16000], 16000), stft.analyze(voice[16000:40000], 16000)]
    clips.append(stft.analyze(voice[1:16000:2], 8000))
    assert_fits_are_alike(clips, n_components=6, max_iter=40)


def test_one_clip_is_a_batch_and_so_are_none() -> None:
    assert_fits_are_alike([clip(12)], n_components=3, max_iter=25)
    assert fit_batch([]) == []


def test_a_clip_whose_divergence_rises_goes_back_as_it_does_alone() -> None:
    options: dict[str, Any] = {"n_components": 3, "beta_loss": "itakura-saito", "field": "matrix", "relaxation": 2.0}
    options["init"] = "random"
    clips = [clip(12, seed=seed) for seed in range(6)]
    models = fit_batch(clips, **options, max_iter=100)
    came_back = []
    for points, model in zip(clips, models, strict=True):
        alone = INMF(**options, tol=0, max_iter=100).fit(points)
        values, mine = ([value for _, value in each.divergence_curve_] for each in (alone, model))
        assert (np.diff(mine) <= 1e-6 * np.array(mine[1:])).all()
        # Where it rises is decided by the last digits once the curve is flat.
        np.testing.assert_allclose(mine, values, rtol=1e-2)
        came_back.append(len(set(mine)) < len(mine))
    assert any(came_back)
    assert not all(came_back)


class Overshooting(BetaDivergence):
    """Half the squared error with updates to a power that is too large: with a little momentum they raise it."""

    name = "overshooting"
    exponent = 1.9


@pytest.fixture
def overshooting() -> Iterator[str]:
    divergences.register("overshooting", Overshooting(2.0))
    yield "overshooting"
    divergences.unregister("overshooting")


@pytest.mark.parametrize("relaxation", [1.5, 1.9])
def test_a_registered_divergence_that_rises_again_and_again_is_met_as_it_is_alone(
    overshooting: str, relaxation: float
) -> None:
    clips = [clip(12, seed=seed) for seed in range(4)]
    options: dict[str, Any] = {"n_components": 3, "beta_loss": overshooting, "relaxation": relaxation, "max_iter": 60}
    values = [value for _, value in INMF(**options, tol=0).fit(clips[0]).divergence_curve_]
    assert any(len(set(values[at : at + 3])) == 1 for at in range(len(values) - 2))
    assert_fits_are_alike(clips, **options)


def test_each_clip_stops_when_it_has_settled() -> None:
    clips = [clip(12, seed=seed) for seed in range(4)]
    options: dict[str, Any] = {"n_components": 3, "tol": 3e-3, "max_iter": 300}
    models = fit_batch(clips, **options)
    assert len({model.n_iter_ for model in models}) > 1
    assert max(model.n_iter_ for model in models) < 300
    for points, model in zip(clips, models, strict=True):
        assert_alike(INMF(**options).fit(points), model, points)


def test_equal_batches_give_equal_bits() -> None:
    def bits(random_state: int) -> list[bytes]:
        models = fit_batch(ragged(), 3, max_iter=20, random_state=random_state)
        return [model.templates(np.arange(50) * 100.0).tobytes() for model in models]

    assert bits(1) == bits(1)
    assert bits(1) != bits(2)


@given(order=st.permutations(range(6)), batch_size=st.none() | st.integers(1, 6), field=st.sampled_from(FIELDS))
@settings(max_examples=10)
def test_company_and_order_change_nothing(order: list[int], batch_size: int | None, field: str) -> None:
    clips = ragged()
    alone = [fit_batch([points], 2, field=field, max_iter=12)[0] for points in clips]
    together = fit_batch([clips[number] for number in order], 2, field=field, max_iter=12, batch_size=batch_size)
    for number, model in zip(order, together, strict=True):
        assert_alike(alone[number], model, clips[number])


def test_padding_has_no_say() -> None:
    short = clip(6, 8, 1000.0, seed=1)
    loud = clip(40, 30, 8000.0, seed=2)
    loud = PointSet((replace(loud.blocks[0], magnitudes=loud.blocks[0].magnitudes * 1e6),))
    model, _ = fit_batch([short, loud], 3, max_iter=40, batch_size=2)
    assert_alike(INMF(3, tol=0, max_iter=40).fit(short), model, short)
    assert model.max_frequency_ == 1000


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("kind", ["plain", "missing"])
def test_lower_precision_costs_little_divergence(precision: str, kind: str, voice: NDArray[np.float32]) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice[:24000], 16000)
    if kind == "missing":
        values = points.blocks[0].magnitudes.copy()
        values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
        points = PointSet.from_grid(points.blocks[0].times, points.blocks[0].frequencies, values)
    exact, rough = (fit_batch([points], 8, max_iter=50, precision=each)[0] for each in ("float32", precision))
    assert rough.divergence(points) == pytest.approx(exact.divergence(points), rel=0.005)


def test_a_model_is_saved_read_and_used_like_any_other(tmp_path: Path) -> None:
    clips = [clip(12, seed=1), clip(20, seed=2)]
    model = fit_batch(clips, 3, max_iter=30)[0]
    model.save(tmp_path / "model.safetensors")
    loaded = INMF.load(tmp_path / "model.safetensors")
    alone = INMF(3, max_iter=30, tol=0).fit(clips[0])
    for each in (model, loaded):
        assert each.divergence(clips[0]) == pytest.approx(alone.divergence(clips[0]), rel=1e-4)
        other = each.divergence(clips[1], each.transform(clips[1]))
        assert other == pytest.approx(alone.divergence(clips[1], alone.transform(clips[1])), rel=1e-3)


@pytest.mark.parametrize("kind", ["scattered", "hybrid"])
def test_other_points_are_sent_to_the_single_fit(kind: str, make_points: Callable[..., PointSet]) -> None:
    with pytest.raises(ArgumentError, match=r"clip 1: a batch fits clips of one grid only.*fit\(points\)"):
        fit_batch([make_points("grid"), make_points(kind)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "network"}, r"piecewise-linear fields only.*fit\(points\)"),
        ({"precision": "float16"}, "no such precision"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"max_iter": None}, "max_iter must be a whole number"),
        ({"n_components": 0}, "n_components"),
        ({"relaxation": 3.0}, "relaxation is out of range"),
        ({"init": "best"}, "no such init"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        fit_batch([clip(5)], **options)


def test_clips_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(PointsError, match="no points"):
        fit_batch([clip(5), PointSet(())])
    with pytest.raises(PointsError, match="negative"):
        fit_batch([PointSet.from_grid([0.0, 1.0], [1.0, 2.0], -np.ones((2, 2)))])


def test_a_divergence_beyond_single_precision_names_the_clip() -> None:
    huge = clip(5, seed=1)
    values = huge.blocks[0].magnitudes.copy()
    values[0, 0] = 1e30
    huge = PointSet.from_grid(huge.blocks[0].times, huge.blocks[0].frequencies, values)
    with pytest.raises(ArgumentError, match="clip 1, iteration 0: the divergence is beyond single precision"):
        fit_batch([clip(5), huge], 2, beta_loss=-12.0, power=1.0, max_iter=20)
