import fast_bss_eval
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pystoi import stoi as pystoi_stoi

from inmf_flow import registry
from inmf_flow.audio import read_audio, resample
from inmf_flow.errors import ArgumentError, PluginError, UnknownNameError
from inmf_flow.evaluate import LIMIT_DB, Metric, get_metrics, si_sdr

NAMES = ["si_sdr", "sdr", "sir", "sar", "stoi"]
DECIBELS = NAMES[:4]


def score(name: str, references, estimates, rate: int = 16000) -> np.ndarray:
    return get_metrics([name])[0](np.asarray(references, float), np.asarray(estimates, float), rate)


@pytest.fixture(scope="module")
def voices(speech) -> np.ndarray:
    return np.stack([read_audio(speech[name])[0][0] for name in ("male_test", "female_test")]).astype(float)


@pytest.fixture(scope="module")
def leaky(voices) -> np.ndarray:
    """Estimates that leak, hiss and are a little distorted."""
    hiss = 0.01 * np.random.default_rng(0).standard_normal(voices.shape)
    return 0.7 * voices + 0.2 * voices[::-1] + hiss


def test_built_in_metrics_are_registered():
    assert [metric.name for metric in get_metrics(NAMES)] == NAMES
    assert all(name in registry.metrics for name in NAMES)
    assert [metric.unit for metric in get_metrics(NAMES)] == ["dB"] * 4 + [""]


def test_an_unknown_metric_gives_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"no metric named 'si-sdr' is installed.*Did you mean 'si_sdr'"):
        get_metrics(["sdr", "si-sdr"])


def test_one_name_and_repeated_names_are_understood():
    assert [metric.name for metric in get_metrics("sdr")] == ["sdr"]
    assert [metric.name for metric in get_metrics(["sdr", "sdr"])] == ["sdr"]
    with pytest.raises(ArgumentError, match="no metric"):
        get_metrics([])


@given(seed=st.integers(0, 2**31), length=st.integers(2, 400), noise=st.floats(1e-3, 1e3))
def test_si_sdr_is_what_fast_bss_eval_gives(seed, length, noise):
    rng = np.random.default_rng(seed)
    references = rng.standard_normal((3, length)) + 0.3  # not of zero mean
    estimates = references + noise * rng.standard_normal((3, length))
    expected = fast_bss_eval.si_sdr(
        torch.tensor(references), torch.tensor(estimates), zero_mean=False, return_perm=False
    )
    aligned = fast_bss_eval.si_sdr_loss(
        torch.tensor(estimates), torch.tensor(references), zero_mean=False, pairwise=False
    )
    got = si_sdr(references, estimates)
    # Near 100 dB the error's energy is a difference of nearly equal numbers, in either way of computing it.
    np.testing.assert_allclose(got, -aligned.numpy(), atol=1e-4)
    assert got.mean() <= expected.numpy().mean() + 1e-4  # that one may permute


@given(
    seed=st.integers(0, 2**31),
    scales=st.tuples(*[st.floats(1e-150, 1e150) | st.floats(-1e150, -1e-150)] * 2),
)
def test_si_sdr_does_not_depend_on_either_scale(seed, scales):
    rng = np.random.default_rng(seed)
    reference, estimate = rng.standard_normal((2, 100))
    np.testing.assert_allclose(
        si_sdr(scales[0] * reference, scales[1] * estimate), si_sdr(reference, estimate), atol=1e-6
    )


def test_si_sdr_by_hand():
    # the target is [3, 0] and what is left is [0, 4]
    assert si_sdr([1.0, 0.0], [3.0, 4.0]) == pytest.approx(20 * np.log10(3 / 4))
    assert si_sdr(np.ones((2, 3, 5)), np.ones((2, 3, 5))).shape == (2, 3)


def test_si_sdr_refuses_different_shapes():
    with pytest.raises(ArgumentError, match="different shapes"):
        si_sdr(np.ones((2, 5)), np.ones((1, 5)))


def test_sdr_sir_and_sar_are_what_fast_bss_eval_gives(voices, leaky):
    expected = fast_bss_eval.bss_eval_sources(torch.tensor(voices), torch.tensor(leaky), compute_permutation=False)
    for name, values in zip(["sdr", "sir", "sar"], expected, strict=True):
        np.testing.assert_allclose(score(name, voices, leaky), values.numpy(), atol=1e-9)
    assert (score("sir", voices, leaky) > score("sdr", voices, leaky)).all()


