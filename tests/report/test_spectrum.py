"""Spectrograms for the page show what is there, where and when it is, at any length and rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.report.figures import frequency_ticks
from inmf_flow.report.sound import MAX_SECONDS, MIN_SECONDS, excerpt_seconds
from inmf_flow.report.spectrum import DYNAMIC_RANGE, row_frequencies, spectrogram, unwarp, warp


@pytest.mark.parametrize("frequency", [440.0, 3000.0])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_tone_lies_at_its_frequency(frequency: float, rate: int) -> None:
    audio = np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)[None]
    content = spectrogram(audio, rate)
    middle = content.power[:, content.power.shape[1] // 2]
    found = row_frequencies(content.top)[middle.argmax()]
    assert found == pytest.approx(frequency, rel=0.03)
    # A row wider than the tone's main lobe averages it with its surroundings.
    assert 10 * np.log10(content.loudest) == pytest.approx(0.0, abs=6.0)


def test_an_impulse_lies_at_its_time() -> None:
    audio = np.zeros((1, 32000), np.float32)
    audio[0, 24000] = 1.0
    content = spectrogram(audio, 16000)
    columns = np.flatnonzero(content.power.sum(axis=0) > 0.5 * content.power.sum(axis=0).max())
    assert (columns.mean() + 0.5) / content.power.shape[1] * content.seconds == pytest.approx(1.5, abs=0.005)


@given(
    samples=st.integers(1, 5000),
    channels=st.integers(1, 3),
    rate=st.sampled_from([1, 100, 8000, 44100, 192000]),
)
def test_every_clip_has_a_finite_picture(samples: int, channels: int, rate: int) -> None:
    audio = np.random.default_rng(samples).standard_normal((channels, samples)).astype(np.float32)
    content = spectrogram(audio, rate)
    decibels = content.decibels(content.loudest)
    assert np.isfinite(content.power).all()
    assert decibels.max() == pytest.approx(0.0)
    assert decibels.min() >= -DYNAMIC_RANGE


def test_silence_is_as_dark_as_can_be() -> None:
    content = spectrogram(np.zeros((1, 1000), np.float32), 16000)
    assert (content.decibels(content.loudest) == -DYNAMIC_RANGE).all()


def test_pictures_of_one_item_share_scale_and_axis() -> None:
    rng = np.random.default_rng(0)
    loud = rng.standard_normal((1, 8000)).astype(np.float32)
    mixture, estimate = (spectrogram(audio, 16000) for audio in (loud, loud / 10))
    assert np.median(mixture.decibels(mixture.loudest) - estimate.decibels(mixture.loudest)) == pytest.approx(
        20, abs=0.1
    )
    narrow = spectrogram(loud, 8000, top=8000.0)
    assert (narrow.power[row_frequencies(8000.0) > 4200] == 0).all()
    assert (narrow.power[row_frequencies(8000.0) < 3800] > 0).any(axis=1).all()


@given(st.floats(0, 1e5))
def test_the_warp_can_be_undone(frequency: float) -> None:
    assert float(unwarp(warp(frequency))) == pytest.approx(frequency, rel=1e-9, abs=1e-9)


@given(st.floats(0.5, 4e5))
def test_ticks_are_few_and_inside(top: float) -> None:
    ticks = frequency_ticks(top)
    assert 2 <= len(ticks) <= 12
    assert ticks[0] == 0
    assert ticks == sorted(set(ticks))
    assert ticks[-1] <= top * 1.001


def test_excerpts_shrink_only_when_a_page_would_be_huge() -> None:
    assert excerpt_seconds(0) == MAX_SECONDS
    assert excerpt_seconds(100 * 16000) == MAX_SECONDS
    assert excerpt_seconds(100 * 44100 * 2) == 5
    assert excerpt_seconds(1e9) == MIN_SECONDS
