"""Where the bands are, how wide, and how often they are sampled."""

from __future__ import annotations

import numpy as np
import pytest

from inmf_flow.points import PointSet
from inmf_flow_cqt.transform import Cqt

RATE = 22_050


def noise(samples: int = 2 * RATE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(samples)


def frequencies_of(points: PointSet) -> np.ndarray:
    return np.concatenate([block.frequencies for block in points.blocks])


@pytest.mark.parametrize("bins_per_octave", [1, 7, 12, 24])
@pytest.mark.parametrize("fmax", [None, 1_234.5])
def test_bands_are_at_true_frequencies_from_0_hertz_to_nyquist(bins_per_octave: int, fmax: float | None) -> None:
    fmin = 101.7
    found = frequencies_of(Cqt(bins_per_octave=bins_per_octave, fmin=fmin, fmax=fmax).analyze(noise(), RATE))
    assert found[0] == 0
    assert found[-1] == RATE / 2
    inner = found[1:-1]
    assert np.allclose(inner, fmin * 2 ** (np.arange(len(inner)) / bins_per_octave), rtol=1e-12)
    following = inner[-1] * 2 ** (1 / bins_per_octave)
    if fmax is not None:
        assert inner[-1] <= fmax < following
    else:
        # The next band would reach beyond Nyquist.
        assert inner[-1] < RATE / 2 < following * 2 ** (1 / bins_per_octave)


@pytest.mark.parametrize("fmax", [110.0, 220.0, 219.999])
def test_the_highest_band_may_be_at_fmax_itself(fmax: float) -> None:
    found = frequencies_of(Cqt(fmin=110.0, fmax=fmax).analyze(noise(), RATE))
    assert found[-2] == pytest.approx({110.0: 110.0, 220.0: 220.0}.get(fmax, 220 / 2 ** (1 / 24)))


def test_bands_of_a_block_share_a_hop_that_halves_about_once_an_octave() -> None:
    blocks = Cqt(fmin=110.0).analyze(noise(), RATE).blocks
    hops = [float(np.diff(block.times)[0]) for block in blocks]
    assert all(np.allclose(np.diff(block.times), hop) for block, hop in zip(blocks, hops, strict=True))
    inner = [block for block in blocks if block.frequencies[0] > 0 and block.frequencies[-1] < RATE / 2]
    assert len(inner) >= 5
    for block, hop in zip(inner, hops[1:], strict=False):
        width = (2 ** (1 / 24) - 2 ** (-1 / 24)) * block.frequencies
        # Sampled at least as often as each band is wide, and less than twice as often as the widest needs.
        assert (1 / hop >= width).all()
        assert 1 / hop < 2.0001 * width.max()
        assert block.frequencies[-1] < 2 * block.frequencies[0]


def test_matrix_is_one_block_of_the_same_frequencies_and_magnitudes() -> None:
    audio = noise()
    plain, matrix = (Cqt(bins_per_octave=12, fmin=110.0, matrix=m).analyze(audio, RATE) for m in (False, True))
    (block,) = matrix.blocks
    assert np.array_equal(block.frequencies, frequencies_of(plain))
    for part in plain.blocks:
        rows = np.flatnonzero(np.isin(block.frequencies, part.frequencies))
        step = round(float(part.times[1] / block.times[1]))
        columns = np.arange(len(part.times)) * step
        inside = columns < len(block.times)
        assert np.allclose(block.times[columns[inside]], part.times[inside])
        assert np.allclose(block.magnitudes[np.ix_(rows, columns[inside])], part.magnitudes[:, inside], atol=1e-5)


def test_gains_that_are_a_function_of_frequency_act_alike_with_matrix() -> None:
    audio = noise()
    results = []
    for matrix in (False, True):
        cqt = Cqt(bins_per_octave=12, fmin=110.0, matrix=matrix)
        points = cqt.analyze(audio, RATE)
        results.append(cqt.synthesize(points, lambda t, f: np.outer(1 / (1 + f / 500), np.ones_like(t))))
    assert np.allclose(results[0], results[1], rtol=0, atol=1e-9)


def test_gamma_widens_low_bands_and_shortens_slices() -> None:
    impulse = np.zeros(4 * RATE)
    impulse[2 * RATE] = 1

    def spread(gamma: float) -> np.ndarray:
        """Return the seconds over which an impulse's energy is spread in the bands nearest to 150 and 6000 Hz."""
        found = []
        for frequency in (150.0, 6_000.0):
            blocks = Cqt(bins_per_octave=24, fmin=110.0, gamma=gamma, matrix=True).analyze(impulse, RATE).blocks
            row = int(np.argmin(np.abs(blocks[0].frequencies - frequency)))
            energy = blocks[0].magnitudes[row].astype(np.float64) ** 2
            found.append(float(np.sqrt(np.sum(energy * (blocks[0].times - 2) ** 2) / energy.sum())))
        return np.array(found)

    narrow, wide = spread(0.0), spread(30.0)
    # 8.7 Hz become 38.7 Hz, and 347 Hz become 377 Hz.
    assert narrow / wide == pytest.approx([38.7 / 8.7, 377 / 347], rel=0.1)
    assert Cqt(gamma=30.0).halo(RATE)[0] < 0.1 * Cqt().halo(RATE)[0]


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_slices_are_as_long_as_the_lowest_band_needs_or_as_one_says(rate: int) -> None:
    width = (2 ** (1 / 24) - 2 ** (-1 / 24)) * 32.703
    for cqt, seconds in ((Cqt(), 12 / width), (Cqt(slice_seconds=10.0), 10.0)):
        left, right = cqt.halo(rate)
        assert left == right
        assert seconds <= left / rate <= 1.03 * seconds
