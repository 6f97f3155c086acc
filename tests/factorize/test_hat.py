"""Hat nodes: placed on a warped axis, and nowhere that no point has a say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import Axis, HatField, MatrixField
from inmf_flow.factorize.hat import place_nodes
from inmf_flow.points import GridBlock


def build(coordinates: NDArray[np.float64], **options: object) -> HatField:
    axis = Axis("frequency", coordinates, 0.0, float(coordinates[-1]))
    return HatField.build(axis, 3, options, np.random.default_rng(0), "cpu")


@pytest.mark.parametrize("warp", ["log", "linear"])
def test_nodes_span_the_range_and_rise(warp: str) -> None:
    axis = Axis("frequency", np.linspace(10, 8000, 900), 10.0, 8000.0)
    nodes = place_nodes(axis, 256, warp)
    assert nodes[0] == 10
    assert nodes[-1] == pytest.approx(8000)
    steps = np.diff(nodes)
    assert (steps > 0).all()
    assert steps[-1] / steps[0] == pytest.approx(13 if warp == "log" else 1, rel=0.02)


@given(
    masses=st.lists(st.sampled_from([0.0, 1e-6, 0.3, 1.0, 1e4]), min_size=2, max_size=40),
    count=st.integers(2, 60),
    kind=st.sampled_from(["frequency", "time"]),
    seed=st.integers(0, 99),
)
def test_nodes_by_the_data_cover_the_range_and_leave_no_gap_twice_as_wide_as_others_would(
    masses: list[float], count: int, kind: str, seed: int
) -> None:
    coordinates = np.sort(np.random.default_rng(seed).uniform(0, 8000, len(masses)))
    axis = Axis(kind, coordinates, 0.0, float(coordinates[-1]), np.array(masses))
    nodes, even = place_nodes(axis, count, "data"), place_nodes(axis, count, "log" if kind == "frequency" else "linear")
    assert nodes[0] == 0
    assert nodes[-1] == coordinates[-1]
    assert (np.diff(nodes) > 0).all()
    # Half of the nodes are spread evenly: on the warped axis no step is over two of the even ones.
    assert np.diff(np.interp(nodes, even, np.arange(count))).max() <= 2 + 1e-6


@pytest.mark.parametrize("kind", ["frequency", "time"])
def test_nodes_by_the_data_are_where_the_energy_is(kind: str) -> None:
    coordinates = np.linspace(0, 1000, 501)
    mass = np.where((coordinates > 600) & (coordinates < 700), 1.0, 0.0)
    nodes = place_nodes(Axis(kind, coordinates, 0.0, 1000.0, mass), 101, "data")
    inside = int(((nodes > 600) & (nodes < 700)).sum())
    even = place_nodes(Axis(kind, coordinates, 0.0, 1000.0), 101, "log" if kind == "frequency" else "linear")
    expected = 0.5 * 100 + 0.5 * int(((even > 600) & (even < 700)).sum())
    assert inside == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(("kind", "fallback"), [("frequency", "log"), ("time", "linear")])
def test_nodes_by_the_data_are_even_where_there_is_no_energy(kind: str, fallback: str) -> None:
    coordinates = np.linspace(0, 100, 11)
    for mass in (None, np.zeros(11)):
        axis = Axis(kind, coordinates, 0.0, 100.0, mass)
        assert np.allclose(place_nodes(axis, 7, "data"), place_nodes(axis, 7, fallback))
    single = Axis(kind, np.array([5.0]), 0.0, 5.0, np.ones(1))
    assert place_nodes(single, 3, "data")[-1] == 5


def test_nodes_by_the_data_fit_speech_and_silence(voice: NDArray[np.float32]) -> None:
    stft = get_transform("stft", n_fft=1000)
    points = stft.analyze(voice, 16000)
    block = points.blocks[0]
    loud = np.sqrt(block.magnitudes).mean(1) > np.median(np.sqrt(block.magnitudes).mean(1))
    share = {}
    for warp in ("data", "linear"):
        model = INMF(4, field={"hat": {"nodes": 60, "warp": warp}}, max_iter=20, tol=0).fit(points)
        nodes = model._fitted()[0].state()["nodes"]
        assert np.isin(nodes, block.frequencies).all()
        assert (nodes[0], nodes[-1]) == (0, 8000)
        share[warp] = float(np.isin(nodes, block.frequencies[loud]).mean())
    assert share["data"] > share["linear"] + 0.1
    silent = INMF(2, field="hat:nodes=60,warp=data", max_iter=5).fit(stft.analyze(np.zeros(8000, np.float32), 16000))
    assert np.isfinite(silent.templates(block.frequencies)).all()


@pytest.mark.parametrize("n_fft", [64, 500, 2000, 8000])
def test_every_node_is_at_a_coordinate_of_the_data(n_fft: int) -> None:
    hertz = np.arange(n_fft // 2 + 1) * 16000 / n_fft
    field = build(hertz)
    assert np.isin(field.nodes, hertz).all()
    assert field.nodes[0] == 0
    assert field.nodes[-1] == 8000
    assert len(field.nodes) <= min(256, len(hertz))
    if n_fft == 8000:
        assert len(field.nodes) == 256


def test_function_is_a_straight_line_between_nodes_and_level_outside() -> None:
    field = build(np.array([100.0, 300.0, 400.0]), nodes=50)
    at_nodes = field.evaluate(field.nodes)
    assert np.allclose(field.evaluate(np.array([200.0])), at_nodes[:2].mean(0))
    assert np.allclose(field.evaluate(np.array([-5.0, 0.0, 99.0])), at_nodes[0])
    assert np.allclose(field.evaluate(np.array([401.0, 1e6])), at_nodes[-1])


def test_templates_of_a_short_window_are_smooth_at_the_bins_of_a_long_one(voice: NDArray[np.float32]) -> None:
    model = INMF(5, max_iter=100).fit(get_transform("stft", n_fft=500).analyze(voice, 16000))
    coarse, fine = np.arange(251) * 32.0, np.arange(4001) * 2.0
    at_bins, between = model.templates(coarse), model.templates(fine)
    right = np.searchsorted(coarse, fine)
    lower = np.minimum(at_bins[np.maximum(right - 1, 0)], at_bins[right])
    upper = np.maximum(at_bins[np.maximum(right - 1, 0)], at_bins[right])
    assert (between >= lower - 1e-5).all()
    assert (between <= upper + 1e-5).all()


@pytest.mark.parametrize("field", ["hat", "matrix"])
def test_coordinates_without_points_take_no_part(field: str) -> None:
    random = np.random.default_rng(0)
    times, hertz = np.arange(20) / 20, np.arange(41) * 100.0
    values = random.gamma(0.5, 1.0, (41, 20))
    values[10] = np.nan
    values[:, 7] = np.nan
    points = PointSet((GridBlock.build(times, hertz, values),)).below(3000)
    model = INMF(3, field=field, tol=0, max_iter=50).fit(points)
    assert model.max_frequency_ == 3000
    templates = model.templates(hertz)
    assert np.allclose(templates[31:], templates[30])
    assert np.allclose(templates[10], templates[[9, 11]].mean(0), atol=1e-6)
    assert np.allclose(templates[:31].max(0), 1)
    activations = model.activations(times)
    assert np.allclose(activations[:, 7], activations[:, [6, 8]].mean(1), rtol=1e-5)


@pytest.mark.parametrize("options", [{"nodes": 0}, {"nodes": True}, {"nodes": 2.5}, {"warp": "mel"}, {"knots": 3}])
def test_bad_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=r"nodes|warp|knots"):
        build(np.arange(5.0), **options)


def test_a_recording_of_a_day_gets_default_nodes() -> None:
    axis = Axis("time", np.linspace(0, 86400, (1 << 20) + 9), 0.0, 86400.0)
    field = HatField.build(axis, 1, {}, np.random.default_rng(0), "cpu")
    assert len(field.nodes) > 1 << 20


def test_matrix_has_a_node_at_each_coordinate() -> None:
    coordinates = np.array([0.0, 1.0, 5.0, 5.5])
    field = MatrixField.build(Axis("time", coordinates, 0.0, 6.0), 2, {}, np.random.default_rng(0), "cpu")
    assert np.array_equal(field.nodes, coordinates)
    assert np.array_equal(field.evaluate(coordinates), field.coefficients.numpy())
