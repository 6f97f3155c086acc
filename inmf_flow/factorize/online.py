"""Templates learned from points that come one set after another: streams, and recordings too long for memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.data import Data, prepare_data
from inmf_flow.factorize.divergences import BetaDivergence, get_divergence
from inmf_flow.factorize.fields import FLOOR, Axis, LinearField, just_above
from inmf_flow.factorize.hat import HatField, MatrixField
from inmf_flow.factorize.settings import refuse_context
from inmf_flow.factorize.solvers import Bound, Trace, fit_activations_multiplicative
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.registry import fields, parse_choice

if TYPE_CHECKING:
    from inmf_flow.factorize.model import INMF

Segments = Iterable[PointSet] | Callable[[], Iterable[PointSet]]
# Updates of one set's activations before it has its say about the templates.
_ACTIVATION_UPDATES = 50
# Points of the sample that templates start from: a minute of an STFT.
_SAMPLE_POINTS = 1 << 20
# Hats in time stand at multiples of this many seconds, in every segment the same: they meet at the borders.
_NODE_STEP = 1 / 64


class Statistics:
    """What past points have to say about the coefficients of the templates, however many they were.

    The majorizer of the divergence that a multiplicative update minimizes is, in each coefficient c, a sum of two
    powers whose factors add up over the points: for beta = 1, sum_b (-c_b n_b log c + p_b c), with the coefficient c_b
    and the parts n_b, p_b of the gradient when points b were seen. Its minimum is sum c_b n_b / sum p_b. For the
    Itakura-Saito divergence this is Lefèvre, Bach & Févotte 2011, "Online algorithms for nonnegative matrix
    factorization with the Itakura-Saito divergence", algorithm 1; for other beta the powers are those of Févotte &
    Idier 2011.
    """

    def __init__(self, like: Tensor, beta: float) -> None:
        self.numerator, self.denominator = torch.zeros_like(like), torch.zeros_like(like)
        self._powers = (2 - beta if beta <= 2 else 0.0), (0.0 if beta < 1 else 1 - beta)
        self._root = 1 / (2 - beta) if beta < 1 else (1 / (beta - 1) if beta > 2 else 1.0)

    def add(self, coefficients: Tensor, negative: Tensor, positive: Tensor, weight: float, forgetting: float) -> None:
        """Let points join, ``weight`` times; what came before counts ``forgetting`` times."""
        for total, part, power in zip(
            (self.numerator, self.denominator), (negative, positive), self._powers, strict=True
        ):
            total.mul_(forgetting).add_(part * coefficients**power, alpha=weight)

    def keep(self, coefficients: Tensor, positive: Tensor, weight: float) -> None:
        """Let coefficients that are there already count as much as points with this added part of the gradient."""
        denominator = weight * positive * coefficients ** self._powers[1]
        self.denominator += denominator
        self.numerator += denominator * coefficients ** (1 / self._root)

    def solve(self, otherwise: Tensor) -> Tensor:
        """Return the coefficients that all points together ask for; ``otherwise`` where none had a say."""
        known = self.denominator > 0
        found = (self.numerator / self.denominator.clamp_min(1e-30)).pow_(self._root)
        return torch.where(known, found, otherwise).clamp_min(FLOOR)


class Learner:
    """A model on its way through point sets: templates, and the statistics of all points so far."""

    def __init__(self, model: INMF, first: PointSet) -> None:
        rule = get_divergence(model.beta_loss)
        refuse_context(model, "points that come one set after another")
        penalties = model.sparsity or model.smoothness or model.decorrelation
        if penalties or model.negative or not isinstance(rule, BetaDivergence):
            raise ArgumentError(
                "points that come one set after another are fitted without penalties and negative data",
                got=repr(model),
                expected="a beta-divergence alone",
            )
        name, _ = parse_choice(model.field)
        if not issubclass(fields.get(name), LinearField):
            raise ArgumentError("networks cannot learn one set after another", got=name, expected="hat, matrix")
        self.model, self.rule = model, rule
        # A model that knows something goes on from there: its templates count as much as the first set.
        self._keeps = model._w is not None
        if not self._keeps:
            # The first set is fitted as a whole: a dictionary from nowhere would take many sets to settle.
            model.fit(first)
        field = model._fitted()[0]
        assert isinstance(field, LinearField)
        self.field = field
        self.statistics = Statistics(field.coefficients, rule.beta)
        self._scale: float | None = None

    def take(self, points: PointSet, forgetting: float, border: Border | None = None) -> float:
        """Fit activations to points, add what they say about the templates; return their mean divergence."""
        model = self.model
        points = points.below(just_above(model.max_frequency_))
        data = prepare_data(points, model.power, model.weights, model.device)
        scale = float(data.scale)
        self._scale = self._scale or scale
        templates = Bound(self.field, self.field.prepare(data.frequencies))
        activations = self._activations(data, points, border)
        with torch.no_grad():
            w = templates.values()
            fit_activations_multiplicative(
                data, w, activations, self.rule, _ACTIVATION_UPDATES, _held(border, activations.field)
            )
            h = activations.values()
            negative, positive = (
                self.field.adjoint(templates.prepared, part) for part in data.parts(self.rule, w, h, "frequency")
            )
            # Data were divided by their mean: a loud set says more than a quiet one, as it would among all points.
            weight = (scale / self._scale) ** self.rule.beta
            if self._keeps:
                self.statistics.keep(self.field.coefficients, positive, weight)
                self._keeps = False
            self.statistics.add(self.field.coefficients, negative, positive, weight, forgetting)
            divergence = data.loss(self.rule, w, h)
            self.field.coefficients = self.statistics.solve(self.field.coefficients)
            activations.field.scale(torch.full((model.n_components,), scale, device=w.device))
        model._h = activations.field
        model.duration_ = max(model.duration_, points.end)
        return divergence

    def _activations(self, data: Data, points: PointSet, border: Border | None) -> Bound:
        """Return activations at an even start: a matrix for grids, else hats at nodes that all segments share."""
        count, device = self.model.n_components, self.model.device
        # Where no point has weight, activations are what lies between those that are known.
        times = data.known("time")
        axis = Axis("time", times, float(times[0]), float(times[-1]))
        field: HatField
        if data.apart:
            field = MatrixField.build(axis, count, {}, np.random.default_rng(0), device)
        else:
            below = np.floor(times / _NODE_STEP)
            steps = np.unique(np.concatenate([below, below + 1]))
            nodes = steps[steps <= np.ceil(times[-1] / _NODE_STEP)] * _NODE_STEP
            field = HatField(nodes, torch.empty(len(nodes), count, device=device))
        level = 1 / max(float(self.field.evaluate(data.frequencies).sum(1).mean()), FLOOR)
        field.coefficients = torch.full((len(field.nodes), count), max(level, FLOOR), device=device)
        if border is not None:
            border.hold(field, float(data.scale))
        return Bound(field, field.prepare(data.times))


class Border:
    """The last node of the segment before, which the next one begins with."""

    def __init__(self) -> None:
        self.node: float | None = None
        self.values: Tensor | None = None

    def hold(self, field: HatField, scale: float) -> None:
        """Give a field's first node the value it had in the segment before."""
        if self.values is not None and field.nodes[0] == self.node:
            field.coefficients[0] = (self.values / scale).clamp_min(FLOOR)

    def keep(self, field: HatField) -> None:
        """Note where a segment ends."""
        self.node, self.values = float(field.nodes[-1]), field.coefficients[-1].clone()


