import numpy as np
import pytest

from inmf_flow.audio import read_audio
from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate import si_sdr
from inmf_flow.separation import oracle_estimates


@pytest.fixture(scope="module")
def voices(speech):
    return np.stack([read_audio(speech[name])[0][0] for name in ("male_test", "female_test")]).astype(float)


@pytest.mark.parametrize("transform", ["stft", "wavelet"])
@pytest.mark.parametrize("mask", ["ratio", "power", "binary"])
def test_oracles_add_up_to_the_mixture_and_are_near_the_references(voices, transform, mask):
    mixture = voices.sum(axis=0)
    estimates = oracle_estimates(mixture, voices, 16000, transform, mask)
    np.testing.assert_allclose(estimates.sum(axis=0), mixture, atol=1e-4)
    assert (si_sdr(voices, estimates) > si_sdr(voices, np.stack([mixture] * 2)) + 6).all()


def test_channels_have_masks_of_their_own(voices):
    stereo = np.stack([voices, voices[::-1]], axis=1)
    estimates = oracle_estimates(stereo.sum(axis=0), stereo, 16000)
    alone = oracle_estimates(voices.sum(axis=0), voices, 16000)
    np.testing.assert_allclose(estimates[:, 0], alone, atol=1e-6)
    np.testing.assert_allclose(estimates[:, 1], alone[::-1], atol=1e-6)


def test_what_cannot_be_is_refused(voices):
    mixture = voices.sum(axis=0)
    with pytest.raises(ArgumentError, match="no such oracle mask; got 'soft'"):
        oracle_estimates(mixture, voices, 16000, mask="soft")
    with pytest.raises(ArgumentError, match="do not belong to the mixture"):
        oracle_estimates(mixture[:-1], voices, 16000)
    with pytest.raises(ArgumentError, match="a grid"):
        oracle_estimates(mixture, voices, 16000, "sinusoidal")
    with pytest.raises(ArgumentError, match="exponent"):
        oracle_estimates(mixture, voices, 16000, mask="binary", exponent=2.0)
