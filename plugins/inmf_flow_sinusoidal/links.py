"""From peaks to partials: which peak follows which. Everything is local, so that blocks equal the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inmf_flow_sinusoidal.peaks import Maxima, Peaks

Index = NDArray[np.int64]
Float64 = NDArray[np.float64]
# A link whose cost is above this is none; each of its three terms is 1 at its own limit.
_MOST_COST = 1.0
# Frames that a run of peaks must last for before a gap beside it may be bridged: a slope told by fewer leads astray.
BRIDGED_RUN = 3
# Parts of the runs beside a gap that tell where it leads, as the first peak from the gap and the number of peaks: those
# at its edge, or others, since what hides a partial bends it before.
_EDGES = ((0, 3), (3, 3))


@dataclass(frozen=True)
class LinkRules:
    """Limits of what may follow what.

    Attributes
    ----------
    frequency
        Hertz between where a peak is and where the slopes of both say it should be.
    decibels
        Change of the amplitude from one to the next.
    gap
        Most frames without a peak within a partial.
    lobe
        Hertz from a gap's course within which another maximum hides a peak: half the window's main lobe.
    frames
        Least length of a partial, gaps included.
    """

    frequency: float
    decibels: float
    gap: int
    lobe: float
    frames: int

    @property
    def reach(self) -> int:
        """Frames before and after a frame on which the partials there depend."""
        # A bridge over a gap depends on rivals as far as another gap away, and on their runs; what a bridge makes
        # needless is shorter than a gap; and a partial's least length depends on as many frames on either side.
        return self.frames + 3 * (self.gap + 1) + max(BRIDGED_RUN, *map(sum, _EDGES)) + 1


def followers(peaks: Peaks, maxima: Maxima, seconds: float, rules: LinkRules) -> Index:
    """Return for each peak the one that follows it, perhaps after a gap, or -1: [P].

    Peaks of neighbouring frames are assigned to each other at the least total cost, where leaving two unlinked costs as
    much as the worst link that is allowed (R. J. McAulay and T. F. Quatieri, "Speech analysis/synthesis based on a
    sinusoidal representation", IEEE Trans. ASSP 34(4), 1986, link greedily). Then ends are joined with later
    beginnings where each is the other's best and the frames between have maxima that may hide the partial: where two
    cross they share one, while silence has none.

    Parameters
    ----------
    peaks, maxima
        Of consecutive frames.
    seconds
        Between frames.
    rules
        The limits.
    """
    following = _neighbours(peaks, seconds, rules)
    if rules.gap and len(peaks):
        ends, begins = _bridges(peaks, maxima, following, seconds, rules)
        following[ends] = begins
    return following


def leaders(following: Index) -> Index:
    """Return for each peak the one before it, or -1."""
    before = np.full(len(following), -1, np.int64)
    linked = np.flatnonzero(following >= 0)
    before[following[linked]] = linked
    return before


def long_enough(frames: Index, following: Index, least: int) -> NDArray[np.bool_]:
    """Return whether each peak is in a partial that lasts so many frames."""
    before = leaders(following)
    first, last = (np.arange(len(following)) for _ in range(2))
    for _ in range(least - 1):
        first = np.where(before[first] >= 0, before[first], first)
        last = np.where(following[last] >= 0, following[last], last)
    lasting: NDArray[np.bool_] = frames[last] - frames[first] + 1 >= least
    return lasting


def _neighbours(peaks: Peaks, seconds: float, rules: LinkRules) -> Index:
    following = np.full(len(peaks), -1, np.int64)
    if not len(peaks):
        return following
    numbers = np.arange(peaks.frames[0], peaks.frames[-1] + 2)
    edges = np.searchsorted(peaks.frames, numbers)
    decibels = 20 * np.log10(peaks.levels)
    for low, middle, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        if low == middle or middle == high:
            continue
        now, then = slice(low, middle), slice(middle, high)
        cost = _cost(
            (peaks.frequencies[now, None], peaks.slopes[now, None], decibels[now, None]),
            (peaks.frequencies[then], peaks.slopes[then], decibels[then]),
            seconds,
            rules,
        )
        rows, columns = _assign(np.minimum(cost, _MOST_COST))
        linked = cost[rows, columns] < _MOST_COST
        following[low + rows[linked]] = middle + columns[linked]
    return following


def _assign(cost: Float64) -> tuple[Index, Index]:
    """Return rows and columns of least total cost, of a matrix that holds the most cost wherever no link is allowed."""
    allowed = cost < _MOST_COST
    if allowed.sum(axis=0).max() <= 1 and allowed.sum(axis=1).max() <= 1:
        # Nobody competes: most frames of most music.
        rows, columns = np.nonzero(allowed)
    else:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(cost)
    return rows.astype(np.int64), columns.astype(np.int64)


def _cost(
    one: tuple[Float64, Float64, Float64],
    other: tuple[Float64, Float64, Float64],
    seconds: Float64 | float,
    rules: LinkRules,
) -> Float64:
    """Return the cost of a link between peaks, of which frequency, slope and decibels are given.

    A sum of three squares, each 1 at its limit: of the difference from the frequency that the mean slope leads to, of
    half the change that the other slope would make to it, and of the change of the amplitude.
    """
    course = other[0] - one[0] - 0.5 * (one[1] + other[1]) * seconds
    turn = 0.5 * (other[1] - one[1]) * seconds
    cost: Float64 = (course**2 + turn**2) / rules.frequency**2 + ((other[2] - one[2]) / rules.decibels) ** 2
    return cost


def _bridges(peaks: Peaks, maxima: Maxima, following: Index, seconds: float, rules: LinkRules) -> tuple[Index, Index]:
    """Return ends and beginnings of runs that belong together over a gap."""
    before = leaders(following)
    lasting = long_enough(peaks.frames, following, BRIDGED_RUN)
    ends = np.flatnonzero((following < 0) & lasting)
    begins = np.flatnonzero((before < 0) & lasting)
    pairs = []
    for distance in range(1, rules.gap + 2):
        low = np.searchsorted(peaks.frames[begins], peaks.frames[ends] + distance)
        high = np.searchsorted(peaks.frames[begins], peaks.frames[ends] + distance, side="right")
        counts = high - low
        which = np.repeat(np.arange(len(ends)), counts)
        others = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
        pairs.append(np.stack([ends[which], begins[others]]))
    end, begin = np.concatenate(pairs, axis=1)
    cost = np.minimum(
        *(_bridge_cost(peaks, (before, following), (end, begin), part, seconds, rules) for part in _EDGES)
    )
    allowed = cost < _MOST_COST
    allowed[allowed] = _is_hidden(peaks, maxima, end[allowed], begin[allowed], rules)
    end, begin, cost = end[allowed], begin[allowed], cost[allowed]
    # Of bridges that are about as good the shorter one: what lies in a longer one's gap may be the partial itself.
    cost = cost + _MOST_COST * (peaks.frames[begin] - peaks.frames[end]) / (rules.gap + 1)
    mutual = _is_best(end, begin, cost) & _is_best(begin, end, cost)
    return end[mutual], begin[mutual]


def _is_hidden(peaks: Peaks, maxima: Maxima, end: Index, begin: Index, rules: LinkRules) -> NDArray[np.bool_]:
    """Return which gaps mostly have a maximum near their course that is about as loud as they, or louder.

    A third of the frames may have none: two that cross at opposite phases cancel each other for a moment.
    """
    which, frame, frequency = _courses(peaks, end, begin)
    least = np.minimum(peaks.levels[end], peaks.levels[begin])[which] * 10 ** (-rules.decibels / 20)
    hidden = _has_near(maxima.frames, maxima.frequencies, maxima.levels, (frame, frequency, least), rules.lobe)
    return np.bincount(which, weights=~hidden, minlength=len(end)) * 3 <= peaks.frames[begin] - peaks.frames[end] - 1


def needless(peaks: Peaks, following: Index, rules: LinkRules) -> NDArray[np.bool_]:
    """Return which peaks are in short runs that lie within others' gaps: the peak that two crossing partials share."""
    start = np.flatnonzero(following >= 0)
    start = start[peaks.frames[following[start]] - peaks.frames[start] > 1]
    _, frame, frequency = _courses(peaks, start, following[start])
    order = np.lexsort((frequency, frame))
    own = (peaks.frames, peaks.frequencies, np.zeros(len(peaks)))
    near = _has_near(frame[order], frequency[order], np.zeros(len(order)), own, rules.lobe)
    before = leaders(following)
    first = np.arange(len(peaks))
    for _ in range(rules.gap):
        first = np.where(before[first] >= 0, before[first], first)
    apart = np.bincount(first, weights=~near, minlength=len(peaks))[first] > 0
    found: NDArray[np.bool_] = ~apart & ~long_enough(peaks.frames, following, rules.gap + 1)
    return found


def _courses(peaks: Peaks, end: Index, begin: Index) -> tuple[Index, Index, Float64]:
    """Return for each frame within gaps which gap it is of, its number, and the gap's frequency there."""
    missing = peaks.frames[begin] - peaks.frames[end] - 1
    which = np.repeat(np.arange(len(end)), missing)
    step = np.arange(len(which)) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    share = step / (missing + 1)[which]
    frequency = peaks.frequencies[end][which] * (1 - share) + peaks.frequencies[begin][which] * share
    return which, peaks.frames[end][which] + step, frequency


def _has_near(
    frames: Index, frequencies: Float64, levels: Float64, places: tuple[Index, Float64, Float64], distance: float
) -> NDArray[np.bool_]:
    """Return which places have a loud enough neighbour in their frame, among points ordered by frame, then frequency.

    A place is a frame, a frequency and the least level; its neighbours are the next lower and the next higher point.
    """
    frame, frequency, least = places
    # One rising axis of frames and frequencies, on which frames lie further apart than neighbours may.
    width = max(float(frequencies.max(initial=0)), float(frequency.max(initial=0))) + 2 * distance + 1
    axis = np.concatenate([[-np.inf], frames * width + frequencies, [np.inf]])
    padded = np.concatenate([[0], levels, [0]])
    place = frame * width + frequency
    above = np.searchsorted(axis, place)
    found = np.zeros(len(place), bool)
    for neighbour in (above - 1, above):
        found |= (np.abs(axis[neighbour] - place) <= distance) & (padded[neighbour] >= least)
    return found


def _bridge_cost(
    peaks: Peaks,
    steps: tuple[Index, Index],
    pair: tuple[Index, Index],
    part: tuple[int, int],
    seconds: float,
    rules: LinkRules,
) -> Float64:
    """Return the cost of bridges, told by a part of the runs on either side.

    Parameters
    ----------
    steps
        The peak before each, and the one after.
    pair
        Ends and beginnings.
    part
        How many peaks from the gap the part begins, where there are so many, and how many it holds.
    """
    (one, start), (other, stop) = (_edge(peaks, step, edge, part) for step, edge in zip(steps, pair, strict=True))
    return _cost(one, other, (stop - start).astype(np.float64) * seconds, rules)


def _edge(
    peaks: Peaks, step: Index, edge: Index, part: tuple[int, int]
) -> tuple[tuple[Float64, Float64, Float64], Index]:
    """Return frequency, slope and decibels that a part of the run away from each edge tells, and the part's frame."""
    at = edge
    for _ in range(part[0]):
        at = np.where(step[at] >= 0, step[at], at)
    place, slopes = at, np.zeros(len(at))
    for _ in range(part[1]):
        slopes += peaks.slopes[at]
        at = np.where(step[at] >= 0, step[at], at)
    levels: Float64 = peaks.levels[edge]
    return (peaks.frequencies[place], slopes / part[1], 20 * np.log10(levels)), peaks.frames[place]


def _is_best(mine: Index, other: Index, cost: Float64) -> NDArray[np.bool_]:
    """Return which pairs are the cheapest that their first member has."""
    order = np.lexsort((other, cost, mine))
    best = np.zeros(len(mine), bool)
    best[order[np.flatnonzero(np.diff(mine[order], prepend=-1))]] = True
    return best
