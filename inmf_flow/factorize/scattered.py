"""Scattered points of a fit: one compiled pass a side where Numba is there, torch operations elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.divergences import EPSILON, BetaDivergence, Divergence
from inmf_flow.factorize.fields import Side

# Up to so many components the compiled pass keeps its sums in registers.
_NARROW = 4
# Points that torch gathers at a time: bounds the [points, K] copies.
_POINTS_AT_ONCE = 1 << 18


@dataclass
class ScatteredData:
    """Scattered points: data + offset, weights, and each point's rows in the tables of templates and activations.

    Points that weigh 0 are left out, and the rest is ordered by time, then frequency: neither changes any sum.

    Parameters
    ----------
    v, weights
        Data (positive) and weights, float32 [P].
    frequency_rows, time_rows
        Rows in the tables of templates [NF, K] and activations [NT, K], any integers [P].
    offset
        Added to the model, as it was to the data.

    Raises
    ------
    ArgumentError
        When the lengths differ, or a row is negative.
    """

    v: Tensor
    weights: Tensor
    frequency_rows: Tensor
    time_rows: Tensor
    offset: float = EPSILON
    _n_rows: tuple[int, ...] = field(init=False, repr=False)
    _sides: dict[Side, tuple[NDArray[Any], ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        shapes = [tuple(part.shape) for part in (self.v, self.weights, self.frequency_rows, self.time_rows)]
        if len(set(shapes)) > 1 or self.v.dim() != 1:
            raise ArgumentError("scattered points need one value, weight and row each", got=shapes, expected="four [P]")
        device = self.v.device
        f, t = (part.cpu().numpy() for part in (self.frequency_rows, self.time_rows))
        for name, rows in (("frequency_rows", f), ("time_rows", t)):
            if len(rows) and rows.min() < 0:
                raise ArgumentError("a row is negative", where=name, got=int(rows.min()), expected=">= 0")
        keep = np.flatnonzero(self.weights.cpu().numpy())
        # The narrow type first: most of the time goes into gathering.
        f, t = f.astype(np.int32)[keep], t.astype(np.int32)[keep]
        order = _rising(f)
        order = order[_rising(t[order])]
        on_device = torch.from_numpy(keep[order]).to(device)
        self.v, self.weights = (part.index_select(0, on_device) for part in (self.v, self.weights))
        self.frequency_rows, self.time_rows = (torch.from_numpy(rows[order]).to(device) for rows in (f, t))
        self._n_rows = tuple(int(rows.max(initial=-1)) + 1 for rows in (f, t))

    def add_parts(self, divergence: Divergence, w: Tensor, h: Tensor, side: Side, out: tuple[Tensor, Tensor]) -> None:
        """Add the two parts of the gradient by the templates or the activations to ``out``.

        Parameters
        ----------
        w, h
            Templates [NF, K] and activations [NT, K].
        side
            By which of the two to derive.
        out
            The sums of the part that is subtracted and of the one that is added, each shaped as that table.
        """
        mine, other = (w, h) if side == "frequency" else (h, w)
        compiled = None
        if self._suit_kernels(divergence, w, h, *out) and all(part.shape == mine.shape for part in out):
            compiled = _compiled("add_parts_narrow" if 1 <= mine.shape[1] <= _NARROW else "add_parts")
        if compiled is None:
            self._add_parts_by_torch(divergence, w, h, side, out)
            return
        assert isinstance(divergence, BetaDivergence)
        # The kernel wants rows of memory; a transposed table, or an output that is one, goes through a copy.
        sums = [
            part if part.is_contiguous() else torch.zeros_like(part, memory_format=torch.contiguous_format)
            for part in out
        ]
        tables = [_array(table) for table in (mine, other, *sums)]
        compiled(*self._runs(side), *tables, float(divergence.beta), np.float32(self.offset))
        for target, part in zip(out, sums, strict=True):
            if part is not target:
                target.add_(part)

    def sums(self, side: Side, under: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the weighted sums of the data and of the weights alone at the first rows of a table.

        ``under`` is a table of the other side, [N, K], that the sums [M, K] are taken under; without one, [M].
        """
        rows, others = self.frequency_rows.long(), self.time_rows.long()
        size = self._n_rows[0]
        if side == "time":
            rows, others, size = others, rows, self._n_rows[1]
        data, weights = (self.v - self.offset) * self.weights, self.weights
        zeros = self.v.new_zeros(size)
        if under is not None:
            at = under.index_select(0, others)
            data, weights, zeros = data[:, None] * at, weights[:, None] * at, self.v.new_zeros(size, under.shape[1])
        return zeros.index_add(0, rows, data), zeros.index_add(0, rows, weights)

    def loss(self, divergence: Divergence, w: Tensor, h: Tensor) -> float:
        """Return the weighted sum of the divergence, added up in double precision."""
        compiled = _compiled("weighted_loss") if self._suit_kernels(divergence, w, h) else None
        if compiled is not None:
            assert isinstance(divergence, BetaDivergence)
            beta = float(divergence.beta)
            return float(compiled(*self._runs("time"), _array(h), _array(w), beta, np.float32(self.offset)))
        total = 0.0
        for v, weights, wp, hp, _ in self._gathered(w, h):
            total += _weighted_sum(divergence.value(v, (wp * hp).sum(1).add_(self.offset)), weights)
        return total

    def _add_parts_by_torch(
        self, divergence: Divergence, w: Tensor, h: Tensor, side: Side, out: tuple[Tensor, Tensor]
    ) -> None:
        all_rows = self.frequency_rows if side == "frequency" else self.time_rows
        for v, weights, wp, hp, part in self._gathered(w, h):
            model = (wp * hp).sum(1).add_(self.offset)
            positive = divergence.positive_part(v, model)
            positive = weights if positive is None else positive * weights
            negative = divergence.negative_part(v, model, out=torch.empty_like(v)) * weights
            other = hp if side == "frequency" else wp
            # Torch adds by 32-bit rows an order of magnitude slower where there are few components.
            rows = all_rows[part].long()
            out[0].index_add_(0, rows, other * negative[:, None])
            out[1].index_add_(0, rows, other * positive[:, None])

    def _gathered(self, w: Tensor, h: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, slice]]:
        """Yield data, weights, templates and activations of as many points as are gathered at a time, and which."""
        for begin in range(0, len(self.v), _POINTS_AT_ONCE):
            part = slice(begin, begin + _POINTS_AT_ONCE)
            wp, hp = w.index_select(0, self.frequency_rows[part]), h.index_select(0, self.time_rows[part])
            yield self.v[part], self.weights[part], wp, hp, part

    def _suit_kernels(self, divergence: Divergence, *tables: Tensor) -> bool:
        """Return whether the compiled passes know this divergence and can read these tables."""
        if type(divergence) is not BetaDivergence:
            return False
        if any(table.device.type != "cpu" or table.dtype != torch.float32 for table in (self.v, self.weights, *tables)):
            return False
        # Compiled code does not check its indices: torch says what is wrong with tables that do not fit.
        w, h = tables[:2]
        return len(w) >= self._n_rows[0] and len(h) >= self._n_rows[1] and w.shape[1:] == h.shape[1:]

    def _runs(self, side: Side) -> tuple[NDArray[Any], ...]:
        """Return the points in the order in which the pass of one side reads them, as ``kernels`` takes them."""
        if side not in self._sides:
            arrays = [_array(part) for part in (self.v, self.weights, self.frequency_rows, self.time_rows)]
            if side == "frequency":
                order = _rising(arrays[2])
                arrays = [part[order] for part in arrays]
            v, weights, frequency_rows, time_rows = arrays
            mine, others = (frequency_rows, time_rows) if side == "frequency" else (time_rows, frequency_rows)
            begins = np.flatnonzero(np.diff(mine, prepend=-1))
            starts = np.append(begins, len(mine)).astype(np.int64)
            self._sides[side] = (starts, mine[begins], others, v, weights)
        return self._sides[side]


@cache
def _compiled(name: str) -> Callable[..., Any] | None:
    """Return a pass of ``kernels``, or None where there is no Numba, it fails, or it is told not to compile."""
    try:
        with warnings.catch_warnings():
            # What Numba says about the machine's other packages is not for this package's users.
            warnings.simplefilter("ignore")
            if import_module("numba").config.DISABLE_JIT:
                return None
            found: Callable[..., Any] = import_module("inmf_flow.factorize.kernels").compiled(name)
    except ImportError:
        return None
    except Exception as error:
        # Whatever a compiler cannot do on some machine, torch can, though slower.
        warnings.warn(f"Numba cannot compile here, so torch is used: {error!r}", RuntimeWarning, stacklevel=2)
        return None
    return found


def _rising(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the stable order of non-negative rows below 2^32."""
    # NumPy sorts 16-bit integers by radix: six times as fast as wider ones.
    order = np.argsort((rows & 0xFFFF).astype(np.uint16), kind="stable")
    if len(rows) and rows.max() > 0xFFFF:
        order = order[np.argsort((rows >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's own memory as an array; a copy if it is transposed."""
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


def _weighted_sum(values: Tensor, weights: Tensor) -> float:
    return float((values.double() * weights.double()).sum())
