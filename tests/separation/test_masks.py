"""Gains: between 0 and 1, summing to 1, and the published rule where it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.separation import Mask, parse_mask, source_gains

_MODELS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6)),
    elements=st.one_of(st.just(0.0), st.floats(0, np.float32(1e30).item(), width=32)),
)
_POWERS = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), st.floats(0.1, 3))


@given(models=_MODELS, power=_POWERS, wiener=st.floats(0.1, 10))
def test_gains_lie_between_0_and_1_and_sum_to_1(models: NDArray[np.float32], power: float, wiener: float) -> None:
    gains = np.stack(source_gains(list(models), power, Mask(wiener)))
    assert gains.dtype == np.float32
    assert gains.shape == models.shape
    assert (gains >= 0).all()
    assert (gains <= 1).all()
    assert np.allclose(gains.sum(0, dtype=np.float64), 1, atol=1e-6)


@given(models=_MODELS, power=_POWERS)
def test_papers_gains_are_shares_to_the_inverse_power(models: NDArray[np.float32], power: float) -> None:
    gains = np.stack(source_gains(list(models), power, Mask(paper=True)))
    exact = models.astype(float)
    total = exact.sum(0)
    shares = np.where(total > 0, exact / np.where(total > 0, total, 1), 1 / len(models))
    assert np.allclose(gains, shares ** (1 / power), rtol=1e-4, atol=1e-6)
    assert (gains <= 1).all()


@pytest.mark.parametrize(("power", "wiener", "exponent"), [(0.5, 1, 2), (0.5, 2, 4), (1, 1, 1), (1, 2, 2), (2, 1, 0.5)])
def test_default_gains_are_shares_of_model_magnitudes(power: float, wiener: float, exponent: float) -> None:
    models = np.random.default_rng(0).gamma(1, 1, (3, 5, 4)).astype(np.float32)
    gains = np.stack(source_gains(list(models), power, Mask(wiener)))
    raised = models.astype(float) ** exponent
    assert np.allclose(gains, raised / raised.sum(0), rtol=1e-5)


@given(models=_MODELS, seed=st.integers(0, 99))
def test_order_of_sources_changes_nothing(models: NDArray[np.float32], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(models))
    gains = np.stack(source_gains(list(models), 0.5, Mask()))
    assert np.allclose(np.stack(source_gains(list(models[order]), 0.5, Mask())), gains[order], atol=1e-6)


@pytest.mark.parametrize(("mask", "equal"), [(Mask(), 1 / 3), (Mask(paper=True), 1 / 9), (Mask(3.0), 1 / 3)])
def test_sources_share_alike_where_all_models_are_silent(mask: Mask, equal: float) -> None:
    models = [np.zeros((2, 2), np.float32)] * 3
    assert np.allclose(np.stack(source_gains(models, 0.5, mask)), equal)


@given(models=_MODELS, power=_POWERS)
def test_a_binary_mask_gives_each_point_to_one_source(models: NDArray[np.float32], power: float) -> None:
    gains = np.stack(source_gains(list(models), power, Mask(binary=True)))
    sounding = models.max(0) > 0
    assert np.allclose(gains.sum(0), 1, atol=1e-6)
    assert set(np.unique(gains[:, sounding])) <= {0.0, 1.0}
    winner = gains.argmax(0)
    assert (np.take_along_axis(models, winner[None], 0)[0] == models.max(0))[sounding].all()


@pytest.mark.parametrize(
    ("beta_loss", "exponent"),
    [("itakura-saito", 2), ("kullback-leibler", 1), ("frobenius", 1), (0.5, 1.5), (-1, 2), (3, 1)],
)
def test_the_mask_of_a_divergence_has_the_exponent_of_its_statistics(beta_loss: str | float, exponent: float) -> None:
    assert Mask(divergence=True).resolved(beta_loss) == Mask(wiener=exponent)
    assert Mask(wiener=3).resolved(beta_loss) == Mask(wiener=3)


def test_masks_are_read_as_yaml_gives_them() -> None:
    assert parse_mask(None) == parse_mask("default") == Mask(wiener=1, paper=False)
    assert parse_mask("paper") == Mask(paper=True)
    assert parse_mask({"wiener": 2}) == Mask(wiener=2)
    assert parse_mask("binary") == Mask(binary=True)
    assert parse_mask("divergence") == Mask(divergence=True)
    assert parse_mask(Mask(3)) == Mask(3)


@pytest.mark.parametrize(
    "mask", ["soft", 2, {"wiener": 0}, {"wiener": True}, {"wiener": "2"}, {"wiener": float("nan")}, {}, {"ideal": 1}]
)
def test_other_masks_are_refused(mask: Any) -> None:
    with pytest.raises(ArgumentError, match="no such mask"):
        parse_mask(mask)
