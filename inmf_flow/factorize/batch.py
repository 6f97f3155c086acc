"""Many clips in one program: what a GPU needs, because a single clip keeps it waiting for the next kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.batch_clips import Clip
from inmf_flow.factorize.batch_updates import BatchUpdates
from inmf_flow.factorize.data import GridData, prepare_data
from inmf_flow.factorize.divergences import get_divergence
from inmf_flow.factorize.fields import Field
from inmf_flow.factorize.hat import HatBasis, HatField
from inmf_flow.factorize.model import INMF
from inmf_flow.factorize.settings import axes_of
from inmf_flow.factorize.solvers import CHECK_EVERY, RELAXATION, Trace
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.registry import fields, parse_choice

_PRECISIONS = ("float32", "tf32", "bf16")
# Entries of all clips' grids that are fitted at once. On the CPU the buffers should stay in its cache; 64 clips of 20 s
# keep a GPU busy, and while it fits them the next ones are made ready.
_ENTRIES = {"cpu": 1 << 19, "cuda": 24 << 20}
# Of the free memory; the rest is for the divergence's sums and for what the allocator cannot use.
_SHARE_OF_MEMORY = 0.6


def fit_batch(
    point_sets: Sequence[PointSet],
    n_components: int = 20,
    *,
    field: str | Mapping[str, Any] = "hat",
    beta_loss: str | float = "kullback-leibler",
    power: float = 0.5,
    max_iter: int = 300,
    tol: float = 0.0,
    weights: str = "area",
    random_state: int = 0,
    init: str | Mapping[str, Any] = "moments",
    relaxation: float = RELAXATION,
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int | None = None,
) -> list[INMF]:
    """Fit a model of its own to each of many clips, all at once; each equals ``INMF(...).fit(points)``.

    Equal means to single precision: sums are taken in another order. Clips may differ in length and in frequencies:
    shorter ones are padded with points that have no weight. For one clip or a long one, for networks, several blocks,
    scattered points, penalties or given templates, use `INMF.fit`; on a CPU it is as fast or faster.

    Parameters
    ----------
    point_sets
        Clips of one grid block each.
    field
        ``"hat"`` or ``"matrix"``, with options as for `INMF`; activations are a matrix.
    n_components, beta_loss, power, weights, random_state, init, relaxation
        As for `INMF`, the same for every clip.
    max_iter
        Multiplicative updates of each clip, at most.
    tol
        As for `INMF`. A clip that has settled is left as it is; the batch ends when all have.
    device
        ``"cpu"``, ``"cuda"`` or any torch device. On CUDA ten updates run as one graph.
    precision
        ``"float32"``; or, faster on CUDA, ``"tf32"`` or ``"bf16"`` for what the large products read. Coefficients and
        divergences are always in single precision.
    batch_size
        Most clips that are fitted at the same time; by default as many as free memory and the device are good for.

    Raises
    ------
    ArgumentError
        When clips are not single grids, or a setting is out of range.
    PointsError
        When a clip has no points, or negative magnitudes.

    Examples
    --------
    >>> clips = [PointSet.from_grid(np.arange(n) / 10, [100.0, 200.0, 300.0], np.ones((3, n))) for n in (4, 7)]
    >>> [model.activations([0.0, 0.1]).shape for model in fit_batch(clips, 2, max_iter=10)]
    [(2, 2), (2, 2)]
    """
    settings: dict[str, Any] = {
        "n_components": n_components,
        "field": field,
        "beta_loss": beta_loss,
        "power": power,
        "max_iter": max_iter,
        "tol": tol,
        "weights": weights,
        "random_state": random_state,
        "init": init,
        "relaxation": relaxation,
    }
    _check(INMF(**settings), precision, batch_size)
    for number, points in enumerate(point_sets):
        _check_clip(number, points)
    where = torch.device(device)
    models: dict[int, INMF] = {}
    running: _Running | None = None
    with _workers(where) as make:
        for numbers in _chunks(point_sets, n_components, where, batch_size):
            clips = [INMF(**settings) for _ in numbers]
            starts = list(make(_start, clips, [point_sets[number] for number in numbers]))
            # A GPU has fitted the last clips while these were made ready. Their memory is needed now.
            if running is not None:
                models.update(running.finish())
                running = None
            running = _Running(numbers, clips, starts, precision, device)
    if running is not None:
        models.update(running.finish())
    return [models[number] for number in range(len(point_sets))]


@dataclass
class _Start:
    """A clip ready to be fitted, the fields that take the result, and the mean that the data were divided by."""

    clip: Clip
    fields: tuple[HatField, HatField]
    scale: float


class _Running:
    """Clips on their way through one `BatchUpdates`."""

    def __init__(
        self, numbers: Sequence[int], models: list[INMF], starts: list[_Start], precision: str, device: str
    ) -> None:
        self._numbers, self._models, self._device = numbers, models, device
        self._fields = [start.fields for start in starts]
        self._scales = torch.tensor([start.scale for start in starts])
        settings = models[0]
        assert settings.max_iter is not None
        iterations = settings.max_iter
        self._looks = [*range(0, iterations, CHECK_EVERY), iterations]
        divergence = get_divergence(settings.beta_loss)
        clips = [start.clip for start in starts]
        where = torch.device(device)
        self._updates = BatchUpdates(clips, divergence, settings.relaxation, settings.tol, precision, where)
        self._curve = self._updates.run(iterations)

    def finish(self) -> dict[int, INMF]:
        """Wait for the device, and return the fitted models by their number."""
        k = self._models[0].n_components
        curve, checks = self._curve.T.cpu().tolist(), self._updates.checks.cpu().tolist()
        w, h = (factor.coefficients[..., :k] for factor in (self._updates.w, self._updates.h))
        # As INMF: each template peaks at 1, and its level and the data's scale go to the activations.
        peaks = self._updates.values()[..., :k].amax(1, keepdim=True)
        peaks = torch.where(peaks > torch.finfo(peaks.dtype).tiny, peaks, torch.ones_like(peaks))
        w, h = w * (1 / peaks), h * (peaks * self._scales.to(h.device)[:, None, None])
        for row, (number, model) in enumerate(zip(self._numbers, self._models, strict=True)):
            trace = Trace()
            for iteration, value in zip(self._looks[: checks[row] + 1], curve[row], strict=False):
                _add(trace, iteration, value, number)
            model.n_iter_, model.divergence_curve_ = trace.n_iter, trace.curve
            for table, field in zip((w, h), self._fields[row], strict=True):
                # A copy: a view would keep the whole batch in memory.
                field.coefficients = table[row, : len(field.nodes)].clone()
            model._w, model._h = self._fields[row]
            model.device = self._device
        return dict(zip(self._numbers, self._models, strict=True))


def _add(trace: Trace, iteration: int, value: float, number: int) -> None:
    try:
        trace.add(iteration, value)
    except ArgumentError as error:
        where = f"clip {number}, {error.where}"
        raise ArgumentError(error.what, where=where, got=error.got, hint=error.hint) from None


def _check(settings: INMF, precision: str, batch_size: int | None) -> None:
    name, _ = parse_choice(settings.field)
    cls = fields.get(name)
    if not (issubclass(cls, Field) and issubclass(cls, HatField)):
        raise ArgumentError(
            "a batch fits piecewise-linear fields only",
            got=f"field={settings.field!r}",
            expected="hat or matrix",
            hint="Fit other fields one by one with INMF(...).fit(points).",
        )
    if settings.max_iter is None:
        raise ArgumentError("max_iter must be a whole number", got=None, expected=">= 1")
    if precision not in _PRECISIONS:
        raise ArgumentError("no such precision", got=repr(precision), expected=" or ".join(map(repr, _PRECISIONS)))
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ArgumentError("batch_size must be a whole number", got=repr(batch_size), expected=">= 1, or None")


def _check_clip(number: int, points: PointSet) -> None:
    kinds = ["grid" if isinstance(block, GridBlock) else "scattered" for block in points.blocks]
    if len(kinds) > 1 or "scattered" in kinds:
        raise ArgumentError(
            "a batch fits clips of one grid only",
            where=f"clip {number}",
            got=f"{len(kinds)} blocks: {', '.join(kinds[:4])}{', ...' if len(kinds) > 4 else ''}",
            expected="one grid block",
            hint="Fit it with INMF(...).fit(points).",
        )


@contextmanager
def _workers(device: torch.device) -> Iterator[Callable[..., Iterable[_Start]]]:
    """Give a `map` that makes clips ready: one with threads where a GPU would wait for them."""
    if device.type != "cuda":
        yield map
        return
    before = torch.get_num_threads()
    try:
        # One thread a clip: threads that each start a team of their own get in each other's way.
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)


def _start(model: INMF, points: PointSet) -> _Start:
    """Return a clip where `INMF.fit` begins; what the model has seen is noted in it."""
    data = prepare_data(points, model.power, model.weights, "cpu")
    axes, model.max_frequency_ = axes_of(data, points)
    model.duration_ = points.end
    w, h, _ = model._bind(data, axes, np.random.default_rng(model.random_state), None, None)
    assert isinstance(w.field, HatField)
    assert isinstance(h.field, HatField)
    block = data.blocks[0]
    assert isinstance(block, GridData)
    v, mask, f_weights, t_weights = block.v, block.mask, block.frequency_weights, block.time_weights
    # Without the coordinates that have no weight, activations are values, and templates are what their nodes say.
    for axis, table, dim in ((axes[0], data.frequencies, 0), (axes[1], data.times, 1)):
        if len(axis.coordinates) < len(table):
            rows = torch.from_numpy(np.searchsorted(table, axis.coordinates))
            v, mask = v.index_select(dim, rows), None if mask is None else mask.index_select(dim, rows)
            f_weights, t_weights = (f_weights[rows], t_weights) if dim == 0 else (f_weights, t_weights[rows])
    if mask is not None and bool((mask > 0).all()):
        mask = None
    nodes, shares = _neighbours(w.field.prepare(axes[0].coordinates), len(axes[0].coordinates))
    start = w.field.coefficients, h.field.coefficients
    clip = Clip(v, mask, f_weights, t_weights, data.weight, nodes, shares, *start)
    return _Start(clip, (w.field, h.field), float(data.scale))


def _neighbours(basis: HatBasis, count: int) -> tuple[Tensor, Tensor]:
    """Return each coordinate's two nodes and their shares in it, [N, 2]."""
    if basis.identity:
        return torch.arange(count)[:, None].repeat(1, 2), torch.tensor([1.0, 0.0]).repeat(count, 1)
    return basis.matrix.col_indices().view(-1, 2), basis.matrix.values().view(-1, 2)