def _held(border: Border | None, field: Any) -> Tensor | None:
    """Return which rows of activations stay as they are, bool [M, 1]; None: none."""
    if border is None or border.node is None or field.nodes[0] != border.node:
        return None
    rows = torch.zeros(len(field.nodes), 1, dtype=torch.bool, device=field.coefficients.device)
    rows[0] = True
    return rows


def fit_segments(
    segments: Segments, n_components: int = 20, *, passes: int = 2, keep_activations: bool = True, **settings: Any
) -> INMF:
    """Fit one model to a recording of any length, a segment at a time, with templates shared by all.

    Parameters
    ----------
    segments
        Point sets on one clock, one after another in time; or a function that returns them anew for each pass, which
        more than one pass needs. Only one is in memory at a time.
    n_components
        Number of components K.
    passes
        In the last pass templates learn after every segment, and activations are found. Where there is one before it,
        that one fits the templates to frames drawn at random from the whole recording, where segments are grids;
        without, they start from the first segment alone. Any in between are like the last.
    keep_activations
        Keep the activations of the last pass, 4 K bytes a frame: the only memory that grows with the length. Without,
        `INMF.activations` knows the last segment alone.
    settings
        As `INMF` takes them; ``max_iter`` is for the fit that templates start from.

    Returns
    -------
    model
        Its activations are continuous: where segments share no frame, straight lines join them, and where activations
        are hats, segments share the node at their border.

    Raises
    ------
    PointsError
        When there are no segments, or they do not follow one another in time.
    ArgumentError
        When more than one pass is asked of an iterable that gives its segments only once, or a setting does not fit.
    """
    from inmf_flow.factorize.model import INMF

    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
        raise ArgumentError("passes must be a whole number", got=repr(passes), expected=">= 1")
    once = not callable(segments) and iter(segments) is segments
    if once and passes > 1:
        raise ArgumentError(
            "these segments can be read only once",
            got=type(segments).__name__,
            expected="a list, or a function that returns them anew",
            hint="Give passes=1, or a function.",
        )
    model = INMF(n_components, **settings)
    draw = np.random.default_rng(model.random_state)
    sample = None if passes == 1 else draw_sample(_in_order(_again(segments)), draw)
    learner = None if sample is None else Learner(model, sample)
    del sample
    trace = Trace()
    # A pass that only drew a sample is done.
    passes -= learner is not None
    collected = _Collected(model.n_components)
    for number in range(passes):
        border, total, weight = Border(), 0.0, 0.0
        for points in _in_order(_again(segments)):
            if learner is None and is_silent(points):
                collected.add(*_zeros(points, model.n_components))
                continue
            learner = learner or Learner(model, points)
            divergence = learner.take(points, 1.0, border)
            field = model._fitted()[1]
            assert isinstance(field, HatField)
            border.keep(field)
            total, weight = total + divergence * points.n_points, weight + points.n_points
            if keep_activations and number == passes - 1:
                collected.add(field.nodes, field.coefficients.cpu().numpy())
        if learner is None:
            raise PointsError("there are no segments to fit", got=repr(segments))
        trace.add(number + 1, total / max(weight, 1))
    if collected.count:
        model._h = collected.field(model.device)
    w, h = model._fitted()
    assert isinstance(w, HatField)
    peaks = w.coefficients.amax(0).clamp_min(FLOOR)
    w.scale(1 / peaks)
    h.scale(peaks)
    model.n_iter_, model.divergence_curve_ = trace.n_iter, trace.curve
    return model


