"""Items of every rate, transform and length teach one dictionary, each what it knows about."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.errors import PointsError
from inmf_flow.factorize import (
    Activations,
    SharedDictionary,
    dictionary_to_bytes,
    fit_shared,
    map_item,
    map_items,
    reduce_pass,
    start_dictionary,
)

Audio = NDArray[np.float32]


def stft(audio: Audio, rate: int, n_fft: int = 1024) -> PointSet:
    return get_transform("stft", n_fft=n_fft).analyze(audio, rate).without_synthesis()


def passes(dictionary: SharedDictionary, items: list[PointSet], count: int) -> SharedDictionary:
    kept: dict[int, Activations] = {}
    for _ in range(count):
        found, sums = map_items(dictionary, ((n, points, kept.get(n)) for n, points in enumerate(items)))
        dictionary = reduce_pass(dictionary, sums.total())
        kept = found if dictionary.accepted == dictionary.passes else kept
    return dictionary


@pytest.fixture(scope="module")
def high(voice: Audio) -> Audio:
    """A second of the voice at 48 kHz, with hiss from 10 to 20 kHz that follows it."""
    audio = soxr.resample(voice[:16000], 16000, 48000).astype(np.float32)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(len(audio)))
    hertz = np.fft.rfftfreq(len(audio), 1 / 48000)
    spectrum[(hertz < 10000) | (hertz > 20000)] = 0
    envelope = np.convolve(np.abs(audio), np.ones(480) / 480, "same")
    hiss: Audio = np.fft.irfft(spectrum, len(audio)).astype(np.float32)
    return audio + 2 * envelope.astype(np.float32) * hiss


@pytest.fixture(scope="module")
def low(voice: Audio) -> Audio:
    """Another second of the voice at 8 kHz."""
    return soxr.resample(voice[16000:32000], 16000, 8000).astype(np.float32)


@pytest.mark.parametrize("brought_up", [False, True], ids=["at 8 kHz", "brought to 48 kHz"])
def test_a_low_rate_says_nothing_about_high_frequencies(high: Audio, low: Audio, brought_up: bool) -> None:
    narrow = stft(soxr.resample(low, 8000, 48000), 48000).below(4000) if brought_up else stft(low, 8000)
    wide = stft(high, 48000)
    start = start_dictionary([wide, narrow], 6, random_state=2)
    assert start.max_frequency == 24000
    _, statistics = map_item(start, narrow)
    # A node speaks for what lies between its neighbours.
    beyond = np.flatnonzero(start.nodes > 4000)[1:]
    assert len(beyond) > 50
    assert (statistics.positive[beyond] == 0).all()
    assert (statistics.negative[beyond] == 0).all()
    assert (statistics.positive[start.nodes < 3900].sum(1) > 0).any()
    # Passes over narrow items alone leave what is above to the sample, and finite.
    alone = passes(start, [narrow], 3)
    assert np.array_equal(alone.plain[beyond], start.plain[beyond])
    # The 48 kHz item teaches its own band as if it were alone, and the 8 kHz one takes nothing from it.
    model = passes(start, [wide, narrow], 25).model()
    above = wide.blocks[0].frequencies > 10000
    fitted = INMF(6, random_state=2).fit(wide)
    errors = []
    for each in (model, fitted):
        h = each.transform(wide)(wide.blocks[0].times)
        v = np.sqrt(wide.blocks[0].magnitudes[above])
        errors.append(np.abs(each.templates(wide.blocks[0].frequencies)[above] @ h - v).mean() / v.mean())
    assert errors[0] < 1.15 * errors[1]
    assert model.divergence(narrow, model.transform(narrow)) < 0.05


def test_transforms_of_every_kind_teach_one_dictionary(voice: Audio, high: Audio) -> None:
    part = voice[:16000]
    cloud = stft(part, 16000, 512).blocks[0]
    draw = np.random.default_rng(0)
    f, t = draw.integers(0, 257, 3000), draw.integers(0, len(cloud.times), 3000)
    # Grids of rates of their own on one clock, as constant-Q transforms have.
    octaves = [
        stft(part, 16000, n_fft).below(limit).blocks[0] for n_fft, limit in ((2048, 500), (512, 2000), (128, 8000))
    ]
    items = [
        stft(voice[16000:32000], 16000, 2000),
        stft(voice[16000:32000], 16000, 256),
        PointSet.from_points(cloud.times[t], cloud.frequencies[f], cloud.magnitudes[f, t], duration=1.0),
        PointSet(tuple(octaves), duration=1.0),
        stft(part, 16000, 512) + stft(part, 16000, 2048),
        stft(high, 48000, 2048),
        PointSet.from_grid(cloud.times, cloud.frequencies, np.stack([cloud.magnitudes] * 2)),
    ]
    start = start_dictionary(items, 8, relaxation=1.0)
    found = passes(start, items, 15)
    values = [value for _, value in found.curve]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.6 * values[0]
    model = found.model()
    for points in items:
        alone = INMF(8).fit(points)
        assert model.divergence(points, model.transform(points)) < 4 * alone.divergence(points)


def test_silence_single_frames_and_nothing_do_no_harm(voice: Audio) -> None:
    points = stft(voice[:16000], 16000, 512)
    block = points.blocks[0]
    odd = [
        stft(np.zeros(8000, np.float32), 16000, 512),
        stft(voice[:200], 16000, 512),
        PointSet.from_grid([0.0], [100.0], [[0.5]]),
        PointSet.from_grid(block.times, block.frequencies, np.full_like(block.magnitudes, np.nan)),
        PointSet.from_points([], [], []),
        PointSet(()),
        PointSet.from_grid([0.0, 0.1], [9000.0, 9500.0], np.ones((2, 2))),
    ]
    for beta in (0.0, 1.0, 2.0):
        start = start_dictionary([points], 4, beta_loss=beta, relaxation=1.0)
        found = passes(start, [points, *odd], 8)
        values = [value for _, value in found.curve]
        assert all(b <= a * (1 + 1e-6) for a, b in pairwise(values))
        assert np.isfinite(found.model().templates(np.linspace(0, 24000, 100))).all()
        # Silence has next to no say, and what has no weight has none.
        for each in (odd[3], odd[4], odd[5], odd[6]):
            assert map_item(start, each)[1].weight == 0
        silent, _ = map_item(start, odd[0])
        assert np.abs(silent.values).max() < 1e-6
    nothing = passes(start, odd[3:], 2)
    assert np.array_equal(nothing.coefficients, start.coefficients)
    with pytest.raises(PointsError, match="no points that have weight"):
        start_dictionary([odd[3]], 4)
    # All there is is silence: the dictionary is as good as any.
    assert np.isfinite(fit_shared([odd[0], odd[0]], 3, passes=2).templates([0.0, 4000.0])).all()


def test_a_start_is_of_its_sample_alone(voice: Audio) -> None:
    sample = [stft(voice[:16000], 16000), stft(voice[16000:], 16000, 512)]
    one, two = (start_dictionary(sample, 6, random_state=3) for _ in range(2))
    assert dictionary_to_bytes(one) == dictionary_to_bytes(two)
    other = start_dictionary(sample, 6, random_state=4)
    assert not np.array_equal(one.coefficients, other.coefficients)
    fitted = start_dictionary(sample, 6, random_state=3, iterations=20)
    model = INMF(6, random_state=3, max_iter=20).fit(PointSet.end_to_end(sample))
    hertz = np.linspace(0, 8000, 200)
    np.testing.assert_allclose(fitted.field().evaluate(hertz), model.templates(hertz), rtol=1e-6)


def test_templates_of_a_corpus_separate_voices(speech: dict[str, Path]) -> None:
    from inmf_flow import separate
    from inmf_flow.audio import read_audio
    from inmf_flow.evaluate import si_sdr

    ours, theirs, references = {}, {}, {}
    for name, other in (("female", 48000), ("male", 44100)):
        items = []
        for number, rate in enumerate((16000, other)):
            audio, _ = read_audio(speech[f"{name}_train"], rate)
            part = audio[0, number * 4 * rate : (number + 1) * 4 * rate]
            items.append(stft(part, rate, rate // 16).below(8000))
        ours[name] = fit_shared(items, 12, passes=10)
        theirs[name] = INMF(12).fit(stft(read_audio(speech[f"{name}_train"])[0][0, : 8 * 16000], 16000, 1000))
        references[name] = read_audio(speech[f"{name}_test"], 16000)[0][0]
    mixture = references["female"] + references["male"]
    shared, single = (separate(mixture, 16000, models) for models in (ours, theirs))
    for name, reference in references.items():
        before, after, usual = (si_sdr(reference, each) for each in (mixture, shared[name], single[name]))
        assert after > before + 2
        assert after > usual - 1
