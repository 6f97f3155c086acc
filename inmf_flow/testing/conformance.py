"""`TransformConformance`: the tests that every transform passes, whoever wrote it."""

# The name of a test says what it proves.
# ruff: noqa: D102

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from inmf_flow.errors import InmfError
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.testing.gains import GainConformance, noise_levels
from inmf_flow.testing.measures import join_in_time, peak, relative_error, snr_db, time_centroids
from inmf_flow.testing.signals import SIGNALS, noise, silence
from inmf_flow.testing.trials import random_spans, wavy_gains
from inmf_flow.transform import API_VERSION, Span, Transform, analyze_in_blocks

RATES = (8_000, 16_000, 44_100, 48_000)
ODD_LENGTHS = (1, 2, 3, 5, 17, 160, 1_001, 4_097)
# Relative to the largest magnitude: single precision leaves about 1e-6.
BLOCKWISE_TOLERANCE = 1e-5


class TransformConformance(GainConformance):
    """Tests of one transform; pytest runs them from a subclass whose name begins with ``Test``.

    Attributes
    ----------
    transform
        The transform's class, or a function that takes its options and returns one.
    options
        The options to test it with; the defaults, where there are none.
    localizes_impulses
        False for a transform that does not show an impulse at its time, such as one of sinusoids.
    impulse_hops
        Local hops by which the centroid of an impulse's energy may miss its time: 0.5, or 1 for short real wavelets.
    joint_channels
        True where the points of several channels are found together, such as peaks of the sum of their spectra.
    real_coefficients
        True where coefficients are real and oscillate: a tone of amplitude 1 then has a root mean square of
        1 / sqrt(2) at the frequency that a band answers to most.
    scattered_tolerance
        Hertz by which a scattered point may miss a steady tone.
    scattered_spread
        Seconds, root mean square, by which scattered points may miss an impulse.
    gain_locality_db
        Decibels at which gains keep one tone and remove another, or a moment and the next; less where bands overlap
        widely, as those of the shortest wavelets do.

    Examples
    --------
    >>> from inmf_flow.testing import TransformConformance
    >>> class TestShortWindows(TransformConformance):  # doctest: +SKIP
    ...     transform = Stft
    ...     options = {"n_fft": 256}
    """

    transform: ClassVar[Callable[..., Transform]]
    options: ClassVar[Mapping[str, Any]] = {}
    localizes_impulses: ClassVar[bool] = True
    impulse_hops: ClassVar[float] = 0.5
    joint_channels: ClassVar[bool] = False
    real_coefficients: ClassVar[bool] = False
    scattered_tolerance: ClassVar[float] = 1.0
    scattered_spread: ClassVar[float] = 0.002
    gain_locality_db: ClassVar[float] = 20.0

    def make(self, **options: Any) -> Transform:
        """Return the transform with the tested options and some others."""
        return type(self).transform(**{**self.options, **options})

    def area(self, duration: float, sample_rate: int) -> float:
        """Return the area that the weights add up to; override it for a transform of part of the spectrum."""
        return duration * sample_rate / 2

    def steady_length(self, transform: Transform, sample_rate: int) -> int:
        """Return a number of samples that leave a stretch in the middle where no point depends on the ends."""
        context = sum(transform.halo(sample_rate))
        return context + context // 2 + sample_rate // 4

    def steady(self, transform: Transform, sample_rate: int) -> tuple[float, float]:
        """Return the seconds from which and to which no point of ``steady_length`` samples depends on the ends."""
        left, right = transform.halo(sample_rate)
        return left / sample_rate, (self.steady_length(transform, sample_rate) - right) / sample_rate

    def invertible(self, **options: Any) -> Transform:
        """Return the transform, or skip the test where it has no inverse."""
        transform = self.make(**options)
        if transform.invertible == "none":
            pytest.skip("the transform has no inverse, and says so")
        return transform

    # What it declares

    def test_declares_what_the_contract_asks_for(self) -> None:
        transform = self.make()
        assert transform.name, "name is missing"
        assert transform.api_version == API_VERSION, f"api_version is {transform.api_version}, not {API_VERSION}"
        assert transform.invertible in ("exact", "approximate", "none"), f"invertible is {transform.invertible!r}"
        promised = transform.min_snr_db
        assert (promised is None) == (transform.invertible == "none"), (
            f"invertible is {transform.invertible!r} but min_snr_db {promised!r}: an inverse makes a promise"
        )
        for rate in RATES:
            halo = transform.halo(rate)
            assert len(halo) == 2, f"halo({rate}) is {halo!r}; expected (left, right)"
            assert all(isinstance(side, int) and side >= 0 for side in halo), f"halo({rate}) is {halo!r}"

    def test_config_is_frozen(self) -> None:
        config = self.make().config
        for name in type(config).model_fields:
            with pytest.raises((ValueError, AttributeError)):
                setattr(config, name, getattr(config, name))

    def test_config_rejects_unknown_options(self) -> None:
        with pytest.raises(ValueError):
            self.make(no_such_option=1)

    def test_survives_pickling(self) -> None:
        transform = self.make()
        copy = pickle.loads(pickle.dumps(transform))
        assert copy.config == transform.config, "a pickled copy has another config: it cannot go to a worker"

    # What analysis gives

    @pytest.mark.parametrize("audio", [np.zeros(0), np.zeros((2, 0)), np.array([0.0, np.nan, 0.0])])
    def test_refuses_audio_that_is_empty_or_not_finite(self, audio: NDArray[np.float64]) -> None:
        with pytest.raises(InmfError):
            self.make().analyze(audio.astype(np.float32), 16_000)

    @pytest.mark.parametrize("samples", ODD_LENGTHS)
    def test_magnitudes_are_finite_and_not_negative(self, samples: int) -> None:
        points = self.make().analyze(noise(samples, 16_000), 16_000)
        for block in points.blocks:
            assert np.isfinite(block.magnitudes).all(), f"{samples} samples: NaN or infinite magnitudes"
            assert (block.magnitudes >= 0).all(), f"{samples} samples: negative magnitudes"

    def test_analysis_repeats_and_leaves_its_input_alone(self) -> None:
        audio = noise(3_001, 16_000)
        audio.flags.writeable = False
        first, second = (self.make().analyze(audio, 16_000) for _ in range(2))
        assert len(first.blocks) == len(second.blocks)
        for one, other in zip(first.blocks, second.blocks, strict=True):
            assert np.array_equal(one.magnitudes, other.magnitudes), "equal audio gives different magnitudes"

    @pytest.mark.parametrize("samples", [1, 4_000])
    def test_silence_gives_zeros(self, samples: int) -> None:
        points = self.make().analyze(silence(samples, 16_000), 16_000)
        for block in points.blocks:
            assert (block.magnitudes == 0).all(), "silence has magnitudes other than 0"

    def test_channels_are_analysed_like_recordings_of_their_own(self) -> None:
        transform, audio = self.make(), noise(4_001, 16_000, 2)
        stereo = transform.analyze(audio, 16_000)
        alone = [transform.analyze(channel, 16_000) for channel in audio]
        single = transform.analyze(audio[:1], 16_000)
        assert stereo.channels == 2, f"{stereo.channels} channels in the points of 2"
        for number, block in enumerate(stereo.blocks):
            axes = 2 if isinstance(block, GridBlock) else 1
            assert alone[0].blocks[number].magnitudes.ndim == axes, "[samples] must give no channel axis"
            assert single.blocks[number].magnitudes.shape[0] == 1, "[1, samples] must give a channel axis"
            if self.joint_channels or not isinstance(block, GridBlock):
                continue
            expected = np.stack([points.blocks[number].magnitudes for points in alone])
            error = relative_error(block.magnitudes, expected)
            assert error <= BLOCKWISE_TOLERANCE, f"block {number}: channels differ by {error:.1e} from mono"

    # Block by block

    @pytest.mark.parametrize("known_length", [True, False], ids=["length known", "length unknown"])
    @pytest.mark.parametrize("seed", range(4))
    def test_blocks_equal_the_whole(self, seed: int, known_length: bool) -> None:
        transform, rate = self.make(), 16_000
        audio = noise(self.steady_length(transform, rate) + seed, rate, 1 + seed % 2)
        length = audio.shape[-1]
        left, right = transform.halo(rate)
        parts = []
        for start, stop in random_spans(length, seed):
            low, high = max(start - left, 0), min(stop + right, length)
            # Who reads a stream knows its length when the context that is asked for runs out, not before.
            known = known_length or stop + right >= length
            span = Span(low, start, stop, length if known else None)
            parts.append(transform.analyze(audio[:, low:high], rate, span=span))
        self._assert_same_points(parts, transform.analyze(audio, rate))

    def _assert_same_points(self, parts: list[PointSet], whole: PointSet) -> None:
        got, expected = join_in_time(parts), join_in_time([whole])
        assert len(got) == len(expected), f"{len(got)} blocks of points; the whole has {len(expected)}"
        for number, (one, other) in enumerate(zip(got, expected, strict=True)):
            where = f"block {number}"
            assert one.magnitudes.shape == other.magnitudes.shape, (
                f"{where}: shape {one.magnitudes.shape}; the whole has {other.magnitudes.shape}"
            )
            assert np.allclose(one.times, other.times, rtol=0, atol=1e-9), f"{where}: other times than the whole"
            assert np.allclose(one.frequencies, other.frequencies), f"{where}: other frequencies than the whole"
            error = relative_error(one.magnitudes, other.magnitudes)
            assert error <= BLOCKWISE_TOLERANCE, f"{where}: magnitudes differ by {error:.1e} from the whole"
            error = relative_error(one.weights, other.weights)
            assert error <= 1e-4, f"{where}: weights differ by {error:.1e} from the whole"

    @pytest.mark.parametrize("seed", range(3))
    def test_synthesis_of_blocks_equals_that_of_the_whole(self, seed: int) -> None:
        transform, rate = self.invertible(), 16_000
        audio = noise(self.steady_length(transform, rate) + seed, rate, 2)
        length = audio.shape[-1]
        left, right = transform.halo(rate)
        points = transform.analyze(audio, rate)
        whole = transform.synthesize(points, wavy_gains(points))
        for start, stop in random_spans(length, seed):
            low, high = max(start - left - right, 0), min(stop + left + right, length)
            span = Span(low, max(start - right, 0), min(stop + left, length), length)
            points = transform.analyze(audio[:, low:high], rate, span=span)
            back = transform.synthesize(points, wavy_gains(points))
            error = np.abs(back[:, start - low : stop - low] - whole[:, start:stop]).max()
            assert error <= BLOCKWISE_TOLERANCE, f"samples {start} to {stop} differ by {error:.1e} from the whole"

    # Where the points are, and how large

    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("place", [0.301, 0.5, 0.677])
    def test_an_impulse_appears_at_its_time(self, rate: int, place: float) -> None:
        if not self.localizes_impulses:
            pytest.skip("the transform does not localize impulses, and says so")
        transform = self.make()
        audio = np.zeros(self.steady_length(transform, rate), np.float32)
        start, stop = self.steady(transform, rate)
        index = round((start + place * (stop - start)) * rate)
        audio[index] = 1
        points = transform.analyze(audio, rate)
        for block in points.blocks:
            if not isinstance(block, GridBlock) and block.n_points:
                energy = block.magnitudes.astype(np.float64) ** 2
                spread = float(np.sqrt(np.sum(energy * (block.times - index / rate) ** 2) / max(energy.sum(), 1e-30)))
                assert spread <= self.scattered_spread, (
                    f"the points of an impulse lie {spread:.4f} s from it; {self.scattered_spread:g} s are allowed"
                )
        for centroid, hop in time_centroids(points, index / rate):
            miss = abs(centroid - index / rate)
            assert miss <= self.impulse_hops * hop * 1.001, (
                f"an impulse at {index / rate:.4f} s appears at {centroid:.4f} s; the hop is {hop:.4f} s"
            )

    @pytest.mark.parametrize("rate", RATES)
    def test_a_sine_appears_at_its_frequency(self, rate: int) -> None:
        transform = self.make()
        # A quarter of a cell beside the centre, so that which cell is the nearest is beyond doubt.
        for frequency in self._frequencies(transform, rate, shift=0.25):
            found, width, _ = self._peak_of_tone(transform, rate, frequency)
            allowed = 0.5 * width * 1.001 if width else self.scattered_tolerance
            assert abs(found - frequency) <= allowed, (
                f"a sine of {frequency:.2f} Hz appears at {found:.2f} Hz; {allowed:.2f} Hz are allowed"
            )

    @pytest.mark.parametrize("rate", RATES)
    def test_a_tone_of_amplitude_1_has_magnitude_1(self, rate: int) -> None:
        transform = self.make()
        if transform.analyze(noise(64, rate), rate).calibration != "tone":
            pytest.skip("the magnitudes are not calibrated to tones")
        for frequency in self._frequencies(transform, rate, shift=0.0):
            level = self._peak_of_tone(transform, rate, frequency)[2]
            if self.real_coefficients:
                near = np.linspace(0.8, 1.25, 10) * frequency
                levels = [self._peak_of_tone(transform, rate, f)[2] for f in near if f < rate / 2]
                level = np.sqrt(2) * max(level, *levels)
            assert abs(level - 1) <= 0.02, f"a tone of amplitude 1 at {frequency:.2f} Hz has magnitude {level:.3f}"

    @pytest.mark.parametrize("rate", [8_000, 44_100])
    def test_white_noise_of_variance_1_has_mean_square_1(self, rate: int) -> None:
        if "calibration" not in type(self.make().config).model_fields:
            pytest.skip("the transform has no option calibration")
        transform = self.make(calibration="noise")
        samples = 4 * self.steady_length(transform, rate)
        points = transform.analyze(10 * noise(samples, rate), rate)
        assert points.calibration == "noise", f"the points say {points.calibration!r}; expected 'noise'"
        left, right = transform.halo(rate)
        for level, count in noise_levels(points, left / rate, (samples - right) / rate):
            allowed = 0.02 + 5 / np.sqrt(max(1, count))
            assert abs(level - 1) <= allowed, f"white noise has mean square {level:.3f} in a group of bands"

    @pytest.mark.parametrize("rate", RATES)
    def test_weights_add_up_to_the_area(self, rate: int) -> None:
        transform = self.make()
        samples = self.steady_length(transform, rate)
        points = transform.analyze(noise(samples, rate), rate)
        total = sum(float(block.weights.sum(dtype=np.float64)) for block in points.blocks)
        area = self.area(samples / rate, rate)
        assert abs(total / area - 1) <= 0.02, f"the weights add up to {total:.4g}; the area is {area:.4g} s x Hz"

    def test_cells_are_as_wide_as_their_neighbours_are_far(self) -> None:
        transform, rate = self.make(), 16_000
        points = transform.analyze(noise(self.steady_length(transform, rate), rate), rate)
        for number, block in enumerate(points.blocks):
            if not isinstance(block, GridBlock) or not block.frequency_weights.any():
                continue
            for centres, widths in ((block.frequencies, block.frequency_weights), (block.times, block.time_weights)):
                if len(centres) > 4:
                    distance = 0.5 * (centres[2:] - centres[:-2])
                    ratio = widths[1:-1] / distance
                    # Not where a recording ends: a last point may lie beyond it.
                    ratio = ratio[1:-1]
                    assert 0.4 < ratio.min() <= ratio.max() < 2.5, (
                        f"block {number}: cells are {ratio.min():.2f} to {ratio.max():.2f} of the points' distance wide"
                    )

    def _frequencies(self, transform: Transform, rate: int, shift: float) -> list[float]:
        points = transform.analyze(noise(self.steady_length(transform, rate), rate), rate)
        chosen: set[float] = set()
        for block in points.blocks:
            if not isinstance(block, GridBlock):
                chosen |= {0.05 * rate, 0.125 * rate, 0.2 * rate}
                continue
            count = len(block.frequencies)
            for index in {count // 16, count // 4, count // 2, 3 * count // 4}:
                width = float(block.frequency_weights[index])
                frequency = float(block.frequencies[index]) + shift * width
                # At the ends of the spectrum a real tone meets its own mirror image.
                if width > 0 and 2 * width < frequency < rate / 2 - 2 * width:
                    chosen.add(frequency)
        return sorted(chosen)

    def _peak_of_tone(self, transform: Transform, rate: int, frequency: float) -> tuple[float, float, float]:
        samples = self.steady_length(transform, rate)
        audio = np.sin(2 * np.pi * frequency * np.arange(samples) / rate + 0.4).astype(np.float32)
        points = transform.analyze(audio, rate)
        peaks = [peak(block, *self.steady(transform, rate)) for block in points.blocks]
        return max((found for found in peaks if found is not None), key=lambda found: found[2])

    # What synthesis gives back

    @pytest.mark.parametrize("channels", [None, 2], ids=["mono", "stereo"])
    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("signal", SIGNALS)
    def test_round_trip_keeps_its_promise(self, signal: str, rate: int, channels: int | None) -> None:
        self._assert_round_trip(SIGNALS[signal](rate // 4 + 1, rate, channels), rate)

    @pytest.mark.parametrize("channels", [None, 1, 2], ids=["mono", "one channel", "stereo"])
    @pytest.mark.parametrize("samples", ODD_LENGTHS)
    def test_round_trip_of_any_length(self, samples: int, channels: int | None) -> None:
        self._assert_round_trip(noise(samples, 16_000, channels), 16_000)

    def _assert_round_trip(self, audio: NDArray[np.float32], rate: int) -> None:
        transform = self.invertible()
        back = np.asarray(transform.synthesize(transform.analyze(audio, rate)))
        assert back.shape == audio.shape, f"synthesize returned shape {back.shape} of audio {audio.shape}"
        assert np.isfinite(back).all(), "synthesize returned NaN or infinite samples"
        measured, promised = snr_db(audio, back), transform.min_snr_db
        assert promised is not None, "min_snr_db is None"
        assert measured >= promised, f"the round trip has {measured:.1f} dB; {promised:g} dB are promised"

    def test_double_precision_is_kept(self) -> None:
        transform, audio = self.make(), noise(4_001, 16_000)
        single, double = (transform.analyze(audio.astype(kind), 16_000) for kind in (np.float32, np.float64))
        for one, other in zip(single.blocks, double.blocks, strict=True):
            if not isinstance(one, GridBlock):
                continue
            error = relative_error(one.magnitudes, other.magnitudes)
            assert error <= BLOCKWISE_TOLERANCE, f"magnitudes of float32 and float64 audio differ by {error:.1e}"
        if transform.invertible != "none":
            for points, kind in ((single, np.float32), (double, np.float64)):
                back = transform.synthesize(points)
                assert back.dtype == kind, f"synthesize returned {back.dtype} of {np.dtype(kind)} audio"

    def test_memory_does_not_grow_with_length(self) -> None:
        transform, rate = self.make(), 16_000
        block = max(sum(transform.halo(rate)), rate // 2)
        short, long = (self._peak_memory(transform, rate, block, blocks) for blocks in (4, 12))
        assert long <= 1.2 * short + 100_000, (
            f"12 blocks of {block} samples need {long} bytes and 4 need {short}: memory grows with the recording"
        )

    def _peak_memory(self, transform: Transform, rate: int, block: int, blocks: int) -> int:
        audio = (noise(block, rate, 1) for _ in range(blocks))
        tracemalloc.start()
        try:
            for points in analyze_in_blocks(transform, audio, rate, block):
                del points
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_points_without_phases_are_refused(self) -> None:
        transform = self.invertible()
        points = transform.analyze(noise(4_001, 16_000), 16_000).without_synthesis()
        with pytest.raises(InmfError):
            transform.synthesize(points)
