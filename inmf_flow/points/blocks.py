"""Blocks: the two shapes that points come in, because the shape decides the speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import PointsError
from inmf_flow.points.cells import cell_widths

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def _coordinates(values: ArrayLike, name: str, *, rising: bool) -> Float64:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise PointsError(f"{name} must be one-dimensional", got=f"shape {array.shape}", expected="[N]")
    if not np.isfinite(array).all():
        raise PointsError(f"{name} must be finite", got=f"{int((~np.isfinite(array)).sum())} NaN or infinite")
    if rising and len(array) > 1 and not (np.diff(array) > 0).all():
        raise PointsError(f"{name} of a grid must rise strictly", hint="Sort them, or use PointSet.from_points.")
    return array


def _magnitudes(values: ArrayLike) -> Float32:
    array = np.asarray(values)
    if np.iscomplexobj(array):
        raise PointsError("magnitudes are complex", expected="non-negative reals", hint="Pass their absolute values.")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    if np.isinf(array).any():
        raise PointsError("magnitudes hold infinite values", expected="finite values, or NaN for missing points")
    # Negative values pass: noise taken away from data leaves some, and what to do with them is for the fit to say.
    return array


def _weights(values: ArrayLike, shape: tuple[int, ...], name: str) -> Float32:
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.shape != shape:
        raise PointsError(f"{name} have the wrong shape", got=array.shape, expected=shape)
    if not np.isfinite(array).all() or (array < 0).any():
        raise PointsError(f"{name} must be finite and non-negative", hint="Weight 0 marks a missing point.")
    return array


class _Block:
    """What both shapes have in common."""

    times: Float64
    magnitudes: Float32
    #: Axes of the magnitudes of one channel.
    _axes: ClassVar[int]

    @property
    def has_channels(self) -> bool:
        """Whether the magnitudes have a channel axis, which then is the first."""
        return self.magnitudes.ndim > self._axes

    @property
    def channels(self) -> int:
        """The number of channels; 1 for magnitudes without a channel axis."""
        return int(self.magnitudes.shape[0]) if self.has_channels else 1

    @property
    def n_points(self) -> int:
        """The number of points, missing ones and every channel's included."""
        return int(self.magnitudes.size)

    def shifted(self, seconds: float) -> Self:
        """Return the block later by so many seconds."""
        return replace(self, times=self.times + seconds, coefficients=None)  # type: ignore[type-var]

    def without_coefficients(self) -> Self:
        """Return the block as bare points, as a store would give it back."""
        return replace(self, coefficients=None)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class GridBlock(_Block):
    """Points on the product of a time axis and a frequency axis.

    Attributes
    ----------
    times
        Seconds, rising, shape [T].
    frequencies
        Hertz, rising, shape [F].
    magnitudes
        Shape [F, T] or [C, F, T]; NaN marks a missing point.
    time_weights, frequency_weights
        The widths of the cells, shapes [T] (seconds) and [F] (hertz): a point's weight is their product.
    coefficients
        What the transform that made the block needs to invert it; kept in memory only.
    """

    times: Float64
    frequencies: Float64
    magnitudes: Float32
    time_weights: Float32
    frequency_weights: Float32
    coefficients: Any = field(default=None, repr=False)
    _axes: ClassVar[int] = 2

    @classmethod
    def build(
        cls,
        times: ArrayLike,
        frequencies: ArrayLike,
        magnitudes: ArrayLike,
        *,
        time_weights: ArrayLike | None = None,
        frequency_weights: ArrayLike | None = None,
        duration: float | None = None,
        nyquist: float | None = None,
        coefficients: Any = None,
    ) -> GridBlock:
        """Check the arrays and compute the weights that are not given (see `cell_widths`)."""
        t = _coordinates(times, "times", rising=True)
        f = _coordinates(frequencies, "frequencies", rising=True)
        m = _magnitudes(magnitudes)
        if m.ndim not in (2, 3) or m.shape[-2:] != (len(f), len(t)):
            raise PointsError(
                "magnitudes do not fit the axes",
                got=f"shape {m.shape}",
                expected=f"[{len(f)}, {len(t)}] or [channels, {len(f)}, {len(t)}] (frequencies, times)",
            )
        tw = cell_widths(t, 0.0, duration) if time_weights is None else time_weights
        fw = cell_widths(f, 0.0, nyquist) if frequency_weights is None else frequency_weights
        return cls(
            t,
            f,
            m,
            _weights(tw, t.shape, "time weights"),
            _weights(fw, f.shape, "frequency weights"),
            coefficients,
        )

    @property
    def weights(self) -> Float32:
        """The area of each point's cell in seconds x hertz, shape [F, T]."""
        return np.outer(self.frequency_weights, self.time_weights)

    def below(self, frequency: float) -> GridBlock:
        """Return the block with weight 0 on every frequency above the limit in hertz."""
        kept = np.where(self.frequencies <= frequency, self.frequency_weights, np.float32(0))
        return replace(self, frequency_weights=kept.astype(np.float32))