def test_estimates_are_not_permuted(voices):
    for name in ("si_sdr", "sdr", "sir"):
        assert (score(name, voices, voices[::-1]) < -10).all()


def test_equal_calls_give_equal_scores_after_others(voices, leaky):
    before = score("sdr", voices, leaky)
    score("sdr", voices[::-1], leaky)
    np.testing.assert_array_equal(score("sdr", voices, leaky), before)


@pytest.mark.parametrize("name", DECIBELS)
def test_a_perfect_estimate_scores_the_limit(name, voices):
    np.testing.assert_array_equal(score(name, voices, voices), [LIMIT_DB] * 2)
    np.testing.assert_array_equal(score(name, voices, 0.3 * voices), [LIMIT_DB] * 2)


@pytest.mark.parametrize("name", ["si_sdr", "sdr", "sar", "stoi"])
def test_an_item_of_one_source_is_scored(name, voices, leaky):
    assert np.isfinite(score(name, voices[:1], leaky[:1])).all()


def test_nothing_interferes_with_a_single_source(voices, leaky):
    assert np.isnan(score("sir", voices[:1], leaky[:1])).all()
    assert np.isnan(score("sir", [voices[0], 0 * voices[0]], leaky)).all()


@pytest.mark.parametrize("name", ["si_sdr", "sdr", "sar", "stoi"])
def test_a_silent_reference_is_undefined_and_spares_the_others(name, voices, leaky):
    scores = score(name, [voices[0], 0 * voices[1]], leaky)
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])
    assert np.isnan(score(name, 0 * voices, leaky)).all()


@pytest.mark.parametrize("name", DECIBELS)
def test_a_silent_estimate_is_undefined_in_decibels(name, voices, leaky):
    scores = score(name, voices, [leaky[0], 0 * leaky[1]])
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])


def test_a_silent_estimate_is_not_intelligible(voices):
    np.testing.assert_array_equal(score("stoi", voices, 0 * voices), [0.0, 0.0])


@pytest.mark.parametrize("name", ["sdr", "sir", "sar"])
def test_two_equal_references_do_not_break_the_solver(name, voices, leaky):
    assert not np.isnan(score(name, voices[[0, 0]], leaky)).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 2, 100, 512, 800, 3000])
def test_short_clips_give_a_number_or_nan_and_no_warning(name, length, voices, leaky):
    part = slice(20_000, 20_000 + length)
    assert score(name, voices[:, part], leaky[:, part]).shape == (2,)


def test_too_short_for_a_distortion_filter_is_undefined(voices, leaky):
    assert np.isnan(score("sdr", voices[:, :512], leaky[:, :512])).all()


def test_stoi_is_what_pystoi_gives_at_other_rates_too(voices, leaky):
    scores = score("stoi", voices, leaky)
    assert scores[0] == pystoi_stoi(voices[0], leaky[0], 16000)
    assert (scores > 0.7).all()
    up = score("stoi", resample(voices, 16000, 44100), resample(leaky, 16000, 44100), 44100)
    np.testing.assert_allclose(up, scores, atol=0.01)


@pytest.mark.parametrize("sounding", [0.2, 0.3])
def test_stoi_of_less_speech_than_it_needs_is_undefined(sounding, voices, leaky):
    silence_after = (np.arange(voices.shape[1]) < 20_000 + sounding * 16000) & (np.arange(voices.shape[1]) >= 20_000)
    assert np.isnan(score("stoi", voices * silence_after, leaky)).all()
    short = slice(20_000, 20_000 + int(sounding * 16000))
    assert np.isnan(score("stoi", voices[:, short], leaky[:, short])).all()


def test_a_metric_of_a_plugin_that_breaks_is_named():
    def broken(references, estimates, rate):
        raise KeyError("oops")

    audio = np.ones((2, 10))
    with pytest.raises(PluginError, match="'bad' failed; got KeyError: 'oops'"):
        Metric("bad", broken)(audio, audio, 8000)
    with pytest.raises(PluginError, match="wrong shape"):
        Metric("bad", lambda r, e, s: np.ones(3))(audio, audio, 8000)
    registry.metrics.register("bad", lambda: None)
    try:
        with pytest.raises(PluginError, match="wrong type; got function"):
            get_metrics(["bad"])
    finally:
        registry.metrics.unregister("bad")


def test_improvement_knows_which_way_is_better():
    assert Metric("a", score).improvement(3.0, 1.0) == 2.0
    assert Metric("a", score, higher_is_better=False).improvement(3.0, 1.0) == -2.0
    assert np.isnan(Metric("a", score).improvement(3.0, float("nan")))
