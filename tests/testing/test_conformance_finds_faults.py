"""The conformance class fails transforms with the faults that it is there to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ConfigDict

from inmf_flow.points import PointSet
from inmf_flow.testing import TransformConformance
from inmf_flow.transform import Span, TransformConfig
from inmf_flow_sinusoidal.reassigned import Reassigned
from inmf_flow_stft.transform import Stft, StftConfig

Check = Callable[[TransformConformance], None]


class Base(Stft):
    """An STFT with a fault: what it gives is passed through `spoil`."""

    def spoil(self, points: PointSet, **changes: Any) -> PointSet:
        (block,) = points.blocks
        return replace(points, blocks=(replace(block, **changes),))

    def analyze(self, audio: Any, sample_rate: int, *, span: Span | None = None) -> PointSet:
        return self.fault(super().analyze(audio, sample_rate, span=span), span)

    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        return points


class Late(Base):
    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        return self.spoil(points, times=points.blocks[0].times + 0.6 * 64 / points.sample_rate)


class Sharp(Base):
    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        frequencies = points.blocks[0].frequencies
        return self.spoil(points, frequencies=frequencies + 0.8 * frequencies[1])


class Loud(Base):
    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        return self.spoil(points, magnitudes=points.blocks[0].magnitudes * 1.03)


class Heavy(Base):
    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        return self.spoil(points, time_weights=points.blocks[0].time_weights * np.float32(1.03))


class HalvesTheFirst(Base):
    """Weighs the first frame of each span as an edge, as if the span were a whole recording."""

    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        weights = points.blocks[0].time_weights.copy()
        if span is not None:
            weights[:1] /= 2
        return self.spoil(points, time_weights=weights)


class SilentNan(Base):
    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        magnitudes = points.blocks[0].magnitudes
        with np.errstate(invalid="ignore"):
            return self.spoil(points, magnitudes=magnitudes / magnitudes.max(initial=0) * magnitudes.max(initial=0))


class Normalized(Base):
    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        magnitudes = points.blocks[0].magnitudes
        return self.spoil(points, magnitudes=magnitudes / (magnitudes.max(initial=0) or 1))


class MixesChannels(Base):
    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        magnitudes = points.blocks[0].magnitudes
        return (
            self.spoil(points, magnitudes=magnitudes + 0.01 * magnitudes[..., ::-1, :, :].copy())
            if (magnitudes.ndim == 3 and len(magnitudes) > 1)
            else points
        )


class OneFrameTooMany(Base):
    def analyze(self, audio: Any, sample_rate: int, *, span: Span | None = None) -> PointSet:
        if span is not None and not span.is_last and span.start % 64 == 1:
            span = replace(span, start=span.start - 1)
        return super().analyze(audio, sample_rate, span=span)


class ShortHalo(Base):
    """Says that it needs less context than it does, and takes zeros for the rest."""

    def halo(self, sample_rate: int) -> tuple[int, int]:
        return 100, 100

    def analyze(self, audio: Any, sample_rate: int, *, span: Span | None = None) -> PointSet:
        if span is not None:
            audio = np.atleast_2d(audio)
            before = min(span.offset, 28)
            after = 28 if span.length is None else min(28, span.length - span.offset - audio.shape[-1])
            audio = np.pad(audio, ((0, 0), (before, after)))
            span = replace(span, offset=span.offset - before)
        return super().analyze(audio, sample_rate, span=span)


class Noisy(Base):
    def synthesize(self, points: PointSet, gains: Any = None) -> Any:
        return super().synthesize(points, gains) + np.float32(1e-4)


class IgnoresGains(Base):
    def synthesize(self, points: PointSet, gains: Any = None) -> Any:
        return super().synthesize(points)


class Rounds(Base):
    """Gives single precision whatever it was given."""

    def synthesize(self, points: PointSet, gains: Any = None) -> Any:
        return super().synthesize(points, gains).astype(np.float32)


class WhiteTooLoud(Base):
    """Calibrates noise wrongly, and tones not."""

    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        if self.config.calibration == "tone":
            return points
        return self.spoil(points, magnitudes=points.blocks[0].magnitudes * 1.05)


class Hoards(Base):
    """Keeps what it has seen."""

    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        self.seen = [*getattr(self, "seen", []), points.blocks[0].magnitudes]
        return points


class Flips(Base):
    """Takes the gain of a frequency for that of its mirror image."""

    def synthesize(self, points: PointSet, gains: Any = None) -> Any:
        given = (
            gains
            if gains is None
            else [np.broadcast_to(g, points.blocks[0].magnitudes.shape)[..., ::-1, :] for g in gains]
        )
        return super().synthesize(points, given)


class Delays(Base):
    """Takes each gain for that of a time half a second earlier."""

    def synthesize(self, points: PointSet, gains: Any = None) -> Any:
        late = 16_000 // 2 // 64
        given = (
            gains
            if gains is None
            else [np.roll(np.broadcast_to(g, points.blocks[0].magnitudes.shape), late, -1) for g in gains]
        )
        return super().synthesize(points, given)


class OneGainForAll(Base):
    """Takes the first channel's gains for every channel."""

    def synthesize(self, points: PointSet, gains: Any = None) -> Any:
        given = gains if gains is None or points.channels == 1 else [np.asarray(g)[:1] for g in gains]
        return super().synthesize(points, given)


class Clips(Base):
    """Takes no gains below 0 or above 1."""

    def synthesize(self, points: PointSet, gains: Any = None) -> Any:
        return super().synthesize(points, gains if gains is None else [np.clip(g, 0, 1) for g in gains])


