"""The tests of what gains do: they act on their point, on its channel, and as much as they say."""

# The name of a test says what it proves.
# ruff: noqa: D102

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from inmf_flow.points import Block, GridBlock, PointSet
from inmf_flow.testing.measures import relative_error, snr_db
from inmf_flow.testing.signals import noise
from inmf_flow.testing.trials import wave, wave_on_axes, wavy_gains
from inmf_flow.transform import Transform


class GainConformance:
    """What `TransformConformance` holds gains to."""

    gain_locality_db: ClassVar[float] = 20.0

    def make(self, **options: Any) -> Transform:
        raise NotImplementedError

    def invertible(self, **options: Any) -> Transform:
        raise NotImplementedError

    def steady_length(self, transform: Transform, sample_rate: int) -> int:
        raise NotImplementedError

    def test_gains_that_add_up_to_1_give_audio_that_adds_up(self) -> None:
        transform, audio = self.invertible(), noise(4_001, 16_000, 2)
        points = transform.analyze(audio, 16_000)
        random = np.random.default_rng(0)
        gains = [random.uniform(0, 1, block.magnitudes.shape) for block in points.blocks]
        together = transform.synthesize(points, gains) + transform.synthesize(points, [1 - g for g in gains])
        error = relative_error(together, transform.synthesize(points))
        assert error <= 1e-5, f"the parts add up to the whole with an error of {error:.1e}"

    def test_gains_may_be_a_function_of_time_and_frequency(self) -> None:
        transform, audio = self.invertible(), noise(4_001, 16_000)
        points = transform.analyze(audio, 16_000)
        if len({type(block) for block in points.blocks}) > 1:
            pytest.skip("a function of coordinates alone cannot tell a grid from scattered points")
        is_grid = isinstance(points.blocks[0], GridBlock)
        given = transform.synthesize(points, wave_on_axes if is_grid else wave)
        expected = transform.synthesize(points, wavy_gains(points))
        assert np.allclose(given, expected, atol=1e-6), "a function and its values as arrays give different audio"

    def test_gains_of_zero_give_silence(self) -> None:
        transform, audio = self.invertible(), noise(4_001, 16_000)
        points = transform.analyze(audio, 16_000)
        back = transform.synthesize(points, [np.zeros(block.magnitudes.shape) for block in points.blocks])
        assert np.abs(back).max() == 0, "gains of 0 leave something"

    def test_gains_act_at_their_frequency(self) -> None:
        transform, rate = self.invertible(), 16_000
        length = self.steady_length(transform, rate)
        time = np.arange(length) / rate
        low, high = (np.sin(2 * np.pi * share * rate * time).astype(np.float32) for share in (0.03, 0.2))
        points = transform.analyze(low + high, rate)
        inside = slice(length // 4, -(length // 4))
        for kept, keep in ((low, np.less), (high, np.greater_equal)):
            gains = [_by_frequency(block, lambda f, keep=keep: keep(f, 0.09 * rate)) for block in points.blocks]
            back = transform.synthesize(points, gains)
            measured = snr_db(kept[inside], back[inside])
            assert measured >= self.gain_locality_db, (
                f"gains that keep one of two tones leave it at {measured:.1f} dB; expected {self.gain_locality_db:g}"
            )

    def test_gains_act_at_their_time(self) -> None:
        transform, rate = self.invertible(), 16_000
        length = self.steady_length(transform, rate)
        audio = noise(length, rate)
        points = transform.analyze(audio, rate)
        gains = [_by_time(block, lambda t: t < 0.5 * length / rate) for block in points.blocks]
        back = transform.synthesize(points, gains)
        before, after = slice(0, length // 4), slice(-(length // 4), None)
        kept = snr_db(audio[before], back[before])
        left = -snr_db(audio[after], audio[after] - back[after])
        assert kept >= self.gain_locality_db, (
            f"before gains become 0 the audio is kept at {kept:.1f} dB; expected {self.gain_locality_db:g}"
        )
        assert left <= -self.gain_locality_db, (
            f"after gains became 0 the audio is at {left:.1f} dB; expected {-self.gain_locality_db:g}"
        )

    def test_gains_of_a_channel_act_on_it_alone(self) -> None:
        transform, audio = self.invertible(), noise(8_001, 16_000, 2)
        points = transform.analyze(audio, 16_000)
        whole = transform.synthesize(points)
        for muted in (0, 1):
            back = transform.synthesize(points, [_muting(block, muted) for block in points.blocks])
            assert np.abs(back[muted]).max() == 0, f"gains of 0 in channel {muted} leave something there"
            error = relative_error(back[1 - muted], whole[1 - muted])
            assert error <= 1e-4, f"gains in channel {muted} change the other one by {error:.1e}"

    def test_gains_may_be_of_any_size_and_sign(self) -> None:
        transform, audio = self.invertible(), noise(8_001, 16_000)
        points = transform.analyze(audio, 16_000)
        whole = transform.synthesize(points)
        back = transform.synthesize(points, [np.full(block.magnitudes.shape, -2.0) for block in points.blocks])
        error = relative_error(back, -2 * whole)
        assert error <= 1e-4, f"gains of -2 differ from -2 times the audio by {error:.1e}"


def _by_frequency(block: Block, gain: Any) -> NDArray[np.float64]:
    values = np.asarray(gain(block.frequencies), np.float64)
    shaped = values[:, None] if isinstance(block, GridBlock) else values
    return np.broadcast_to(shaped, block.magnitudes.shape).copy()


def _by_time(block: Block, gain: Any) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(gain(block.times), np.float64), block.magnitudes.shape).copy()


def _muting(block: Block, channel: int) -> NDArray[np.float64]:
    gains = np.ones(block.magnitudes.shape)
    gains[channel] = 0
    return gains


def noise_levels(points: PointSet, start: float, stop: float, parts: int = 4) -> list[tuple[float, int]]:
    """Return the mean square of magnitudes between two times by frequency, and of how many that are independent.

    That is one a second and hertz, however densely a transform samples; and fewer than there are.

    Parameters
    ----------
    points
        Those of scattered blocks are passed over: they are chosen, such as peaks, and their mean says nothing.
    start, stop
        Seconds.
    parts
        How many groups of rows each grid is cut into, where it has so many.
    """
    found = []
    for block in points.blocks:
        if not isinstance(block, GridBlock):
            continue
        inside = (block.times >= start) & (block.times <= stop)
        for rows in np.array_split(np.arange(len(block.frequencies)), min(parts, len(block.frequencies))):
            squares = block.magnitudes[..., rows, :][..., inside].astype(np.float64) ** 2
            if squares.size:
                area = float(block.frequency_weights[rows].sum() * block.time_weights[inside].sum())
                found.append((float(squares.mean()), int(min(area, squares.size / 4))))
    return found
