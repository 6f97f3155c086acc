"""Multiplicative updates of many clips at once: those of `fit_multiplicative` with one more axis, all on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from inmf_flow.factorize.batch_clips import Basis, Clip
from inmf_flow.factorize.data import Side
from inmf_flow.factorize.divergences import EPSILON, BetaDivergence, Divergence
from inmf_flow.factorize.fields import FLOOR, TINY
from inmf_flow.factorize.solvers import CHECK_EVERY, MOST_GROWTH

# Looks at the divergence between two at which the host asks whether all clips have settled: asking empties the queue.
_CHECKS_A_SYNC = 5
# Entries of the model that exist at a time where the divergence is summed.
_LOSS_ENTRIES = {"cpu": 1 << 20, "cuda": 1 << 24}


class _Factor:
    """The coefficients of one factor of all clips, [B, M, K + 1 or more].

    Component K is the 1e-8 that is added to the model: 1 in the templates and 1e-8 in the activations. It and those
    that fill up a row never change.
    """

    def __init__(self, starts: Sequence[Tensor], width: int, offset: float, device: torch.device) -> None:
        k = starts[0].shape[1]
        self.k = k
        # Rows that a clip lacks are 1: nothing has weight there, so they stay as they are.
        self.coefficients = torch.full((len(starts), max(map(len, starts)), width), FLOOR)
        self.coefficients[..., :k] = 1
        self.coefficients[..., k] = offset
        for row, start in enumerate(starts):
            self.coefficients[row, : len(start), :k] = start
        self.coefficients = self.coefficients.to(device)
        self.before, self.kept = self.coefficients.clone(), self.coefficients.clone()
        self._spare = torch.empty_like(self.coefficients)

    def extrapolate(self, momentum: Tensor) -> None:
        """Go on along the last relative change of the coefficients by a share of it, [B, 1, 1]."""
        growth = torch.div(self.coefficients, self.before, out=self._spare).sub_(1).mul_(momentum).add_(1)
        growth.clamp_(max=MOST_GROWTH)
        self.before.copy_(self.coefficients)
        self.coefficients.mul_(growth).clamp_(min=FLOOR)

    def update(self, parts: tuple[Tensor, Tensor], exponent: float, frozen: Tensor | None) -> None:
        """Multiply by the ratio of both parts, but where a clip is frozen, bool [B, 1, 1]."""
        negative, positive = parts
        ratio = torch.add(negative, TINY, out=self._spare).div_(positive + TINY)
        if exponent != 1:
            ratio.pow_(exponent)
        ratio[..., self.k :].fill_(1)
        if frozen is not None:
            ratio.masked_fill_(frozen, 1)
        self.coefficients.mul_(ratio).clamp_(min=FLOOR)

    def keep(self, rose: Tensor) -> None:
        """Go back to what was kept where the divergence rose, bool [B, 1, 1]; keep the coefficients elsewhere."""
        self.coefficients.copy_(torch.where(rose, self.kept, self.coefficients))
        self.before.copy_(torch.where(rose, self.kept, self.before))
        self.kept.copy_(self.coefficients)


class BatchUpdates:
    """Clips padded to one shape, the buffers of their updates, and how far each has come.

    Padding has no weight. Everything that depends on a clip's divergence is decided on the device.

    Parameters
    ----------
    relaxation, tol
        As in `fit_multiplicative`.
    precision
        ``"float32"``; ``"tf32"``: products of CUDA round their operands to 10 bits; ``"bf16"``: products' operands,
        data and model have 8 bits. Sums, coefficients and the divergence stay in float32, or better.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        divergence: Divergence,
        relaxation: float,
        tol: float,
        precision: str,
        device: torch.device,
    ) -> None:
        self._divergence, self._most, self._tol = divergence, relaxation - 1, tol
        self._device, self._precision = device, precision
        b, k = len(clips), clips[0].templates.shape[1]
        # Tensor cores want rows of 8.
        align = 8 if device.type == "cuda" else 1
        f, t = max(len(clip.v) for clip in clips), _up(max(clip.v.shape[1] for clip in clips), align)
        self._v = _stack([clip.v for clip in clips], (f, t), 1.0, device)
        masks = None if all(clip.mask is None for clip in clips) else [_present(clip) for clip in clips]
        self._mask = None if masks is None else _stack(masks, (f, t), 0.0, device)
        self._f_weights = _stack([clip.frequency_weights for clip in clips], (f,), 0.0, device)[..., None]
        self._t_weights = _stack([clip.time_weights for clip in clips], (t,), 0.0, device)[..., None]
        weight = torch.tensor([clip.weight for clip in clips], dtype=torch.float64)
        # 0 where nothing has weight: the divergence is 0 then.
        self._per_weight = torch.where(weight > 0, 1 / weight.clamp_min(1e-300), 0.0).to(device)
        width = _up(k + 1, align)
        self.w = _Factor([clip.templates for clip in clips], width, 1.0, device)
        rows = [torch.cat([clip.activations, torch.ones(t - len(clip.activations), k)]) for clip in clips]
        self.h = _Factor(rows, width, EPSILON, device)
        self._basis = Basis(clips, (b, f, self.w.coefficients.shape[1]), device)
        self._table, self._spare = (torch.empty(b, f, width, device=device) for _ in range(2))
        self._weighted_h = torch.empty(b, t, width, device=device)
        # Divergences whose added part is 1 everywhere say so by None.
        one = torch.ones(1, device=device)
        self._plain = self._mask is None and divergence.positive_part(one, one) is None
        with self._tf32(False):
            self._added_of_nodes = self._basis.adjoint(self._f_weights) if self._plain else None
        self._make_operands()
        self._constant = self._kullback_leibler_constant()
        self._moving, self._rises = torch.zeros(b, device=device), torch.zeros(b, device=device)
        self._active = torch.ones(b, dtype=torch.bool, device=device)
        #: Looks at the divergence that each clip has taken part in, besides the one at the start, int64 [B].
        self.checks = torch.zeros(b, dtype=torch.int64, device=device)
        self._count = torch.zeros(1, dtype=torch.int64, device=device)

    def _make_operands(self) -> None:
        """Make what the large products read and write."""
        half = self._precision == "bf16"
        kind = torch.bfloat16 if half else torch.float32
        self._data = self._v.to(kind)
        self._model = torch.empty_like(self._data)
        self._mask = None if self._mask is None else self._mask.to(kind)
        self._operands: dict[str, Tensor] = {}
        if half:
            wide = {"w": self._table, "h": self.h.coefficients}
            self._operands = {name: torch.empty_like(table, dtype=kind) for name, table in wide.items()}
        self._mixed = half and _has_mixed_products(self._device)

    def run(self, max_iter: int) -> Tensor:
        """Return the weighted mean divergence at the start, at every tenth iteration and at the last, [C, B]."""
        periods, rest = divmod(max_iter, CHECK_EVERY)
        with torch.no_grad(), self._tf32(self._precision == "tf32"):
            self.values()
            start = self._loss()
            self.curve = start.repeat(1 + periods + (rest > 0), 1)
            self._best, self._lowest = start.clone(), start.clone()
            if self._device.type == "cuda":
                current, side = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
                side.wait_stream(current)
                with torch.cuda.stream(side):
                    self._run(periods, rest)
                current.wait_stream(side)
            else:
                self._run(periods, rest)
            self.values()
        return self.curve

    def _run(self, periods: int, rest: int) -> None:
        again: Callable[[], None] = self._period
        for number in range(periods):
            again()
            if number == 0 and periods > 2 and self._device.type == "cuda":
                # The first period has loaded the kernels, which cannot be done while a graph is captured.
                again = self._capture() or again
            if self._tol > 0 and (number + 1) % _CHECKS_A_SYNC == 0 and not bool(self._active.any()):
                return
        if rest:
            self._period(rest)

    def _capture(self) -> Callable[[], None] | None:
        """Return the replay of a period as one CUDA graph; None where it cannot be captured."""
        # Kept as long as its buffers: it may still run when the host has gone on.
        self._graph = graph = torch.cuda.CUDAGraph()
        try:
            torch.cuda.synchronize(self._device)
            graph.capture_begin()
            try:
                self._period()
            finally:
                graph.capture_end()
        except RuntimeError:
            return None
        return graph.replay

    def _period(self, iterations: int = CHECK_EVERY) -> None:
        frozen = ~self._active[:, None, None] if self._tol > 0 else None
        for _ in range(iterations):
            if self._most > 0:
                momentum = (self._moving / (self._moving + 4)).clamp_(max=self._most)
                momentum.masked_fill_((self._rises > 1) | ~self._active, 0)
                self._moving += 1
                for factor in (self.w, self.h):
                    factor.extrapolate(momentum[:, None, None])
            sides: tuple[Side, Side] = ("frequency", "time")
            for factor, side in zip((self.w, self.h), sides, strict=True):
                self.values()
                factor.update(self._parts(side), self._divergence.exponent, frozen)
        self.values()
        self._check()

    def values(self) -> Tensor:
        """Return the templates at the frequencies, [B, F, K + 1 or more]."""
        self._w = self._basis.values(self.w.coefficients, self._table, self._spare)
        return self._w

    def _parts(self, side: Side) -> tuple[Tensor, Tensor]:
        """Return the subtracted and the added part of the gradient by one factor's coefficients."""
        weighted = self._spare if side == "time" else self._weighted_h
        if side == "time":
            torch.mul(self._w, self._f_weights, out=weighted)
        else:
            torch.mul(self.h.coefficients, self._t_weights, out=weighted)
        own = self._t_weights if side == "time" else self._f_weights
        w, h = self._narrow("w", self._w), self._narrow("h", self.h.coefficients)
        model = torch.bmm(w, h.mT, out=self._model)
        other = self._narrow("w" if side == "time" else "h", weighted)
        positive = None
        if not self._plain:
            added = self._divergence.positive_part(self._data, model)
            if self._mask is not None:
                added = self._mask if added is None else added * self._mask
            assert added is not None
            positive = self._product(added, other, side).mul_(own)
        taken = self._divergence.negative_part(self._data, model, out=model)
        if self._mask is not None:
            taken.mul_(self._mask)
        negative = self._product(taken, other, side).mul_(own)
        if side == "frequency":
            negative = self._basis.adjoint(negative)
        if positive is not None:
            return negative, positive if side == "time" else self._basis.adjoint(positive)
        # The added part is 1 everywhere: one row serves all coordinates.
        mine = own if side == "time" else self._added_of_nodes
        assert mine is not None
        return negative, mine * weighted.sum(1, keepdim=True)

    def _narrow(self, name: str, table: Tensor) -> Tensor:
        """Return a factor as an operand of the large products."""
        return self._operands[name].copy_(table) if self._operands else table

    def _product(self, entries: Tensor, table: Tensor, side: Side) -> Tensor:
        """Return sums over times or frequencies in float32, [B, F or T, K + 1 or more]."""
        entries = entries if side == "frequency" else entries.mT
        if entries.dtype == torch.float32:
            return torch.bmm(entries, table)
        if self._mixed:
            return torch.bmm(entries, table, out_dtype=torch.float32)
        return torch.bmm(entries.float(), table.float())

    def _check(self) -> None:
        """Look at the divergence, and go back, keep or freeze as `fit_multiplicative` does, clip by clip."""
        value = self._loss()
        careful = self._rises > 1
        rose = ~careful & ~(value <= self._best) & self._active
        for factor in (self.w, self.h):
            factor.keep(rose[:, None, None])
        self._moving.masked_fill_(rose | careful, 0)
        self._rises.add_(1).mul_(rose)
        self._best.copy_(torch.where(rose, self._best, value))
        self._count += 1
        self.checks += self._active
        self.curve.index_copy_(0, self._count, self._best[None])
        if self._tol > 0:
            settled = ~rose & (self._count > 1) & (self._lowest - self._best <= self._tol * self._lowest.abs())
            self._active &= ~settled
        self._lowest.copy_(torch.minimum(self._lowest, self._best))

    def _loss(self) -> Tensor:
        """Return each clip's weighted mean divergence, float64 [B]: late improvements need more than float32 sums."""
        parts = []
        with self._tf32(False):
            for at in self._slices():
                w, h, v = self._w[at], self.h.coefficients[at], self._v[at]
                values = torch.bmm(w, h.mT)
                if self._constant is not None:
                    values = values.log_().mul_(v).neg_()
                else:
                    values = self._divergence.value(v, values)
                if self._mask is not None:
                    values = values * self._mask[at]
                rows = torch.bmm(values, self._t_weights[at]).double()
                parts.append((rows * self._f_weights[at]).sum((1, 2)))
            total = torch.cat(parts)
            if self._constant is not None:
                mine = (self._w.double() * self._f_weights).sum(1)
                others = (self.h.coefficients.double() * self._t_weights).sum(1)
                total = total + self._constant + (mine * others).sum(1)
        return total * self._per_weight

    def _kullback_leibler_constant(self) -> Tensor | None:
        """Return the weighted sum of v log v - v in float64, [B], where the rest needs one logarithm of the model."""
        if not self._plain or not (isinstance(self._divergence, BetaDivergence) and self._divergence.beta == 1):
            return None
        parts = []
        for at in self._slices():
            v = self._v[at].double()
            rows = torch.bmm(v * (v.log() - 1), self._t_weights[at].double())
            parts.append((rows * self._f_weights[at]).sum((1, 2)))
        return torch.cat(parts)

    @contextmanager
    def _tf32(self, wanted: bool) -> Iterator[None]:
        """Let products of CUDA round their operands, or forbid it: the setting is the whole process's."""
        settings = torch.backends.cuda.matmul
        if self._device.type != "cuda" or settings.allow_tf32 == wanted:
            yield
            return
        settings.allow_tf32 = wanted
        try:
            yield
        finally:
            settings.allow_tf32 = not wanted

    def _slices(self) -> list[slice]:
        b, f, t = self._v.shape
        step = max(1, _LOSS_ENTRIES.get(self._device.type, 1 << 20) // (f * t))
        return [slice(begin, begin + step) for begin in range(0, b, step)]


def _has_mixed_products(device: torch.device) -> bool:
    """Return whether products of bfloat16 can be had in float32, as newer releases offer on CUDA."""
    try:
        probe = torch.ones(1, 8, 8, dtype=torch.bfloat16, device=device)
        torch.bmm(probe, probe, out_dtype=torch.float32)
    except (TypeError, RuntimeError):
        return False
    return True


def _stack(tensors: Sequence[Tensor], shape: tuple[int, ...], fill: float, device: torch.device) -> Tensor:
    """Return tensors padded to a shape and laid into one."""
    result = torch.full((len(tensors), *shape), fill, device=device)
    for row, tensor in enumerate(tensors):
        own = result[row]
        for axis, size in enumerate(tensor.shape):
            own = own.narrow(axis, 0, size)
        own.copy_(tensor.to(device))
    return result


def _present(clip: Clip) -> Tensor:
    return torch.ones_like(clip.v) if clip.mask is None else clip.mask


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