def is_silent(points: PointSet) -> bool:
    """Return whether no point that has weight is above zero."""
    return not any(((np.nan_to_num(block.magnitudes) > 0) & (block.weights > 0)).any() for block in points.blocks)


def _zeros(points: PointSet, n_components: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    times = np.unique(np.concatenate([block.times for block in points.blocks]))
    return times[[0, -1]], np.zeros((2, n_components), np.float32)


def draw_sample(segments: Iterable[PointSet], draw: np.random.Generator) -> PointSet | None:
    """Return frames drawn at random from all segments, each with the same chance; None unless all are alike grids."""
    kept: list[GridBlock] = []
    frequencies: NDArray[np.float64] | None = None
    share = 1.0
    for points in segments:
        for block in points.blocks:
            if not isinstance(block, GridBlock):
                return None
            frequencies = block.frequencies if frequencies is None else frequencies
            alike = not kept or kept[0].magnitudes.shape[:-1] == block.magnitudes.shape[:-1]
            if not alike or not np.array_equal(frequencies, block.frequencies):
                return None
            kept.append(_thinned(block, share, draw))
        while sum(block.magnitudes.size for block in kept) > 2 * _SAMPLE_POINTS and sum(len(b.times) for b in kept) > 1:
            share /= 2
            kept = [block for block in (_thinned(block, 0.5, draw) for block in kept) if len(block.times)]
    kept = [block for block in kept if len(block.times)]
    if frequencies is None or not kept:
        return None
    size = sum(block.magnitudes.size for block in kept)
    kept = [_thinned(block, _SAMPLE_POINTS / size, draw) for block in kept] if size > _SAMPLE_POINTS else kept
    times, weights = (np.concatenate([getattr(block, name) for block in kept]) for name in ("times", "time_weights"))
    magnitudes = np.concatenate([block.magnitudes for block in kept], axis=-1)
    if not len(times):
        return None
    frequency_weights = kept[0].frequency_weights
    kept.clear()
    if (np.diff(times) <= 0).any():
        rising = np.unique(times, return_index=True)[1]
        times, weights, magnitudes = times[rising], weights[rising], magnitudes[..., rising]
    grid = GridBlock.build(times, frequencies, magnitudes, time_weights=weights, frequency_weights=frequency_weights)
    return PointSet((grid,), duration=float(times[-1]) + 1e-9)


def _thinned(block: GridBlock, share: float, draw: np.random.Generator) -> GridBlock:
    """Return a copy of a random share of a block's frames."""
    count = len(block.times)
    if share >= 1:
        return block
    # What is rounded is rounded by chance: thousands of segments of few frames must not leave one each.
    at = np.sort(draw.choice(count, min(count, int(share * count + draw.random())), replace=False))
    return GridBlock.build(
        block.times[at],
        block.frequencies,
        block.magnitudes[..., at],
        time_weights=block.time_weights[at],
        frequency_weights=block.frequency_weights,
    )


def _again(segments: Segments) -> Iterable[PointSet]:
    return segments() if callable(segments) else segments


def _in_order(segments: Iterable[PointSet]) -> Iterator[PointSet]:
    end = -np.inf
    for number, points in enumerate(segments, 1):
        if not points.blocks or points.n_points == 0:
            continue
        begin = min(float(block.times[0]) for block in points.blocks if len(block.times))
        if begin < end - _NODE_STEP:
            raise PointsError(
                "segments must follow one another in time",
                where=f"segment {number}",
                got=f"a point at {begin:.3f} s",
                expected=f"none before {end:.3f} s",
            )
        end = max(float(block.times[-1]) for block in points.blocks if len(block.times))
        yield points


class _Collected:
    """Activations of segments, one after another, in two arrays that double when they are full.

    A small array for each segment would lie between the large ones that come and go, and keep the memory of these from
    being given back: 1 MB a segment was measured.
    """

    def __init__(self, n_components: int) -> None:
        self._nodes, self._values = np.empty(1024), np.empty((1024, n_components), np.float32)
        self.count = 0

    def add(self, at: NDArray[np.float64], activations: NDArray[np.float32]) -> None:
        """Append nodes [M] and values [M, K]; the first may be the one that the segment before ended with."""
        skip = int(self.count > 0 and at[0] <= self._nodes[self.count - 1])
        end = self.count + len(at) - skip
        if end > len(self._nodes):
            size = max(2 * len(self._nodes), end)
            nodes, values = np.empty(size), np.empty((size, self._values.shape[1]), np.float32)
            nodes[: self.count], values[: self.count] = self._nodes[: self.count], self._values[: self.count]
            self._nodes, self._values = nodes, values
        self._nodes[self.count : end] = at[skip:]
        self._values[self.count : end] = activations[skip:]
        self.count = end

    def field(self, device: str) -> HatField:
        """Return all of them as one field, which keeps these arrays."""
        return HatField(self._nodes[: self.count], torch.from_numpy(self._values[: self.count]).to(device))
