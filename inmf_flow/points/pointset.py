"""`PointSet`: the one currency between transforms, stores, fitting and separation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from inmf_flow.errors import PointsError
from inmf_flow.points.blocks import Block, GridBlock, ScatteredBlock, join_grids, join_scattered


@dataclass(frozen=True, eq=False)
class PointSet:
    """Points (seconds, hertz, magnitude) of one recording, as a list of blocks on one clock.

    Attributes
    ----------
    blocks
        Grid and scattered blocks; each has ``times``, ``frequencies``, ``magnitudes`` and ``weights``.
    sample_rate
        Hertz, of the audio that was analysed; None where there was none.
    duration
        Seconds that the points cover; None where it is not known.
    calibration
        What a magnitude of 1 means: ``"tone"``, ``"noise"``, or None for data of the user's own.
    synthesis
        What the transform that made the points keeps to invert them. Joined or stored points have none.
    """

    blocks: tuple[Block, ...]
    sample_rate: int | None = None
    duration: float | None = None
    calibration: str | None = None
    synthesis: Any = field(default=None, repr=False)

    @classmethod
    def from_grid(
        cls,
        times: ArrayLike,
        frequencies: ArrayLike,
        magnitudes: ArrayLike,
        *,
        duration: float | None = None,
        nyquist: float | None = None,
    ) -> PointSet:
        """Make a point set of one grid.

        Parameters
        ----------
        times, frequencies
            Rising seconds [T] and hertz [F].
        magnitudes
            Non-negative, [F, T] or [C, F, T]; NaN marks a missing point.
        duration, nyquist
            The range in seconds and hertz that the cells fill; by default the outermost cells are symmetric.

        Raises
        ------
        PointsError
            When shapes do not fit, axes do not rise, or values are not finite.

        Examples
        --------
        >>> points = PointSet.from_grid([0.0, 0.5], [100.0, 200.0, 300.0], np.ones((3, 2)))
        >>> points.n_points
        6
        """
        block = GridBlock.build(times, frequencies, magnitudes, duration=duration, nyquist=nyquist)
        return cls((block,), duration=duration)

    @classmethod
    def from_points(
        cls,
        times: ArrayLike,
        frequencies: ArrayLike,
        magnitudes: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        duration: float | None = None,
    ) -> PointSet:
        """Make a point set of scattered points: seconds [P], hertz [P], magnitudes [P] or [C, P], weights [P]."""
        block = ScatteredBlock.build(times, frequencies, magnitudes, weights=weights)
        return cls((block,), duration=duration)

    def __add__(self, other: PointSet) -> PointSet:
        """Join two point sets of the same recording on one clock."""
        if not isinstance(other, PointSet):
            return NotImplemented
        calibration = _same_calibration([self, other])
        if self.channels != other.channels:
            raise PointsError(
                "points of different numbers of channels cannot be joined",
                got=f"{self.channels} and {other.channels}",
                expected="the same number of channels",
            )
        blocks = tuple(block.without_coefficients() for block in (*self.blocks, *other.blocks))
        durations = [d for d in (self.duration, other.duration) if d is not None]
        return PointSet(
            blocks,
            sample_rate=self.sample_rate if self.sample_rate == other.sample_rate else None,
            duration=max(durations) if durations else None,
            calibration=calibration,
        )

    @staticmethod
    def end_to_end(parts: Sequence[PointSet], gap: float = 1.0) -> PointSet:
        """Lay several recordings one after the other on one time axis.

        Parameters
        ----------
        parts
            Point sets of single recordings, at least one; they may differ in rate and channels.
        gap
            Seconds of nothing between two recordings, so that no activation is shared across a border.
        """
        if not parts:
            raise PointsError("there is nothing to lay end to end", expected="at least one point set")
        blocks: list[Block] = []
        clock = 0.0
        for part in parts:
            blocks.extend(block.shifted(clock) for block in part.blocks)
            end = clock + part.end
            clock = end + gap
        rates = {part.sample_rate for part in parts}
        calibration = _same_calibration(parts)
        return PointSet(tuple(blocks), rates.pop() if len(rates) == 1 else None, end, calibration)

    @staticmethod
    def consecutive(parts: Iterable[PointSet]) -> PointSet:
        """Put the points of consecutive spans of one recording together, as one analysis of the whole would give them.

        Grids belong together when they have the same frequencies; phases are dropped.

        Parameters
        ----------
        parts
            At least one, in the order of time, as `inmf_flow.transform.analyze_in_blocks` gives them.
        """
        grids: dict[tuple[bytes, int], list[GridBlock]] = {}
        scattered: list[ScatteredBlock] = []
        last: PointSet | None = None
        for last in parts:
            seen: Counter[bytes] = Counter()
            for block in last.blocks:
                if isinstance(block, GridBlock):
                    key = block.frequencies.tobytes()
                    grids.setdefault((key, seen[key]), []).append(block.without_coefficients())
                    seen[key] += 1
                else:
                    scattered.append(block.without_coefficients())
        if last is None:
            raise PointsError("there are no parts to put together", expected="at least one point set")
        blocks: list[Block] = [join_grids(same) for same in grids.values()]
        if scattered:
            blocks.append(join_scattered(scattered))
        return replace(last, blocks=tuple(blocks), synthesis=None)

    @property
    def channels(self) -> int:
        """The number of channels that every block has."""
        return self.blocks[0].channels if self.blocks else 1

    @property
    def n_points(self) -> int:
        """The number of points over all blocks and channels."""
        return sum(block.n_points for block in self.blocks)

    @property
    def end(self) -> float:
        """Seconds at which the recording ends: its duration, or its last point where that is later or unknown."""
        last = max((float(b.times.max()) for b in self.blocks if b.times.size), default=0.0)
        return max(last, self.duration or 0.0)

    @property
    def max_frequency(self) -> float:
        """Hertz of the highest frequency on which some point has weight; 0 for no points."""
        tops = [
            float(b.frequencies[(b.frequency_weights if isinstance(b, GridBlock) else b.point_weights) > 0].max())
            for b in self.blocks
            if ((b.frequency_weights if isinstance(b, GridBlock) else b.point_weights) > 0).any()
        ]
        return max(tops, default=0.0)

    def below(self, frequency: float) -> PointSet:
        """Return the points with weight 0 (missing) above so many hertz."""
        return replace(self, blocks=tuple(block.below(frequency) for block in self.blocks))

    def without_synthesis(self) -> PointSet:
        """Return bare points, as a store gives them back: they can be fitted but not inverted."""
        return replace(self, blocks=tuple(b.without_coefficients() for b in self.blocks), synthesis=None)

    def channel(self, index: int) -> PointSet:
        """Return one channel's points; `PointsError` where there is no such channel."""
        if not -self.channels <= index < self.channels:
            raise PointsError("there is no such channel", got=index, expected=f"0 to {self.channels - 1}")
        blocks: list[Block] = []
        for block in self.blocks:
            one = block.magnitudes[index] if block.has_channels else block.magnitudes
            blocks.append(replace(block, magnitudes=np.ascontiguousarray(one), coefficients=None))
        return replace(self, blocks=tuple(blocks), synthesis=None)

    def __repr__(self) -> str:
        shapes = ", ".join("x".join(map(str, b.magnitudes.shape)) for b in self.blocks)
        return f"PointSet({self.n_points} points in {len(self.blocks)} blocks [{shapes}], {self.end:.3f} s)"


def _same_calibration(parts: Sequence[PointSet]) -> str | None:
    """Return what a magnitude of 1 means in all parts; None where none says."""
    known = sorted({part.calibration for part in parts if part.calibration is not None})
    if len(known) > 1:
        raise PointsError(
            "points of different calibrations cannot be joined",
            got=" and ".join(map(repr, known)),
            hint="Analyse all with the same calibration.",
        )
    return known[0] if known else None
