"""What is missing, filled in by the model: gaps in time, holes in the spectrum, the band above a cutoff.

A missing point has no magnitude (NaN): the model is fitted to the others, and says what the missing one should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF, Activations
from inmf_flow.factorize.context import block_product
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.separation.supervised import as_transforms
from inmf_flow.transform import Transform, as_channels, checked_analysis, checked_halo, checked_synthesis

#: (start, stop) in seconds, or (start, stop, lowest, highest) in seconds and hertz.
Gap = Sequence[float]

# Spectra are held above this share of their largest power: what a model leaves out is rarely impossible.
_FLOOR = 1e-5
# A phase is all that is taken from a carrier; where it is silent there is none to take.
_MOST_GAIN = 1e4
# Longer than a voice's period several times, shorter than a sound: speech and music are at their best with these.
_FRAME_SECONDS, _UPDATES = 0.064, 30
# Hertz that the slope of a filter takes up at the cutoff.
_EDGE = 100.0

Float64 = NDArray[np.float64]


def inpaint(
    audio: ArrayLike,
    sample_rate: int,
    gaps: Sequence[Gap],
    *,
    model: INMF | None = None,
    transform: Transform | str = "stft:n_fft=1024,hop_length=256",
    phases: Literal["expected", "consistent"] = "expected",
    n_components: int = 30,
    max_iter: int = 100,
    rounds: int = 5,
    random_state: int = 0,
) -> NDArray[Any]:
    """Fill gaps of a recording with what its own sound, or a model of such sound, leads one to expect.

    Parameters
    ----------
    audio
        [samples] or [channels, samples], floating point. What it holds in a gap makes no difference.
    sample_rate
        Hertz.
    gaps
        Stretches (start, stop) in seconds of which nothing is known, or holes (start, stop, lowest, highest) in seconds
        and hertz, in which the spectrum is not known.
    model
        A fitted model whose templates explain the recording; by default one is fitted to what is known of it.
    transform
        An invertible transform of one grid, or its spec.
    phases
        For gaps in time. ``"expected"``: samples get the mean that a Gaussian process with the model's spectra has in
        the gap, given the samples around it (as in Bilen, Ozerov & Perez, "Solving time-domain audio inverse problems
        using nonnegative tensor factorization", IEEE TSP 2018, frame by frame). It has the least squared error, and
        fades where the gap is long. ``"consistent"``: magnitudes are the model's, and phases such that frames agree
        with each other and with the known samples (Griffin & Lim, IEEE TASSP 1984, with known samples put back in
        each round); it does not fade. Holes have phases of the second kind.
    n_components, random_state
        Of the model that is fitted where none is given.
    max_iter
        Updates of that model and of activations.
    rounds
        How often spectra and samples are estimated in turn; phases that are consistent take ten times as many rounds.

    Returns
    -------
    filled
        Audio of the same shape. Samples outside of gaps are those given; a hole leaves all that lies outside of it to
        within the transform's leakage.

    Raises
    ------
    ArgumentError
        When a gap lies outside of the recording, gaps leave nothing to learn from, or the transform does not fit.
    """
    samples, mono = as_channels(audio, "inpaint")
    if rounds < 1:
        raise ArgumentError("rounds must be at least 1", got=rounds)
    if phases not in ("expected", "consistent"):
        raise ArgumentError("no such phases", got=repr(phases), expected="'expected' or 'consistent'")
    _check_model(model)
    (each,) = as_transforms(transform)
    limits = [_checked_gap(gap, samples.shape[-1] / sample_rate, sample_rate / 2) for gap in gaps]
    filled: NDArray[Any] = np.stack([
        _inpaint_channel(
            channel, sample_rate, limits, each, model, phases, rounds, max_iter,
            {"n_components": n_components, "random_state": random_state},
        )
        for channel in samples
    ])  # fmt: skip
    return filled[0] if mono else filled


def _check_model(model: INMF | None) -> None:
    if model is not None and model.context:
        raise ArgumentError(
            "templates with a context cannot say what is missing", got=f"context={model.context}", expected="context=0"
        )


def _checked_gap(gap: Gap, duration: float, nyquist: float) -> tuple[float, float, float, float]:
    values = [float(value) for value in gap]
    if len(values) == 2:
        values += [0.0, nyquist]
    if len(values) != 4:
        raise ArgumentError("a gap has the wrong form", got=gap, expected="(start, stop) or (start, stop, low, high)")
    start, stop, low, high = values
    if not (0 <= start < stop <= duration + 1e-9 and 0 <= low < high):
        raise ArgumentError("a gap does not lie in the recording", got=gap, expected=f"within 0 to {duration:.3f} s")
    return start, stop, low, high


def _inpaint_channel(
    audio: NDArray[Any],
    sample_rate: int,
    gaps: Sequence[tuple[float, float, float, float]],
    transform: Transform,
    model: INMF | None,
    phases: str,
    rounds: int,
    max_iter: int,
    options: dict[str, Any],
) -> NDArray[Any]:
    in_time = [gap for gap in gaps if gap[2] <= 0 and gap[3] >= sample_rate / 2]
    holes = [gap for gap in gaps if gap not in in_time]
    known = np.ones(audio.shape, bool)
    for start, stop, *_ in in_time:
        known[round(start * sample_rate) : round(stop * sample_rate)] = False
    start_audio = np.where(known, audio, 0)
    points = checked_analysis(transform, start_audio, sample_rate)
    block = _only_grid(points)
    reach = [side / sample_rate for side in checked_halo(transform, sample_rate)]
    touched, holed = np.zeros((2, *block.magnitudes.shape), bool)
    for start, stop, *_ in in_time:
        touched[:, (block.times > start - reach[1]) & (block.times < stop + reach[0])] = True
    for start, stop, low, high in holes:
        rows = (block.frequencies >= low) & (block.frequencies <= high)
        holed |= np.outer(rows, (block.times >= start) & (block.times <= stop))
    missing = touched | holed
    if missing.all():
        raise ArgumentError("gaps leave nothing to learn from", got=f"{len(gaps)} gaps in {len(audio)} samples")
    if not missing.any() or not np.abs(start_audio).max():
        return start_audio
    if model is None:
        model = INMF(max_iter=max_iter, **options).fit(_without(points, block, missing))
    gap = np.flatnonzero(missing.all(0))
    activations = model.transform(_without(points, block, missing), max_iter=max_iter)
    if len(gap):
        # Frames of which nothing is known tell nothing of their activations: these go straight from side to side.
        sides = np.setdiff1d(np.arange(len(block.times)), gap)
        activations = Activations(block.times[sides], activations(block.times[sides]))
    filled = start_audio
    target = _magnitudes(model, activations, block)
    if not known.all():
        filled = _expected(filled, sample_rate, known, model, activations, rounds)
        if phases == "consistent":
            guess = _consistent(filled, sample_rate, transform, target, touched, 10 * rounds, known)
            filled = np.where(known, filled, guess)
    if holed.any():
        filled = _consistent(filled, sample_rate, transform, target, holed, 10 * rounds)
    return filled.astype(audio.dtype, copy=False)


def _without(points: PointSet, block: GridBlock, missing: NDArray[np.bool_]) -> PointSet:
    """Return the points with NaN where they are missing."""
    magnitudes = np.where(missing, np.float32(np.nan), block.magnitudes)
    return replace(points, blocks=(replace(block, magnitudes=magnitudes, coefficients=None),), synthesis=None)


def _magnitudes(model: INMF, activations: Activations, block: GridBlock) -> NDArray[np.float32]:
    """Return the magnitudes [F, T] that the model expects at a grid's points."""
    modelled = block_product(block, model.templates(block.frequencies), activations(block.times))
    return np.asarray(np.maximum(modelled, 0) ** np.float32(1 / model.power), np.float32)


def _only_grid(points: PointSet) -> GridBlock:
    block = points.blocks[0]
    if len(points.blocks) != 1 or not isinstance(block, GridBlock):
        raise ArgumentError(
            "missing points need a transform of one grid", got=f"{len(points.blocks)} blocks", expected="such as stft"
        )
    return block


def _expected(
    audio: NDArray[Any],
    sample_rate: int,
    known: NDArray[np.bool_],
    model: INMF,
    activations: Activations,
    rounds: int,
) -> NDArray[Any]:
    """Return audio [N] with the mean of unknown samples in place of zeros.

    Frames of their own, since a frame's unknown samples must be told from its known ones: in each the sound is a
    circular Gaussian process, whose spectrum the model gives at any frequency and time. Its conditional mean and
    covariance give the spectrum that the model is then held against.
    """
    length = max(2 * round(_FRAME_SECONDS / 2 * sample_rate), 16)
    hop, pad = length // 4, length
    window = np.sin(np.pi * (np.arange(length) + 0.5) / length)
    x = np.pad(np.where(known, audio, 0).astype(np.float64), pad)
    seen = np.pad(known, pad, constant_values=True)
    starts = [first for first in range(0, len(x) - length + 1, hop) if not seen[first : first + length].all()]
    # The shape of a grid of these frames, for which the model is asked.
    times = (np.array(starts) - pad + length / 2) / sample_rate
    hertz = np.fft.rfftfreq(length, 1 / sample_rate)
    inside = times + pad / sample_rate
    unit = 2 / window.sum()
    frames = np.zeros((len(starts), length))
    for number in range(rounds):
        grid = GridBlock.build(inside, hertz, np.zeros((len(hertz), len(inside)), np.float32))
        spectra = (_magnitudes(model, activations, replace(grid, times=times)).astype(np.float64) / unit) ** 2
        powers = np.empty_like(spectra)
        for place, first in enumerate(starts):
            here = slice(first, first + length)
            frames[place], powers[:, place] = _conditional(x[here] * window, seen[here], spectra[:, place])
        if number + 1 < rounds:
            held = PointSet((replace(grid, magnitudes=(np.sqrt(powers) * unit).astype(np.float32)),))
            found = model.transform(held, max_iter=_UPDATES)
            activations = Activations(times, found(inside))
    total, norm = np.zeros(len(x)), np.zeros(len(x))
    for frame, first in zip(frames, starts, strict=True):
        total[first : first + length] += frame * window
        norm[first : first + length] += window**2
    unknown = ~seen
    x[unknown] = total[unknown] / norm[unknown]
    return x[pad:-pad].astype(audio.dtype)


def _conditional(frame: Float64, seen: NDArray[np.bool_], power: Float64) -> tuple[Float64, Float64]:
    """Return the mean of a windowed frame [N] given its known samples, and the expected power of its spectrum [F]."""
    peak = power.max()
    if not peak > 0:
        return np.where(seen, frame, 0), np.zeros(len(power))
    if not seen.any():
        return np.zeros(len(frame)), power
    inverse = 1 / np.maximum(power, _FLOOR * peak)
    row = np.fft.irfft(inverse, len(frame))
    gap = np.flatnonzero(~seen)
    mean = np.where(seen, frame, 0)
    pull = np.fft.irfft(np.fft.rfft(mean) * inverse, len(frame))[gap]
    mean[gap], summed = _solved(row, gap, -pull)
    # A spectrum's variance is the transform of the covariance summed over equal lags, whose eigenvalues are power / N.
    variance = np.maximum(np.fft.rfft(summed).real, 0) / len(frame)
    return mean, np.abs(np.fft.rfft(mean)) ** 2 + variance


def _solved(row: Float64, gap: NDArray[np.int_], right: Float64) -> tuple[Float64, Float64]:
    """Solve with the part of a circular symmetric matrix that belongs to the samples of a gap, [M].

    Returns
    -------
    solution, summed
        [M], and the sums over equal (circular) lags of the inverse, [N].
    """
    from scipy.linalg import cho_factor, cho_solve, solve_toeplitz

    size, count = len(row), len(gap)
    if gap[-1] - gap[0] + 1 > count:
        lags = (gap[:, None] - gap) % size
        factor = cho_factor(row[lags], lower=True)
        inverse = cho_solve(factor, np.eye(count))
        summed = np.bincount(lags.ravel(), weights=inverse.ravel(), minlength=size).astype(np.float64)
        return np.asarray(cho_solve(factor, right), np.float64), summed
    # One gap makes the part a Toeplitz matrix: Levinson's recursion, and the sums of its inverse from its first column
    # (Musicus, "Fast MLM power spectrum estimation from uniformly spaced correlations", IEEE TASSP 1985).
    first = solve_toeplitz(row[:count], np.eye(count, 1)[:, 0])
    places = np.arange(count)
    products = np.correlate(first, first, "full")[count - 1 :]
    moments = np.correlate(first, places * first, "full")[count - 1 :]
    sums = ((count - places) * products - 2 * moments) / first[0]
    summed = np.zeros(size)
    np.add.at(summed, places, sums)
    np.add.at(summed, -places[1:] % size, sums[1:])
    return np.asarray(solve_toeplitz(row[:count], right), np.float64), summed


def _consistent(
    audio: NDArray[Any],
    sample_rate: int,
    transform: Transform,
    target: NDArray[np.float32],
    missing: NDArray[np.bool_],
    rounds: int,
    known: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Return audio whose missing points have the target's magnitudes and phases that agree with the rest.

    Samples that are known are put back in each round.
    """

    def part(points: PointSet, gains: NDArray[Any]) -> NDArray[Any]:
        return checked_synthesis(transform, points, [gains.astype(np.float32)], len(audio))

    given = checked_analysis(transform, audio, sample_rate)
    rest = part(given, ~missing)
    # Phases have to begin somewhere: with a noise far below what sounds.
    level = 1e-3 * np.sqrt(np.mean(np.square(audio, dtype=np.float64)))
    current = audio + level * np.random.default_rng(0).standard_normal(len(audio)).astype(audio.dtype)
    for _ in range(rounds):
        points = checked_analysis(transform, current, sample_rate)
        found = points.blocks[0].magnitudes
        gains = np.where(missing, target / np.maximum(found, target / _MOST_GAIN + 1e-30), 0)
        current = rest + part(points, gains)
        if known is not None:
            current = np.where(known, audio, current)
    return np.asarray(current)


def extend_bandwidth(
    audio: ArrayLike,
    sample_rate: int,
    model: INMF,
    cutoff: float,
    *,
    transform: Transform | str = "stft:n_fft=1024,hop_length=256",
    max_iter: int = 100,
) -> NDArray[Any]:
    """Give a recording that ends at a cutoff the band above it.

    Activations are fitted to what lies below the cutoff, and the model's templates say what goes with it above (as in
    Sun & Mazumder, "Non-negative matrix completion for bandwidth extension", MLSP 2013, with templates learned before).
    Phases, and what is harmonic of the fine structure, are the low band's, moved up.

    Parameters
    ----------
    audio
        [samples] or [channels, samples], floating point, at a rate that has room for the new band: resample it first.
    sample_rate
        Hertz.
    model
        Fitted to wide-band recordings of the same kind of sound.
    cutoff
        Hertz at which the recording ends.
    transform
        An invertible transform of one grid, or its spec.
    max_iter
        Updates of the activations.

    Returns
    -------
    extended
        Audio of the same shape: what was given, plus a band from ``cutoff`` to the model's highest frequency.

    Raises
    ------
    ArgumentError
        When the cutoff is no frequency below the model's highest and the Nyquist frequency.
    """
    samples, mono = as_channels(audio, "extend_bandwidth")
    _check_model(model)
    highest = min(sample_rate / 2, model.max_frequency_)
    if not 0 < cutoff < highest:
        raise ArgumentError(
            "there is no band to add", where="cutoff", got=cutoff, expected=f"hertz, below {highest:.0f}"
        )
    (each,) = as_transforms(transform)
    extended: NDArray[Any] = np.stack([_extend_channel(x, sample_rate, model, cutoff, each, max_iter) for x in samples])
    return extended[0] if mono else extended


def _extend_channel(
    audio: NDArray[Any], sample_rate: int, model: INMF, cutoff: float, transform: Transform, max_iter: int
) -> NDArray[Any]:
    low = checked_analysis(transform, audio, sample_rate)
    # Half the edge below the cutoff: a filter's slope is no part of the sound.
    activations = model.transform(low.below(cutoff - _EDGE / 2).without_synthesis(), max_iter=max_iter)
    carrier = checked_analysis(transform, _carrier(audio, sample_rate, cutoff), sample_rate)
    block = _only_grid(carrier)
    wanted = (block.frequencies >= cutoff) & (block.frequencies <= model.max_frequency_)
    target = np.where(wanted[:, None], _magnitudes(model, activations, block), 0)
    gains = np.minimum(target / np.maximum(block.magnitudes, 1e-30), _MOST_GAIN)
    high = checked_synthesis(transform, carrier, [gains.astype(np.float32)], len(audio))
    return np.asarray(audio + high.astype(audio.dtype, copy=False))


def _carrier(audio: NDArray[Any], sample_rate: int, cutoff: float) -> NDArray[Any]:
    """Return the low band moved up by as much as it is wide, as often as there is room, with a whisper of noise."""
    spectrum = np.fft.rfft(audio)
    step = max(round(cutoff * len(audio) / sample_rate), 1)
    moved = spectrum[np.arange(len(spectrum)) % step]
    carrier = np.fft.irfft(moved, len(audio))
    level = 1e-4 * np.sqrt(np.mean(np.square(audio, dtype=np.float64)))
    noise = np.random.default_rng(0).standard_normal(len(audio))
    return np.asarray(carrier + level * noise, audio.dtype)
