"""Where sounds appear in time and frequency, how large, and with which sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pywt
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow_wavelet.transform import Wavelet

RATE = 16_000
# Named by what their filters are: short, minimum phase, nearly linear phase, linear phase.
WAVELETS = ["haar", "db3", "db38", "sym20", "coif17", "dmey"]


def tone(frequency: float, seconds: float = 1.0, rate: int = RATE) -> Any:
    return np.cos(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate + 0.3)


def middle(block: Any) -> Any:
    """Return magnitudes of the middle half, [F, T], in double precision."""
    count = len(block.times)
    return block.magnitudes[:, count // 4 : -(count // 4)].astype(np.float64)


@pytest.mark.parametrize("wavelet", ["db20", "sym20", "coif10", "dmey"])
@pytest.mark.parametrize("level", [1, 2, 5])
def test_a_tone_in_the_middle_of_a_packet_is_loudest_there(wavelet: str, level: int) -> None:
    packets = Wavelet(wavelet=wavelet, level=level)
    for number in range(1 << level):
        block = packets.analyze(tone((number + 0.5) * RATE / 2 / 2**level), RATE).blocks[0]
        assert np.argmax(np.linalg.norm(middle(block), axis=1)) == number
        assert block.frequencies[number] == pytest.approx((number + 0.5) * RATE / 2 / 2**level)


@pytest.mark.parametrize("wavelet", ["sym8", "db20", "bior6.8"])
@pytest.mark.parametrize("kind", ["dwt", "swt"])
def test_a_tone_is_loudest_in_its_octave(kind: str, wavelet: str) -> None:
    transform = Wavelet(kind=kind, wavelet=wavelet, level=5)
    for depth in range(1, 6):
        centre = 0.75 * RATE / 2**depth
        points = transform.analyze(tone(centre), RATE)
        rows = [
            (float(np.sqrt(np.mean(row**2))), frequency)
            for block in points.blocks
            for row, frequency in zip(middle(block), block.frequencies, strict=True)
        ]
        assert max(rows)[1] == pytest.approx(centre)
        assert [frequency for _, frequency in rows] == sorted(frequency for _, frequency in rows)


@given(st.sampled_from(WAVELETS), st.sampled_from(["packet", "dwt", "swt"]), st.integers(1, 5), st.integers(0, 40))
def test_an_impulse_is_at_its_time(wavelet: str, kind: str, level: int, place: int) -> None:
    transform = Wavelet(kind=kind, wavelet=wavelet, level=level)
    audio = np.zeros(2 * sum(transform.halo(RATE)) + 200)
    index = len(audio) // 2 + place
    audio[index] = 1
    # Energy of a single band depends on the place between its points, the more so the less symmetric the wavelet.
    hops = {"packet": 0.501, "swt": 0.501, "dwt": 1.25 if wavelet == "db38" else 1.001}[kind]
    for block in transform.analyze(audio, RATE).blocks:
        hop = block.times[1] - block.times[0]
        energy = np.sum(block.magnitudes.astype(np.float64) ** 2, axis=0)
        miss = abs(energy @ block.times / energy.sum() - index / RATE)
        assert miss <= hop * hops


@pytest.mark.parametrize("wavelet", WAVELETS)
@pytest.mark.parametrize("kind", ["packet", "dwt", "swt"])
def test_no_band_is_early_or_late_on_average(kind: str, wavelet: str) -> None:
    level = 4
    transform = Wavelet(kind=kind, wavelet=wavelet, level=level)
    # Each channel has an impulse at another place between two points, so that chance of place averages out.
    places = sum(transform.halo(RATE)) + np.arange(1 << level)
    audio = np.zeros((1 << level, 2 * places[-1]))
    audio[np.arange(1 << level), places] = 1
    for block in transform.analyze(audio, RATE).blocks:
        energy = block.magnitudes.astype(np.float64) ** 2
        after = block.times - places[:, None, None] / RATE
        late = np.sum(energy * after, axis=(0, 2)) / energy.sum(axis=(0, 2))
        hop = block.times[1] - block.times[0]
        # Rows of a grid share its times: each is at the nearest; a grid of one row is at its own.
        allowed = 0.5 * hop if len(block.frequencies) > 1 else 1e-6 * hop
        assert np.abs(late).max() <= allowed * 1.001


def test_the_delay_of_long_filters_would_be_many_hops() -> None:
    # What the times correct: the packets of one level see their impulse at coefficients that are far apart.
    packets = Wavelet(wavelet="db38", level=5, calibration="noise")
    audio = np.zeros(16_000)
    audio[8_000] = 1
    points = packets.analyze(audio, RATE)
    coefficients = points.blocks[0].coefficients[0]
    energy = coefficients**2
    centres = energy @ np.arange(energy.shape[1]) / energy.sum(axis=1)
    assert np.ptp(centres) > 20


@given(st.sampled_from(WAVELETS), st.sampled_from(["packet", "dwt", "swt"]), st.integers(1, 5))
def test_white_noise_has_its_variance_as_mean_square_in_every_band(wavelet: str, kind: str, level: int) -> None:
    transform = Wavelet(kind=kind, wavelet=wavelet, level=level, calibration="noise")
    audio = 0.1 * np.random.default_rng(level).standard_normal(60_000)
    for block in transform.analyze(audio, RATE).blocks:
        power = np.mean(middle(block) ** 2, axis=1) / 0.01
        # Five standard deviations of what so many coefficients leave to chance.
        cells = np.diff(np.append(0, block.frequencies)).min() * 2 * len(audio) / RATE / 2
        assert np.abs(power - 1).max() < 5 * np.sqrt(2 / min(cells, middle(block).shape[1]))


@pytest.mark.parametrize("wavelet", ["haar", "db3", "sym20", "coif17"])
@pytest.mark.parametrize(("kind", "level"), [("packet", 3), ("dwt", 4), ("swt", 4)])
def test_a_tone_where_a_band_answers_most_has_its_amplitude(kind: str, level: int, wavelet: str) -> None:
    transform = Wavelet(kind=kind, wavelet=wavelet, level=level)
    # A cosine's coefficients have the amplitude of the response; a sweep over frequencies finds its peak. Two of them
    # a quarter of a cycle apart give the amplitude at each coefficient.
    loudest = None
    for frequency in np.linspace(3, RATE / 2 - 3, 401):
        time = np.arange(1600) / RATE
        pair = np.stack([np.cos(2 * np.pi * frequency * time), np.sin(2 * np.pi * frequency * time)])
        rows = []
        for block in transform.analyze(pair, RATE).blocks:
            count = block.magnitudes.shape[-1]
            rows.extend(np.hypot(*block.magnitudes[:, :, count // 2].astype(np.float64)))
        loudest = np.array(rows) if loudest is None else np.maximum(loudest, rows)
    assert loudest is not None
    assert np.abs(loudest - 1).max() < 0.02


@pytest.mark.parametrize("wavelet", ["db4", "sym20", "coif17"])
def test_packets_are_those_of_pywavelets(wavelet: str) -> None:
    audio = np.random.default_rng(0).standard_normal((2, 3001))
    points = Wavelet(wavelet=wavelet, level=4, calibration="noise").analyze(audio, RATE)
    tree = pywt.WaveletPacket(audio, wavelet, mode="zero", maxlevel=4, axis=-1)
    expected = np.stack([node.data for node in tree.get_level(4, order="freq")], axis=1)
    got = points.blocks[0].coefficients
    count = min(got.shape[-1], expected.shape[-1])
    assert np.allclose(got[..., :count], expected[..., :count], atol=1e-10)
    assert np.abs(got[..., count:]).max(initial=0) < 1e-10


@pytest.mark.parametrize("wavelet", ["db4", "sym20", "bior4.4"])
def test_octaves_are_those_of_pywavelets(wavelet: str) -> None:
    audio = np.random.default_rng(0).standard_normal(3001)
    points = Wavelet(kind="dwt", wavelet=wavelet, level=4).analyze(audio, RATE)
    for block, expected in zip(points.blocks, pywt.wavedec(audio, wavelet, mode="zero", level=4), strict=True):
        got = block.coefficients[0, 0]
        count = min(len(got), len(expected))
        assert np.allclose(got[:count], expected[:count], atol=1e-10)


@given(st.sampled_from(["packet", "dwt"]), st.integers(1, 4), st.integers(0, 10_000))
def test_one_point_alone_sounds_with_its_sign(kind: str, level: int, choice: int) -> None:
    transform = Wavelet(kind=kind, wavelet="sym5", level=level, calibration="noise")
    audio = np.random.default_rng(choice).standard_normal(2000)
    points = transform.analyze(audio, RATE)
    number = choice % len(points.blocks)
    shape = points.blocks[number].magnitudes.shape
    # Away from the ends, beyond which coefficients share a gain.
    point = choice % shape[0], shape[1] // 2
    gains = [np.zeros(block.magnitudes.shape) for block in points.blocks]
    gains[number][point] = 1
    sound = transform.synthesize(points, gains)
    # Orthonormal: the share of a coefficient c in the audio is c times its atom, so it agrees with the audio by c**2.
    strength = float(points.blocks[number].magnitudes[point])
    assert sound @ audio == pytest.approx(strength**2, rel=1e-4, abs=1e-9)
    assert np.linalg.norm(sound) == pytest.approx(strength, rel=1e-4)


@pytest.mark.parametrize("kind", ["packet", "dwt", "swt", "cwt"])
def test_audio_turned_upside_down_has_the_same_points_and_comes_back_upside_down(kind: str) -> None:
    transform = Wavelet(kind=kind)
    audio = np.random.default_rng(0).standard_normal(5000)
    up, down = transform.analyze(audio, RATE), transform.analyze(-audio, RATE)
    gains = [np.random.default_rng(1).uniform(0, 1, block.magnitudes.shape) for block in up.blocks]
    for one, other in zip(up.blocks, down.blocks, strict=True):
        assert np.array_equal(one.magnitudes, other.magnitudes)
        assert (one.magnitudes >= 0).all()
    assert np.array_equal(transform.synthesize(up, gains), -transform.synthesize(down, gains))


@pytest.mark.parametrize(("rate", "level"), [(8_000, 8), (16_000, 9), (44_100, 9), (48_000, 9), (100, 1)])
def test_packets_are_about_20_hertz_wide_by_default(rate: int, level: int) -> None:
    block = Wavelet().analyze(np.ones(10), rate).blocks[0]
    assert len(block.frequencies) == 1 << level


@pytest.mark.parametrize(
    "options",
    [{"level": 3}, {"kind": "dwt", "level": 16}, {"kind": "swt", "level": 5}, {"kind": "cwt", "fmin": 200.0}],
    ids=str,
)
def test_an_offset_has_its_value_in_the_lowest_band(options: dict[str, Any]) -> None:
    # Long enough that in its middle the lowest band sees no end.
    block = (
        Wavelet(**options).analyze(np.full(1_500_000 if "dwt" in options.values() else 20_000, 0.25), RATE).blocks[0]
    )
    assert block.magnitudes[0, len(block.times) // 2] == pytest.approx(0.25, rel=1e-3)