class Tilts(Base):
    """Calibrates noise rightly in the mean alone."""

    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        if self.config.calibration == "tone":
            return points
        tilt = np.sqrt(np.linspace(1.4, 0.6, len(points.blocks[0].frequencies)))[:, None]
        return self.spoil(points, magnitudes=points.blocks[0].magnitudes * tilt.astype(np.float32))


class SoftLows(Base):
    """Shows low tones at half of their amplitude."""

    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        gain = np.where(np.arange(len(points.blocks[0].frequencies)) < len(points.blocks[0].frequencies) // 8, 0.5, 1)
        return self.spoil(points, magnitudes=points.blocks[0].magnitudes * gain[:, None].astype(np.float32))


class Ramps(Base):
    """Gives cells weights that add up to the area, but are not theirs."""

    def fault(self, points: PointSet, span: Span | None) -> PointSet:
        weights = points.blocks[0].frequency_weights
        ramp = np.linspace(0, 2, len(weights)).astype(np.float32)
        return self.spoil(points, frequency_weights=weights * ramp)


class ThawedConfig(StftConfig):
    model_config = ConfigDict(frozen=False, extra="forbid")


class Thawed(Base):
    Config: ClassVar[type[TransformConfig]] = ThawedConfig


class LaxConfig(StftConfig):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Lax(Base):
    Config: ClassVar[type[TransformConfig]] = LaxConfig


class Unpromising(Base):
    min_snr_db = None  # type: ignore[assignment]


FAULTS: dict[type[Base], Check] = {
    Late: lambda c: c.test_an_impulse_appears_at_its_time(16_000, 0.5),
    Sharp: lambda c: c.test_a_sine_appears_at_its_frequency(16_000),
    Loud: lambda c: c.test_a_tone_of_amplitude_1_has_magnitude_1(16_000),
    Heavy: lambda c: c.test_weights_add_up_to_the_area(16_000),
    HalvesTheFirst: lambda c: c.test_blocks_equal_the_whole(2, True),
    SilentNan: lambda c: c.test_silence_gives_zeros(4_000),
    Normalized: lambda c: c.test_blocks_equal_the_whole(0, True),
    MixesChannels: lambda c: c.test_channels_are_analysed_like_recordings_of_their_own(),
    OneFrameTooMany: lambda c: [c.test_blocks_equal_the_whole(seed, True) for seed in range(4)] and None,
    ShortHalo: lambda c: c.test_blocks_equal_the_whole(1, True),
    Noisy: lambda c: c.test_round_trip_keeps_its_promise("noise", 16_000, None),
    IgnoresGains: lambda c: c.test_gains_of_zero_give_silence(),
    Rounds: lambda c: c.test_double_precision_is_kept(),
    WhiteTooLoud: lambda c: c.test_white_noise_of_variance_1_has_mean_square_1(44_100),
    Hoards: lambda c: c.test_memory_does_not_grow_with_length(),
    Flips: lambda c: c.test_gains_act_at_their_frequency(),
    Delays: lambda c: c.test_gains_act_at_their_time(),
    OneGainForAll: lambda c: c.test_gains_of_a_channel_act_on_it_alone(),
    Clips: lambda c: c.test_gains_may_be_of_any_size_and_sign(),
    Tilts: lambda c: c.test_white_noise_of_variance_1_has_mean_square_1(44_100),
    SoftLows: lambda c: c.test_a_tone_of_amplitude_1_has_magnitude_1(16_000),
    Ramps: lambda c: c.test_cells_are_as_wide_as_their_neighbours_are_far(),
    Thawed: lambda c: c.test_config_is_frozen(),
    Lax: lambda c: c.test_config_rejects_unknown_options(),
    Unpromising: lambda c: c.test_declares_what_the_contract_asks_for(),
}


class Undecided(Reassigned):
    """Moves points in time the wrong way."""

    def analyze(self, audio: Any, sample_rate: int, *, span: Span | None = None) -> PointSet:
        points = super().analyze(audio, sample_rate, span=span)
        (block,) = points.blocks
        centres = np.round(block.times * sample_rate / 256) * 256 / sample_rate
        return replace(points, blocks=(replace(block, times=np.clip(2 * centres - block.times, 0, None)),))


def test_impulses_of_scattered_points_are_looked_at() -> None:
    class Right(TransformConformance):
        transform = Reassigned

    class Wrong(TransformConformance):
        transform = Undecided

    Right().test_an_impulse_appears_at_its_time(16_000, 0.5)
    with pytest.raises(AssertionError, match="the points of an impulse lie"):
        Wrong().test_an_impulse_appears_at_its_time(16_000, 0.5)


def conformance(cls: type[Stft]) -> TransformConformance:
    class Tests(TransformConformance):
        transform = cls
        options: ClassVar = {"n_fft": 256, "hop_length": 64, "window": "hann"}

    return Tests()


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.__name__)
def test_a_fault_is_found(cls: type[Base]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        FAULTS[cls](conformance(cls))


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.__name__)
def test_the_same_check_passes_without_the_fault(cls: type[Base]) -> None:
    FAULTS[cls](conformance(Base))


def test_without_an_inverse_the_tests_of_synthesis_are_skipped() -> None:
    class OneWay(Base):
        invertible = "none"  # type: ignore[assignment]
        min_snr_db = None  # type: ignore[assignment]

    tests = conformance(OneWay)
    tests.test_declares_what_the_contract_asks_for()
    with pytest.raises(pytest.skip.Exception):
        tests.test_round_trip_keeps_its_promise("noise", 16_000, None)
