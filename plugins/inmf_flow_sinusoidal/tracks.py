"""Partials: peaks that follow one another, with the gaps filled, and the audio they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inmf_flow_sinusoidal.links import LinkRules, followers, leaders, long_enough, needless
from inmf_flow_sinusoidal.oscillators import add_segments, cubic_phase
from inmf_flow_sinusoidal.peaks import Maxima, Peaks, smoothing

Index = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Partial:
    """One partial.

    Attributes
    ----------
    times, frequencies
        Seconds and hertz, [N].
    amplitudes
        [N], or [C, N] for audio with a channel axis.
    """

    times: Float64
    frequencies: Float64
    amplitudes: Float64


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points of partials, one in every frame in which a partial is, ordered by frame, then frequency.

    Attributes
    ----------
    frames, frequencies
        The frame's number and hertz, [P].
    amplitudes
        Complex amplitudes at the frame's centre, [C, P].
    following
        Which of these points comes next in the partial, or -1, [P].
    begins, ends
        Whether the partial begins or ends here; one may also go on among points that are not here.
    """

    frames: Index
    frequencies: Float64
    amplitudes: NDArray[np.complex128]
    following: Index
    begins: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, which: Index) -> Tracks:
        """Return the chosen points; links to others are cut, without making beginnings or ends."""
        place = np.full(len(self) + 1, -1, np.int64)
        place[which] = np.arange(len(which))
        return Tracks(
            self.frames[which],
            self.frequencies[which],
            self.amplitudes[:, which],
            place[self.following[which]],
            self.begins[which],
            self.ends[which],
        )

    def audio(self, first: int, count: int, hop: int, rate: int, gains: NDArray[np.floating] | None = None) -> Float64:
        """Return the sum of the partials.

        Between two points the phase is a cubic and the amplitude a straight line; a partial fades in from the frame
        before its first point and out until the one after its last.

        Parameters
        ----------
        first, count
            The frame at which the audio begins, and how many intervals it lasts.
        hop, rate
            Samples between frames, and hertz.
        gains
            What amplitudes are multiplied by, [P] or [C, P]; 1 by default.

        Returns
        -------
        audio
            Shape [C, count * hop].
        """
        target = np.zeros((len(self.amplitudes), count, hop))
        amplitudes, phases = np.abs(self.amplitudes), np.angle(self.amplitudes)
        if gains is not None:
            amplitudes = amplitudes * gains
        speed = self.frequencies * (2 * np.pi / rate)
        interval = self.frames - first
        born = np.flatnonzero(self.begins & (interval >= 1) & (interval <= count))
        linked = np.flatnonzero((self.following >= 0) & (interval >= 0) & (interval < count))
        dying = np.flatnonzero(self.ends & (interval >= 0) & (interval < count))
        after = self.following[linked]
        through = cubic_phase((phases[:, linked], speed[linked]), (phases[:, after], speed[after]), hop)
        zero = np.zeros(1)
        silent = np.zeros_like
        parts = (
            (interval[linked], through, amplitudes[:, linked], amplitudes[:, after]),
            (
                interval[born] - 1,
                (phases[:, born] - speed[born] * hop, speed[born], zero, zero),
                silent(amplitudes[:, born]),
                amplitudes[:, born],
            ),
            (
                interval[dying],
                (phases[:, dying], speed[dying], zero, zero),
                amplitudes[:, dying],
                silent(amplitudes[:, dying]),
            ),
        )
        for where, coefficients, start, stop in parts:
            add_segments(target, where, coefficients, start, stop)
        return target.reshape(len(target), count * hop)

    def chains(self) -> list[Index]:
        """Return the points of each partial, in the order of their first points."""
        chains = []
        for start in np.flatnonzero(leaders(self.following) < 0):
            chain = [int(start)]
            while self.following[chain[-1]] >= 0:
                chain.append(int(self.following[chain[-1]]))
            chains.append(np.array(chain))
        return chains


