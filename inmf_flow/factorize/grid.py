"""Points of one grid: every pass over them is a few matrix products with buffers that are made once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inmf_flow.factorize.divergences import BetaDivergence, Divergence
from inmf_flow.factorize.fields import Side

# Entries of the model that exist at a time: the buffer of an hour would be as large as its data.
_ENTRIES_AT_ONCE = 1 << 20


@dataclass
class GridData:
    """A grid block.

    Attributes
    ----------
    v
        Data + ``offset``, [F, T].
    mask
        1 where a point is present, else 0, [F, T]; None where all are.
    frequency_weights, time_weights
        Of the axes, [F] and [T]: a point's weight is their product.
    frequency_rows, time_rows
        Rows of the coordinate tables that the block uses; None where it uses all of them in order.
    offset
        Added to data and model.
    """

    v: Tensor
    mask: Tensor | None
    frequency_weights: Tensor
    time_weights: Tensor
    frequency_rows: Tensor | None
    time_rows: Tensor | None
    offset: float

    def __post_init__(self) -> None:
        n_frequencies, n_times = self.v.shape
        self._step = max(1, min(n_times, _ENTRIES_AT_ONCE // max(n_frequencies, 1)))
        self._buffer = self.v.new_empty(n_frequencies * self._step)
        self._constant: float | None = None
        # The usual case, all alike, saves a product with each factor and each gradient.
        self._f_weights = None if bool((self.frequency_weights == 1).all()) else self.frequency_weights[:, None]
        self._t_weights = None if bool((self.time_weights == 1).all()) else self.time_weights[:, None]

    def add_parts(self, divergence: Divergence, w: Tensor, h: Tensor, side: Side, out: tuple[Tensor, Tensor]) -> None:
        """Add the two parts of the gradient by the templates or the activations to ``out``."""
        rows = self.frequency_rows if side == "frequency" else self.time_rows
        for target, part in zip(out, self.parts(divergence, w, h, side), strict=True):
            if rows is None:
                target.add_(part)
            else:
                target.index_add_(0, rows, part)

    def parts(self, divergence: Divergence, w: Tensor, h: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """Return the subtracted and the added part of the gradient at the block's own coordinates, [F or T, K]."""
        w, h = self._own(w, h)
        weighted = _times(w, self._f_weights) if side == "time" else _times(h, self._t_weights)
        mine = self._f_weights if side == "frequency" else self._t_weights
        negative = w.new_zeros(w.shape) if side == "frequency" else torch.empty_like(h)
        # Where the added part is 1 everywhere, one row serves all coordinates.
        one = self.v.new_ones(1)
        plain = self.mask is None and divergence.positive_part(one, one) is None
        positive = weighted.sum(0, keepdim=True) if plain else torch.zeros_like(negative)
        for at in self._slices():
            model, v = self._model(w, h, at), self.v[:, at]
            added = None if plain else divergence.positive_part(v, model)
            if added is model:
                added = model.clone()
            taken = divergence.negative_part(v, model, out=model)
            if self.mask is not None:
                taken.mul_(self.mask[:, at])
                added = self.mask[:, at] if added is None else added * self.mask[:, at]
            if side == "frequency":
                negative.addmm_(taken, weighted[at])
                if added is not None:
                    positive.addmm_(added, weighted[at])
            else:
                torch.mm(taken.T, weighted, out=negative[at])
                if added is not None:
                    torch.mm(added.T, weighted, out=positive[at])
        return _times(negative, mine), _times(positive.expand_as(negative), mine)

    def sums(self, side: Side, under: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the weighted sums of the data and of the weights alone at the block's own coordinates.

        ``under`` is a table of the other side, [N, K], that sums [F or T, K] are taken under; without one, [F or T].
        """
        over, mine = self.time_weights, self.frequency_weights
        v, mask, rows = self.v if self.mask is None else self.v * self.mask, self.mask, self.time_rows
        if side == "time":
            over, mine, v, rows = mine, over, v.T, self.frequency_rows
            mask = None if mask is None else mask.T
        if under is not None:
            over = over[:, None] * (under if rows is None else under.index_select(0, rows))
            mine = mine[:, None]
        weights = mine * (over.sum(0) if mask is None else mask @ over)
        return mine * (v @ over) - self.offset * weights, weights

    def loss(self, divergence: Divergence, w: Tensor, h: Tensor) -> float:
        """Return the weighted sum of the divergence."""
        w, h = self._own(w, h)
        fast = self.mask is None and isinstance(divergence, BetaDivergence) and divergence.beta == 1
        # Double precision only for the sums: late improvements are smaller than float32 can add up.
        rows = torch.zeros(self.v.shape[0], dtype=torch.float64, device=self.v.device)
        for at in self._slices():
            model, v = self._model(w, h, at), self.v[:, at]
            if fast:
                values = torch.mul(v, model.log_(), out=model).neg_()
            else:
                values = divergence.value(v, model)
            if self.mask is not None:
                values = values * self.mask[:, at]
            rows += (values @ self.time_weights[at]).double()
        total = float(rows @ self.frequency_weights.double())
        return total + self._rest_of_kullback_leibler(w, h) if fast else total

    def _rest_of_kullback_leibler(self, w: Tensor, h: Tensor) -> float:
        """Return the weighted sum of v log v - v + model: what needs no logarithm of the model."""
        fw, tw = self.frequency_weights.double(), self.time_weights.double()
        if self._constant is None:
            total = 0.0
            for at in self._slices():
                v = self.v[:, at].double()
                total += float(fw @ (v * (v.log() - 1)) @ tw[at])
            self._constant = total
        area = float(fw.sum() * tw.sum())
        return self._constant + float((fw @ w.double()) @ (tw @ h.double())) + self.offset * area

    def _own(self, w: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w = w if self.frequency_rows is None else w.index_select(0, self.frequency_rows)
        h = h if self.time_rows is None else h.index_select(0, self.time_rows)
        return w, h

    def _slices(self) -> list[slice]:
        n_times = self.v.shape[1]
        return [slice(begin, min(begin + self._step, n_times)) for begin in range(0, n_times, self._step)]

    def _model(self, w: Tensor, h: Tensor, at: slice) -> Tensor:
        """Return the model + offset of some frames, in the buffer."""
        model = self._buffer[: len(w) * (at.stop - at.start)].view(len(w), at.stop - at.start)
        return torch.mm(w, h[at].T, out=model).add_(self.offset)


def _times(table: Tensor, weights: Tensor | None) -> Tensor:
    return table if weights is None else table * weights
