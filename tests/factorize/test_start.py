"""Where a fit starts: the data's moments, noise, harmonic series, and templates that are given, fixed or free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.start import harmonic_templates, parse_init
from inmf_flow.points import GridBlock

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")
INITS = ("moments", "random", "harmonic")


@pytest.fixture(scope="module")
def points(voice: NDArray[np.float32]) -> PointSet:
    return get_transform("stft", n_fft=512).analyze(voice[:24000], 16000)


@pytest.fixture(scope="module")
def learned(points: PointSet) -> INMF:
    return INMF(3, field="matrix", max_iter=40).fit(points)


def functions(model: INMF) -> bytes:
    return b"".join(array.tobytes() for field in model._fitted() for array in field.state().values())


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_start_leads_to_a_fit(init: str, kind: str, make_points: Callable[..., PointSet]) -> None:
    model = INMF(3, init=init, max_iter=60, tol=0).fit(make_points(kind))
    values = [value for _, value in model.divergence_curve_]
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("init", INITS)
def test_start_depends_on_the_seed_and_on_nothing_else(init: str, points: PointSet) -> None:
    def fit(state: int, **settings: Any) -> INMF:
        np.random.seed(state)
        torch.manual_seed(state)
        return INMF(3, init=init, max_iter=10, **settings).fit(points)

    assert functions(fit(1, random_state=4)) == functions(fit(2, random_state=4))
    assert functions(fit(1, random_state=4)) != functions(fit(1, random_state=5))
    starts = {
        fit(1, random_state=4, **settings).divergence_curve_[0][1]
        for settings in ({}, {"relaxation": 1.0}, {"tol": 0.5}, {"n_init": 1})
    }
    assert len(starts) == 1


def test_moments_are_nearer_to_speech_than_noise_is(points: PointSet) -> None:
    begins, ends = {}, {}
    for init in ("moments", "random"):
        models = [INMF(12, init=init, max_iter=10, tol=0, random_state=seed).fit(points) for seed in range(3)]
        begins[init] = np.mean([model.divergence_curve_[0][1] for model in models])
        ends[init] = np.mean([model.divergence_curve_[-1][1] for model in models])
    assert begins["moments"] < begins["random"]
    assert ends["moments"] < ends["random"]


def test_moments_do_not_see_missing_and_weightless_points() -> None:
    random = np.random.default_rng(0)
    times, hertz, values = np.arange(12) / 12, np.arange(15) * 100.0, random.gamma(0.5, 1.0, (15, 12)) + 0.01
    begins = set()
    for column in (0.0, 1e6, np.nan):
        changed = values.copy()
        changed[:, 5] = column
        changed[3, 4] = np.nan
        weights = np.ones(12)
        weights[5] = 0
        points = PointSet((GridBlock.build(times, hertz, changed, time_weights=weights),))
        begins.add(INMF(3, field="matrix", max_iter=1).fit(points).divergence_curve_[0][1])
    assert len(begins) == 1


def test_harmonic_templates_peak_at_multiples_of_their_fundamentals() -> None:
    hertz = np.arange(0, 8001, 5.0)
    templates = harmonic_templates(hertz, 4, low=200, high=1600, width=20, partials=4, power=1.0)
    assert templates.shape == (1601, 4)
    assert np.allclose(templates.astype(float).mean(0), 1, rtol=1e-5)
    for k, fundamental in enumerate([200, 400, 800, 1600]):
        inner = templates[1:-1, k]
        peaks = 1 + np.flatnonzero((inner > templates[:-2, k]) & (inner > templates[2:, k]))
        assert np.array_equal(hertz[peaks], fundamental * np.arange(1, 5))
        heights = templates[peaks, k] - templates[-1 if k < 3 else 0, k]
        assert np.allclose(heights / heights[0], 1 / np.arange(1, 5), rtol=0.02)


def test_harmonic_start_puts_components_in_the_order_of_their_pitch() -> None:
    random = np.random.default_rng(0)
    hertz, times = np.arange(0, 4001, 10.0), np.arange(60) / 30
    notes = harmonic_templates(hertz, 3, low=200, high=450, width=15, partials=8, power=1.0)
    # The second, the highest, the lowest, twenty frames each, in noise.
    played = np.repeat(np.eye(3)[:, [1, 2, 0]], 20, axis=1)
    points = PointSet.from_grid(times, hertz, notes @ played + 0.2 * random.random((401, 60)))
    model = INMF(3, init="harmonic:low=200,high=450", power=1, max_iter=100).fit(points)
    loudest = model.activations(times).reshape(3, 3, 20).mean(2).argmax(0)
    assert loudest.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("svd", "no such init"),
        ("moments:count=3", "no option 'count'"),
        ("harmonic:loud=3", "no option 'loud'"),
        ("harmonic:low=-3", "low must be"),
        ("harmonic:width=0", "width must be"),
        ({"harmonic": {"high": True}}, "high must be"),
        ({"harmonic": {"high": float("inf")}}, "high must be"),
        ({"harmonic": {"low": float("nan")}}, "low must be"),
        ({"harmonic": {"low": "loud"}}, "low must be"),
        ("harmonic:partials=0.5", "partials must be"),
        ("harmonic:low=500,high=400", "low is above high"),
    ],
)
def test_starts_that_do_not_exist_are_refused(init: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        INMF(2, init=init)


def test_options_of_a_start_replace_its_defaults() -> None:
    name, options = parse_init("harmonic:low=80")
    assert name == "harmonic"
    assert options["low"] == 80
    assert parse_init("harmonic")[1]["low"] != 80
    assert parse_init({"moments": None}) == ("moments", {})


def test_templates_are_given_as_model_function_or_array_alike(points: PointSet, learned: INMF) -> None:
    hertz = points.blocks[0].frequencies
    fitted = [
        INMF(5, field="matrix", max_iter=15).fit(points, templates=given)
        for given in (learned, learned.templates, learned.templates(hertz), learned.templates(hertz).tolist())
    ]
    assert len({functions(model) for model in fitted}) == 1
    plain = INMF(5, field="matrix", max_iter=15).fit(points)
    assert fitted[0].divergence_curve_[0][1] != plain.divergence_curve_[0][1]


def test_activations_are_given_as_model_function_or_array_alike(points: PointSet, learned: INMF) -> None:
    times = points.blocks[0].times
    fitted = [
        INMF(3, field="matrix", max_iter=15).fit(points, templates=learned, activations=given)
        for given in (learned, learned.activations, learned.activations(times))
    ]
    assert len({functions(model) for model in fitted}) == 1
    # All that was learned is given: the fit goes on where it ended.
    assert fitted[0].divergence_curve_[0][1] == pytest.approx(learned.divergence_curve_[-1][1], rel=1e-4)
    assert fitted[0].divergence_curve_[-1][1] <= learned.divergence_curve_[-1][1]


def test_activations_of_other_points_are_a_start_too(points: PointSet, learned: INMF) -> None:
    given = learned.transform(points, max_iter=50)
    model = INMF(3, field="matrix", max_iter=1).fit(points, templates=learned, activations=given)
    assert model.divergence_curve_[0][1] == pytest.approx(learned.divergence_curve_[-1][1], rel=0.05)


@pytest.mark.parametrize("fixed", [True, [True, True, True], np.array([True, False, True])])
def test_fixed_templates_stay_exactly_and_the_rest_learns(fixed: Any, points: PointSet, learned: INMF) -> None:
    hertz = points.blocks[0].frequencies
    given = learned.templates(hertz)
    flags = np.broadcast_to(fixed, 3)
    alone = INMF(3, field="matrix", max_iter=60, tol=0).fit(points, templates=learned, fixed=True)
    model = INMF(6, field="matrix", max_iter=60, tol=0).fit(points, templates=learned, fixed=fixed)
    after = model.templates(hertz)
    for k in range(3):
        # Zeros are kept a little above zero.
        same = np.array_equal(after[:, k], np.maximum(given[:, k], 1e-12))
        assert same == flags[k]
    assert model.divergence(points) < 0.9 * alone.divergence(points)
    values = [value for _, value in model.divergence_curve_]
    assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relaxation", [1.0, 2.0])
def test_fixed_hats_stay_at_their_nodes(relaxation: float, kind: str, make_points: Callable[..., PointSet]) -> None:
    def given(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 + np.stack([np.sin(hertz / 500) ** 2, hertz / 4000], axis=1)

    field = {"hat": {"nodes": 6}}
    model = INMF(3, field=field, relaxation=relaxation, max_iter=40, tol=0)
    model.fit(make_points(kind), templates=given, fixed=True)
    nodes = model._fitted()[0].state()["nodes"]
    assert 2 <= len(nodes) <= 6
    assert np.array_equal(model.templates(nodes)[:, :2], given(nodes).astype(np.float32))
    assert model.divergence_curve_[-1][1] < model.divergence_curve_[0][1]


def test_given_templates_that_are_free_change(points: PointSet, learned: INMF) -> None:
    hertz = points.blocks[0].frequencies
    model = INMF(3, field="matrix", max_iter=30, tol=0).fit(points, templates=learned)
    assert not np.allclose(model.templates(hertz), learned.templates(hertz), atol=1e-3)
    assert np.allclose(model.templates(hertz).max(0), 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"templates": np.ones((257, 4))}, "too many templates"),
        ({"templates": np.ones((256, 2))}, "templates have the wrong shape"),
        ({"templates": np.ones(257)}, "templates have the wrong shape"),
        ({"templates": lambda hertz: np.ones((2, len(hertz)))}, "templates have the wrong shape"),
        ({"templates": -np.ones((257, 2))}, "negative or not finite"),
        ({"templates": np.full((257, 2), np.nan)}, "negative or not finite"),
        ({"activations": np.ones((2, 17))}, "activations have the wrong shape"),
        ({"activations": lambda times: np.ones((4, len(times)))}, "too many activations"),
        ({"fixed": True}, "no templates to fix"),
        ({"templates": np.ones((257, 2)), "fixed": [True]}, "fixed does not fit"),
        ({"templates": np.ones((257, 2)), "fixed": [True, False, True]}, "fixed does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str, points: PointSet) -> None:
    with pytest.raises(ArgumentError, match=message):
        INMF(3, field="matrix", max_iter=2).fit(points, **given)


def test_networks_and_rprop_do_not_take_what_they_cannot_keep(points: PointSet) -> None:
    with pytest.raises(ArgumentError, match="linear fields"):
        INMF(2, field="network:hidden=4", optimizer="rprop", max_iter=1).fit(points, templates=np.ones((257, 2)))
    with pytest.raises(ArgumentError, match="multiplicative updates"):
        INMF(2, optimizer="rprop", max_iter=1).fit(points, templates=np.ones((257, 2)), fixed=True)


def test_rprop_starts_from_given_templates_too(points: PointSet, learned: INMF) -> None:
    hertz = points.blocks[0].frequencies
    settings = {"field": "matrix", "optimizer": "rprop", "max_iter": 1, "tol": 0}
    model = INMF(3, **settings).fit(points, templates=learned, activations=learned)
    assert np.abs(model.templates(hertz) - learned.templates(hertz)).max() < 0.02
    assert model.divergence_curve_[0][1] == pytest.approx(learned.divergence_curve_[-1][1], rel=1e-2)