@dataclass(frozen=True, eq=False)
class ScatteredBlock(_Block):
    """Points anywhere in the plane.

    Attributes
    ----------
    times, frequencies
        Seconds and hertz of each point, shape [P].
    magnitudes
        Shape [P] or [C, P]; NaN marks a missing point.
    point_weights
        The area that each point stands for in seconds x hertz, shape [P].
    coefficients
        What the transform that made the block needs to invert it; kept in memory only.
    """

    times: Float64
    frequencies: Float64
    magnitudes: Float32
    point_weights: Float32
    coefficients: Any = field(default=None, repr=False)
    _axes: ClassVar[int] = 1

    @classmethod
    def build(
        cls,
        times: ArrayLike,
        frequencies: ArrayLike,
        magnitudes: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        coefficients: Any = None,
    ) -> ScatteredBlock:
        """Check the arrays; without weights every point weighs 1."""
        t = _coordinates(times, "times", rising=False)
        f = _coordinates(frequencies, "frequencies", rising=False)
        m = _magnitudes(magnitudes)
        if t.shape != f.shape or m.ndim not in (1, 2) or m.shape[-1:] != t.shape:
            raise PointsError(
                "times, frequencies and magnitudes of scattered points must pair up",
                got=f"shapes {t.shape}, {f.shape}, {m.shape}",
                expected="[P], [P] and [P] or [channels, P]",
            )
        w = np.ones(len(t)) if weights is None else weights
        return cls(t, f, m, _weights(w, t.shape, "weights"), coefficients)

    @property
    def weights(self) -> Float32:
        """The area that each point stands for in seconds x hertz, shape [P]."""
        return self.point_weights

    def below(self, frequency: float) -> ScatteredBlock:
        """Return the block with weight 0 on every frequency above the limit in hertz."""
        kept = np.where(self.frequencies <= frequency, self.point_weights, np.float32(0))
        return replace(self, point_weights=kept.astype(np.float32))


Block = GridBlock | ScatteredBlock


def join_grids(blocks: Sequence[GridBlock]) -> GridBlock:
    """Return grids of the same frequencies, each later than the one before, as one."""
    if len(blocks) == 1:
        return blocks[0]
    return GridBlock(
        _coordinates(np.concatenate([block.times for block in blocks]), "times", rising=True),
        blocks[0].frequencies,
        np.concatenate([block.magnitudes for block in blocks], axis=-1),
        np.concatenate([block.time_weights for block in blocks]),
        blocks[0].frequency_weights,
    )


def join_scattered(blocks: Sequence[ScatteredBlock]) -> ScatteredBlock:
    """Return all points of several blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    return ScatteredBlock(
        np.concatenate([block.times for block in blocks]),
        np.concatenate([block.frequencies for block in blocks]),
        np.concatenate([block.magnitudes for block in blocks], axis=-1),
        np.concatenate([block.point_weights for block in blocks]),
    )