def _chunks(
    point_sets: Sequence[PointSet], n_components: int, device: torch.device, batch_size: int | None
) -> Iterator[list[int]]:
    """Yield the numbers of clips that are fitted together: of similar shape, so that little is padded."""
    shapes = [
        (len(points.blocks[0].frequencies), len(points.blocks[0].times)) if points.blocks else (0, 0)
        for points in point_sets
    ]
    most = _most_bytes(device)
    chunk: list[int] = []
    for number in sorted(range(len(shapes)), key=lambda number: shapes[number]):
        together = [*chunk, number]
        f, t = (max(shapes[each][axis] for each in together) for axis in (0, 1))
        entries = len(together) * f * t
        full = len(together) > batch_size if batch_size else entries > _ENTRIES.get(device.type, _ENTRIES["cuda"])
        if chunk and (full or len(together) * _bytes(f, t, n_components) > most):
            yield chunk
            together = [number]
        chunk = together
    if chunk:
        yield chunk


def _bytes(f: int, t: int, k: int) -> int:
    """Return about how much memory a clip takes: data, model, mask and what other divergences need; its tables."""
    return 4 * (6 * f * t + 8 * (f + t) * (k + 8) + f * min(f, 256))


def _most_bytes(device: torch.device) -> float:
    if device.type != "cuda":
        return float("inf")
    # What PyTorch has reserved and does not use is free, too.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _SHARE_OF_MEMORY * (torch.cuda.mem_get_info(device)[0] + unused)
