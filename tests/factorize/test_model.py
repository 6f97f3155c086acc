"""The estimator: its figures, frozen templates, seeds, and points of every kind and state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.audio import read_audio
from inmf_flow.errors import ArgumentError, NotFittedError, PointsError, UnknownNameError
from inmf_flow.points import GridBlock

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")
FIELDS = ("hat", "matrix", "network:hidden=8")


def everything(model: INMF) -> bytes:
    """Return all that a model has learned, bit by bit."""
    fields = model._fitted()
    return b"".join(array.tobytes() for field in fields for array in field.state().values())


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_the_papers_mean_over_points(kind: str, field: str, make_points: Callable[..., PointSet]) -> None:
    points = make_points(kind)
    model = INMF(2, field=field, max_iter=5).fit(points)
    terms = []
    for block in points.blocks:
        w, h = model.templates(block.frequencies).astype(float), model.activations(block.times).astype(float)
        product = w @ h if isinstance(block, GridBlock) else (w * h.T).sum(1)
        v, weights = np.broadcast_arrays(block.magnitudes.astype(float) ** 0.5, block.weights)
        product = np.broadcast_to(product, v.shape)
        here = np.isfinite(v) & (weights > 0)
        m, m_hat = v[here], product[here]
        terms.append(m * np.log((m + 1e-8) / (m_hat + 1e-8)) - m + m_hat)
        for mine in model.predict(PointSet((block,))):
            assert np.allclose(np.broadcast_to(mine, v.shape), product, rtol=1e-4)
    assert model.divergence(points) == pytest.approx(np.concatenate(terms).mean(), rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0, "itakura-saito", "frobenius"])
def test_divergence_follows_beta(beta: float | str, make_points: Callable[..., PointSet], oracle: Any) -> None:
    points = make_points("grid")
    model = INMF(3, beta_loss=beta, max_iter=20, weights="uniform").fit(points)
    truth = oracle(points, uniform=True)
    w = torch.from_numpy(model.templates(truth.frequencies))
    h = torch.from_numpy(model.activations(truth.times).T / truth.scale)
    number = {"itakura-saito": 0.0, "frobenius": 2.0}.get(str(beta), beta)
    mean = float(truth.loss(w, h, number)) / truth.weight
    # The oracle's data are scaled to mean 1, and a beta-divergence scales with the power beta.
    assert model.divergence(points) == pytest.approx(mean * truth.scale ** float(number), rel=1e-4)
    assert model.divergence_curve_[-1] == (model.n_iter_, pytest.approx(mean, rel=1e-3))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_points_is_explained_better_than_at_the_start(
    kind: str, field: str, make_points: Callable[..., PointSet]
) -> None:
    points = make_points(kind)
    model = INMF(3, field=field, tol=0, max_iter=60).fit(points)
    values = [value for _, value in model.divergence_curve_]
    # Networks start from a fit.
    assert values[-1] < (1.0 if field.startswith("network") else 0.8) * values[0]
    seconds, hertz = np.linspace(-1, 3, 50), np.linspace(0, 20000, 70)
    for array, shape in ((model.templates(hertz), (70, 3)), (model.activations(seconds), (3, 50))):
        assert array.shape == shape
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        assert (array >= 0).all()
    seen = np.unique(np.concatenate([block.frequencies for block in points.blocks]))
    assert np.allclose(model.templates(seen).max(0), 1, atol=1e-5)
    assert model.max_frequency_ == points.max_frequency
    assert model.duration_ == 1


@pytest.mark.parametrize("field", FIELDS)
def test_equal_seeds_give_equal_bits(field: str, make_points: Callable[..., PointSet]) -> None:
    points = make_points("hybrid")

    def fit(seed: int) -> INMF:
        return INMF(2, field=field, max_iter=10, random_state=seed).fit(points)

    assert everything(fit(4)) == everything(fit(4))
    assert everything(fit(4)) != everything(fit(5))


@pytest.mark.parametrize("field", FIELDS)
def test_templates_are_frozen_while_activations_are_fitted(field: str, make_points: Callable[..., PointSet]) -> None:
    model = INMF(2, field=field, max_iter=10, weights="uniform").fit(make_points("grid"))
    before = everything(model)
    other = make_points("grid", seed=9)
    one, many = model.transform(other, max_iter=1), model.transform(other, max_iter=100)
    assert everything(model) == before
    # Those above what the model has seen have no say.
    seen = other.below(model.max_frequency_)
    assert seen.max_frequency < other.max_frequency
    assert model.divergence(seen, many) < model.divergence(seen, one)
    block = other.blocks[0]
    assert many(block.times).shape == (2, len(block.times))
    assert np.isfinite(many(np.linspace(-1, 5, 30))).all()


@pytest.mark.parametrize("kind", ["scattered", "hybrid"])
def test_activations_of_scattered_and_joined_points_are_fitted(kind: str, make_points: Callable[..., PointSet]) -> None:
    model = INMF(3, max_iter=100, weights="uniform").fit(make_points(kind))
    points = make_points(kind, seed=3)
    rough, good = model.transform(points, max_iter=1), model.transform(points, max_iter=200)
    assert model.divergence(points, good) < model.divergence(points, rough)


def test_frames_of_one_grid_do_not_depend_on_each_other(voice: NDArray[np.float32]) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice, 16000)
    model = INMF(5, max_iter=20).fit(points)
    block = points.blocks[0]
    whole = model.transform(points)
    for part in (slice(0, 1), slice(17, 40), slice(100, None)):
        cut = PointSet.from_grid(block.times[part], block.frequencies, block.magnitudes[:, part], nyquist=8000)
        alone = model.transform(cut)(block.times[part])
        expected = whole(block.times[part])
        assert np.allclose(alone, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_activations_follow_the_gain_of_the_audio(voice: NDArray[np.float32]) -> None:
    stft = get_transform("stft", n_fft=512)
    model = INMF(4, power=2.0, max_iter=20).fit(stft.analyze(voice, 16000))
    plain = model.transform(stft.analyze(voice, 16000)).values
    for gain in (1e-4, 300.0):
        scaled = model.transform(stft.analyze(voice * np.float32(gain), 16000)).values / gain**2
        assert np.abs(scaled - plain).max() < 1e-4 * plain.max()


def test_last_frame_is_fitted_even_where_its_cell_lies_after_the_end(voice: NDArray[np.float32]) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice[:16000], 16000)
    block = points.blocks[0]
    assert block.time_weights[-1] == 0
    model = INMF(4, max_iter=50).fit(points)
    last = model.transform(points, max_iter=200)(block.times)[:, -1]
    assert last.max() > 1.1 * last.min()
    frame = np.sqrt(block.magnitudes[:, -1])
    weights = block.frequency_weights
    assert weights @ (model.templates(block.frequencies) @ last) == pytest.approx(weights @ frame, rel=1e-3)


@pytest.mark.parametrize("n_fft", [500, 1000, 4000])
def test_templates_serve_other_windows(n_fft: int, voice: NDArray[np.float32]) -> None:
    model = INMF(10, max_iter=150).fit(get_transform("stft", n_fft=2000).analyze(voice, 16000))
    points = get_transform("stft", n_fft=n_fft).analyze(voice, 16000)
    flat = INMF(1, field="hat:nodes=1", max_iter=50).fit(points)
    frozen = model.divergence(points, model.transform(points))
    own = INMF(10, max_iter=150).fit(points).divergence(points)
    assert own < frozen < 0.5 * flat.divergence(points)
    assert frozen < 1.6 * own


def test_templates_serve_other_sample_rates_and_unseen_bands_have_no_say(voice: NDArray[np.float32]) -> None:
    from inmf_flow.audio import resample

    low = resample(voice, 16000, 8000)
    model = INMF(8, max_iter=100).fit(get_transform("stft", n_fft=1000).analyze(low, 8000))
    assert model.max_frequency_ == 4000
    points = get_transform("stft", n_fft=2000).analyze(voice, 16000)
    block = points.blocks[0]
    activations = model.transform(points)
    noisy = block.magnitudes.copy()
    noisy[block.frequencies > 4000] = 1
    other = model.transform(PointSet.from_grid(block.times, block.frequencies, noisy, duration=3, nyquist=8000))
    assert np.array_equal(other(block.times), activations(block.times))
    seen = points.below(4000)
    single = INMF(1, max_iter=100).fit(seen)
    assert model.divergence(seen, activations) < 0.7 * single.divergence(seen)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("samples", [1, 2, 100, 800])
def test_short_clips_and_silence_are_processed(samples: int, field: str, voice: NDArray[np.float32]) -> None:
    for audio in (voice[5000 : 5000 + samples], np.zeros(samples, np.float32)):
        points = get_transform("stft", n_fft=2000).analyze(audio, 16000)
        model = INMF(4, field=field, max_iter=20).fit(points)
        activations = model.transform(points)(points.blocks[0].times)
        for array in (model.templates([0, 50, 9000]), model.activations([0, 1]), activations):
            assert np.isfinite(array).all()
        if not audio.any():
            assert (model.templates(points.blocks[0].frequencies) @ activations).max() < 1e-4
        assert np.isfinite(model.divergence(points))


@pytest.mark.parametrize("field", FIELDS)
def test_missing_and_weightless_points_alone_leave_a_finite_model(field: str) -> None:
    times, hertz = np.arange(4) / 10, np.arange(5) * 100.0
    missing = PointSet.from_grid(times, hertz, np.full((5, 4), np.nan))
    scattered = PointSet.from_points(times, hertz[:4], np.ones(4), weights=np.zeros(4))
    for points in (missing, scattered, missing + scattered):
        model = INMF(2, field=field, max_iter=5).fit(points)
        assert np.isfinite(model.templates(hertz)).all()
        assert np.isfinite(model.activations(times)).all()
        assert np.isfinite(model.transform(points)(times)).all()
        with pytest.raises(PointsError, match="no points to score"):
            model.divergence(points)


@pytest.mark.parametrize("field", ["hat", "network:hidden=8"])
def test_values_of_weightless_and_missing_points_change_nothing(field: str) -> None:
    random = np.random.default_rng(1)
    times, hertz = random.uniform(0, 1, 80), random.uniform(0, 4000, 80)
    values, weights = random.gamma(0.5, 1, 80), random.random(80)
    weights[::5] = 0
    loud, holes = values.copy(), values.copy()
    loud[::5], holes[::5] = 1e6, np.nan
    fitted = [
        everything(INMF(2, field=field, max_iter=10).fit(PointSet.from_points(times, hertz, v, weights)))
        for v in (values, loud, holes)
    ]
    assert fitted[0] == fitted[1] == fitted[2]


def test_order_of_scattered_points_hardly_matters() -> None:
    random = np.random.default_rng(1)
    times, hertz, values = random.uniform(0, 1, 200), random.uniform(0, 4000, 200), random.gamma(0.5, 1, 200)
    order = random.permutation(200)
    one = INMF(3, max_iter=20).fit(PointSet.from_points(times, hertz, values))
    two = INMF(3, max_iter=20).fit(PointSet.from_points(times[order], hertz[order], values[order]))
    assert np.allclose(one.templates(hertz), two.templates(hertz), atol=1e-3)


@pytest.mark.parametrize("field", ["hat", "network"])
def test_joined_windows_on_one_clock_share_one_model(field: str, voice: NDArray[np.float32]) -> None:
    clip = voice[8000:16000]
    parts = [get_transform("stft", n_fft=n).analyze(clip, 16000) for n in (256, 2048)]
    joined = parts[0] + parts[1]
    model = INMF(4, field=field, max_iter=80, tol=0).fit(joined)
    assert model.divergence(joined) < 0.7 * INMF(1, field="hat:nodes=1", max_iter=80).fit(joined).divergence(joined)
    for part in parts:
        assert model.predict(part)[0].shape == part.blocks[0].magnitudes.shape
        frozen = model.transform(part)
        assert np.isfinite(model.divergence(part, frozen))


def test_area_weights_keep_a_dense_transform_from_drowning_a_coarse_one() -> None:
    coarse = PointSet.from_grid(np.arange(10) / 10, np.arange(11) * 400.0, np.full((11, 10), 4.0))
    dense = PointSet.from_grid(np.arange(100) / 100, np.arange(101) * 40.0, np.full((101, 100), 1.0))
    joined = coarse + dense
    constant = {"field": "hat:nodes=1", "time_field": "hat:nodes=1"}
    level = {
        weights: float(INMF(1, weights=weights, **constant).fit(joined).predict(coarse)[0].mean())
        for weights in ("area", "uniform")
    }
    # The best constant is the weighted mean of 2 and 1.
    assert level["area"] == pytest.approx(1.5, abs=0.05)
    assert level["uniform"] == pytest.approx(1 + 110 / (110 + 10100), abs=0.01)


def test_several_channels_are_explained_by_their_mean() -> None:
    random = np.random.default_rng(0)
    times, hertz, values = np.arange(9) / 9, np.arange(12) * 100.0, random.gamma(0.5, 1, (2, 12, 9))
    both = INMF(2, max_iter=30, power=1).fit(PointSet.from_grid(times, hertz, values))
    mean = INMF(2, max_iter=30, power=1).fit(PointSet.from_grid(times, hertz, values.mean(0)))
    assert np.allclose(both.templates(hertz), mean.templates(hertz), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"n_components": 0}, ArgumentError),
        ({"n_components": 2.5}, ArgumentError),
        ({"max_iter": 0}, ArgumentError),
        ({"power": 0.0}, ArgumentError),
        ({"power": float("nan")}, ArgumentError),
        ({"tol": -1.0}, ArgumentError),
        ({"optimizer": "adam"}, ArgumentError),
        ({"weights": "equal"}, ArgumentError),
        ({"beta_loss": float("inf")}, ArgumentError),
        ({"beta_loss": "kulback-leibler"}, UnknownNameError),
        ({"field": "hats"}, UnknownNameError),
        ({"time_field": "hats"}, UnknownNameError),
        ({"random_state": -1}, ArgumentError),
        ({"n_init": 0}, ArgumentError),
        ({"n_init": 1.5}, ArgumentError),
        ({"relaxation": 0.9}, ArgumentError),
        ({"relaxation": 2.1}, ArgumentError),
        ({"relaxation": float("nan")}, ArgumentError),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        INMF(**options)


def test_wrong_points_and_wrong_order_are_clear_errors(make_points: Callable[..., PointSet]) -> None:
    with pytest.raises(NotFittedError):
        INMF().templates([1.0])
    with pytest.raises(NotFittedError):
        INMF().transform(make_points("grid"))
    with pytest.raises(PointsError, match="no points"):
        INMF().fit(PointSet(()))
    with pytest.raises(PointsError, match="negative"):
        INMF().fit(PointSet.from_points([0.0], [1.0], [-1.0]))
    with pytest.raises(ArgumentError, match="linear fields"):
        INMF(field="network", optimizer="mu").fit(make_points("grid"))
    with pytest.raises(ArgumentError, match="max_iter"):
        INMF(1, max_iter=2).fit(make_points("grid")).transform(make_points("grid"), max_iter=0)


def test_a_recording_cut_into_files_is_fitted_as_well_as_whole(speech: dict[str, Path]) -> None:
    audio = read_audio(speech["male_train"])[0][0]
    stft = get_transform("stft")
    whole = stft.analyze(audio, 16000)
    pieces = PointSet.end_to_end([stft.analyze(piece, 16000) for piece in np.array_split(audio, 10)])
    models = {len(p.blocks): INMF(10, max_iter=100, tol=0).fit(p) for p in (whole, pieces)}
    assert len(models[10].activations([0.0])) == 10
    assert models[10].divergence(pieces) < 1.05 * models[1].divergence(whole)


def test_mono_and_stereo_recordings_train_one_dictionary(speech: dict[str, Path]) -> None:
    audio = read_audio(speech["male_train"])[0][0, :32000]
    stft = get_transform("stft", n_fft=512)
    parts = [stft.analyze(audio, 16000), stft.analyze(np.stack([audio, 0.5 * audio]), 16000)]
    model = INMF(4, max_iter=50).fit(PointSet.end_to_end(parts))
    assert model.divergence_curve_[-1][1] < 0.5 * model.divergence_curve_[0][1]


def test_what_a_model_returns_is_the_callers_own() -> None:
    points = PointSet.from_grid(np.arange(6) / 10, np.arange(5) * 100.0, np.random.default_rng(0).random((5, 6)) + 0.1)
    model = INMF(1, field="matrix", max_iter=5).fit(points)
    f, t = points.blocks[0].frequencies, points.blocks[0].times
    before = model.predict(points)[0]
    for table in (model.templates(f), model.activations(t)):
        table *= 7
    np.testing.assert_array_equal(model.predict(points)[0], before)
    found = model.transform(points)
    kept = found(t).copy()
    found(t)[:] = 0
    np.testing.assert_array_equal(found(t), kept)


def test_a_fit_that_fails_leaves_the_model_as_it_was() -> None:
    random = np.random.default_rng(0)
    low = PointSet.from_grid(np.arange(6) / 10, np.arange(5) * 100.0, random.random((5, 6)) + 0.1)
    high = PointSet.from_grid(np.arange(9) / 10, np.arange(5) * 1000.0, random.random((5, 9)) + 0.1)
    model = INMF(2, max_iter=5).fit(low)
    with pytest.raises(ArgumentError):
        model.fit(high, fixed=True)
    assert (model.max_frequency_, model.duration_) == (400.0, low.end)


def test_magnitudes_beyond_single_precision_are_refused() -> None:
    points = PointSet.from_grid([0.0, 0.1], [0.0, 100.0], np.full((2, 2), 1e25))
    with pytest.raises(PointsError):
        INMF(1, power=2.0).fit(points)


def test_a_block_without_frequencies_joins_others() -> None:
    points = PointSet.from_grid([0.0, 0.1], [0.0, 100.0], np.ones((2, 2)))
    empty = PointSet.from_grid([0.0, 0.1], [], np.ones((0, 2)))
    assert np.isfinite(INMF(1, max_iter=3).fit(points + empty).templates([0.0, 100.0])).all()


@pytest.mark.parametrize(
    "settings",
    [{"power": "0.5"}, {"tol": None}, {"relaxation": "a"}, {"sparsity": "a"}, {"beta_loss": None}, {"power": True}],
)
def test_settings_of_another_type_are_refused_clearly(settings: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        INMF(2, **settings)


def test_beta_next_to_one_is_kullback_leibler() -> None:
    points = PointSet.from_grid(np.arange(6) / 10, np.arange(5) * 100.0, np.random.default_rng(0).random((5, 6)) + 0.1)
    near, exact = (INMF(2, beta_loss=beta, max_iter=20).fit(points) for beta in (1 + 1e-9, 1.0))
    assert near.divergence_curve_ == exact.divergence_curve_