def track(peaks: Peaks, maxima: Maxima, hop: int, rate: int, length: int, rules: LinkRules) -> Tracks:
    """Link peaks to partials, leave out those that are too short, and fill the gaps.

    Parameters
    ----------
    peaks, maxima
        Of consecutive frames; partials are true ``rules.reach`` frames from the first and the last of them.
    hop, rate, length
        Samples between frames, hertz, and samples in the window.
    rules
        What may follow what.
    """
    following = followers(peaks, maxima, hop / rate, rules)
    frequencies = _straightened(peaks, following, hop / rate, length / rate)
    kept = np.flatnonzero(long_enough(peaks.frames, following, rules.frames) & ~needless(peaks, following, rules))
    found = Tracks(
        peaks.frames,
        np.clip(frequencies, 0, rate / 2),
        peaks.amplitudes,
        following,
        leaders(following) < 0,
        following < 0,
    ).take(kept)
    return _filled(found, hop, rate)


def _straightened(peaks: Peaks, following: Index, seconds: float, window: float) -> Float64:
    """Return frequencies corrected for their bend, which the window has averaged away.

    A window sees a mean of the frequency's course. It is off by the course's second derivative times a known factor,
    and that derivative is told by the slopes of the peaks before and after in the same partial.
    """
    before = leaders(following)
    own = np.arange(len(peaks))
    # Across a gap the slopes are of another time.
    late = np.where((following >= 0) & (peaks.frames[following] == peaks.frames + 1), following, own)
    early = np.where((before >= 0) & (peaks.frames[before] == peaks.frames - 1), before, own)
    steps = peaks.frames[late] - peaks.frames[early]
    bend = (peaks.slopes[late] - peaks.slopes[early]) / (np.maximum(steps, 1) * seconds)
    corrected: Float64 = peaks.frequencies - smoothing() * window**2 * bend
    return corrected


def _filled(tracks: Tracks, hop: int, rate: int) -> Tracks:
    """Return the tracks with points in every frame of their gaps, on the cubic phase from end to beginning."""
    start = np.flatnonzero(tracks.following >= 0)
    stop = tracks.following[start]
    distance = tracks.frames[stop] - tracks.frames[start]
    start, stop, distance = (part[distance > 1] for part in (start, stop, distance))
    if not len(start):
        return tracks
    missing = distance - 1
    which = np.repeat(np.arange(len(start)), missing)
    step = np.arange(len(which)) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    share = step / distance[which]
    speed = tracks.frequencies * (2 * np.pi / rate)
    phases, levels = np.angle(tracks.amplitudes), np.abs(tracks.amplitudes)
    cubic = cubic_phase(
        (phases[:, start], speed[start]), (phases[:, stop], speed[stop]), (distance * hop).astype(np.float64)
    )
    constant, linear, square, cube = (np.broadcast_to(part, phases[:, start].shape)[:, which] for part in cubic)
    time = step * float(hop)
    phase = ((cube * time + square) * time + linear) * time + constant
    level = levels[:, start][:, which] * (1 - share) + levels[:, stop][:, which] * share
    one, other = tracks.frequencies[start][which], tracks.frequencies[stop][which]
    added = len(tracks) + np.arange(len(which))
    following = np.concatenate([tracks.following, np.where(step < missing[which], added + 1, stop[which])])
    following[start] = added[step == 1]
    neither = np.zeros(len(which), bool)
    filled = Tracks(
        np.concatenate([tracks.frames, tracks.frames[start][which] + step]),
        np.concatenate([tracks.frequencies, one * (1 - share) + other * share]),
        np.concatenate([tracks.amplitudes, level * np.exp(1j * phase)], axis=1),
        following,
        np.concatenate([tracks.begins, neither]),
        np.concatenate([tracks.ends, neither]),
    )
    return filled.take(np.lexsort((filled.frequencies, filled.frames)))
