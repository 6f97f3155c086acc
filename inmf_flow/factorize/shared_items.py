"""What one item of a corpus says about a dictionary that all share: the map of map and reduce."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.activations import Activations
from inmf_flow.factorize.data import Data, prepare_data
from inmf_flow.factorize.divergences import Divergence, get_divergence
from inmf_flow.factorize.fields import FLOOR, Axis, just_above
from inmf_flow.factorize.hat import HatField
from inmf_flow.factorize.penalties import Penalties, Weights
from inmf_flow.factorize.solvers import MOST_GROWTH, Bound
from inmf_flow.points import PointSet
from inmf_flow.registry import fields, parse_choice

if TYPE_CHECKING:
    from inmf_flow.factorize.shared import SharedDictionary

#: Updates of an item's activations in one pass: the templates move little from one to the next.
UPDATES = 5


@dataclass(frozen=True, eq=False)
class SufficientStatistics:
    """What points have to say about the coefficients of the templates they were seen with; it adds up over items.

    Attributes
    ----------
    negative, positive
        The parts of the gradient of the weighted divergence (and penalties) by the coefficients, float64 [M, K].
    loss
        The weighted sum of the divergence and the penalties.
    weight
        The sum of the points' weights: ``loss / weight`` is the mean that a fit makes small.
    """

    negative: NDArray[np.float64]
    positive: NDArray[np.float64]
    loss: float
    weight: float

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> SufficientStatistics:
        """Return what no points have to say about coefficients [M, K]."""
        return cls(np.zeros(shape), np.zeros(shape), 0.0, 0.0)

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        """Join what two items say. Only `PairwiseSum` adds many in an order that does not depend on who came first."""
        if not isinstance(other, SufficientStatistics):
            return NotImplemented
        return SufficientStatistics(
            self.negative + other.negative,
            self.positive + other.positive,
            self.loss + other.loss,
            self.weight + other.weight,
        )


@dataclass
class PairwiseSum:
    """The sum of items' statistics, the same to the last bit in whatever order and batches they come.

    Floating-point sums depend on their order, so it is fixed by the items' numbers: neighbours 2i and 2i + 1 are added
    first, then neighbouring pairs, and so on up a binary tree. What may be added already is; a batch of consecutive
    items therefore comes down to a few partial sums, one where its length is a power of two and it begins at a multiple
    of that. An item that is missing (unreadable, say) counts as nothing: say so by adding None, as its
    neighbours would wait for it. Rounding errors grow with the logarithm of the
    number of items (Higham 1993, "The accuracy of floating point summation").

    Attributes
    ----------
    nodes
        Partial sums that wait for their neighbour, by (level, number): of items number * 2^level and the
        2^level - 1 after it.
    """

    nodes: dict[tuple[int, int], SufficientStatistics | None] = field(default_factory=dict)

    def add(self, number: int, statistics: SufficientStatistics | None) -> None:
        """Let the item of a number (its place in the corpus, from 0) join; None: there is none, do not wait for it."""
        if number < 0:
            raise ArgumentError("items are numbered from 0", got=number)
        self._put(0, number, statistics)

    def merge(self, other: PairwiseSum) -> None:
        """Let the items of another sum join, such as a batch's."""
        for (level, number), statistics in other.nodes.items():
            self._put(level, number, statistics)

    def total(self) -> SufficientStatistics:
        """Return the sum of all items so far.

        Raises
        ------
        ArgumentError
            When there are none.
        """
        waiting = dict(self.nodes)
        level = 0
        while len(waiting) > 1:
            # Whoever has no neighbour goes up alone, and may find one there.
            for key in sorted(key for key in waiting if key[0] == level):
                if key in waiting:
                    mine, neighbour = waiting.pop(key), waiting.pop((level, key[1] ^ 1), None)
                    waiting[level + 1, key[1] >> 1] = _joined(mine, neighbour)
            level += 1
        result = next(iter(waiting.values()), None)
        if result is None:
            raise ArgumentError("no item has statistics", expected="at least one that was mapped")
        return result

    def _put(self, level: int, number: int, statistics: SufficientStatistics | None) -> None:
        within = any((above, number >> (above - level)) in self.nodes for above in range(level, level + 64))
        if within or (level and any(low < level and at >> (level - low) == number for low, at in self.nodes)):
            raise ArgumentError("an item was added twice", got=f"number {number << level}", expected="each item once")
        while (level, number ^ 1) in self.nodes:
            statistics = _joined(self.nodes.pop((level, number ^ 1)), statistics)
            level, number = level + 1, number >> 1
        self.nodes[level, number] = statistics


def _joined(first: SufficientStatistics | None, second: SufficientStatistics | None) -> SufficientStatistics | None:
    return second if first is None else first if second is None else first + second


def map_item(
    dictionary: SharedDictionary,
    points: PointSet,
    activations: Activations | None = None,
    *,
    updates: int = UPDATES,
    relaxation: float | None = None,
    device: str = "cpu",
) -> tuple[Activations, SufficientStatistics]:
    """Update an item's activations with the templates frozen; return them and what the item says about the templates.

    Nothing but the arguments decides the result: equal ones give equal bits on one kind of machine, with as many
    threads.

    Parameters
    ----------
    dictionary
        Its coefficients are held.
    points
        The item's, of any blocks. It speaks for the frequencies on which it has weight: one that was brought to a
        higher rate than its own goes through ``points.below(own_rate / 2)`` first. Points above the dictionary's
        ``max_frequency`` have no say.
    activations
        What the same item's last pass returned; None for an even start.
    updates
        Multiplicative updates of the activations, >= 0, before the templates' statistics are taken.
    relaxation
        Extrapolation of these updates, 1 to 2; by default the dictionary's. Above 1 the item's own divergence may rise;
        `reduce_pass` takes the pass back where the corpus's does.

    Returns
    -------
    activations
        To be kept for the next pass. They belong to the dictionary's coefficients as they are, whose peaks are not 1.
    statistics
        At the templates and the activations returned.

    Raises
    ------
    PointsError
        When magnitudes are negative.
    ArgumentError
        When the activations are not of these points, or ``updates`` is negative.
    """
    if updates < 0:
        raise ArgumentError("updates must not be negative", got=updates)
    model = dictionary.blank(device)
    divergence = get_divergence(model.beta_loss)
    shape = dictionary.coefficients.shape
    points = points.below(just_above(dictionary.max_frequency))
    if not points.n_points:
        nothing = Activations(np.zeros(1), np.zeros((shape[1], 1), np.float32))
        return activations or nothing, SufficientStatistics.zeros(shape)
    data = prepare_scaled(points, model.power, model.weights, dictionary.scale, device)
    templates = dictionary.field(device)
    prepared = templates.prepare(data.frequencies)
    w = templates.values(prepared)
    bound = _activations_field(dictionary, data, w, activations, device)
    weights = Weights(model.sparsity, model.smoothness, model.decorrelation)
    penalties = Penalties(weights, data) if weights and data.weight > 0 else None
    statistics = SufficientStatistics.zeros(shape)
    with torch.no_grad():
        if data.weight > 0:
            momentum = (dictionary.relaxation if relaxation is None else relaxation) - 1
            _update(data, w, bound, divergence, penalties, updates, momentum)
            statistics = _statistics(data, w, bound.values(), divergence, penalties, templates, prepared)
    field = bound.field
    assert isinstance(field, HatField)
    values = np.ascontiguousarray(field.coefficients.cpu().numpy().T)
    return Activations(field.nodes, values * np.float32(dictionary.scale)), statistics


def map_items(
    dictionary: SharedDictionary,
    items: Iterable[tuple[int, PointSet, Activations | None]],
    *,
    updates: int = UPDATES,
    relaxation: float | None = None,
    device: str = "cpu",
) -> tuple[dict[int, Activations], PairwiseSum]:
    """Map a batch of items (number in the corpus, points, activations); return their activations and their sum."""
    found: dict[int, Activations] = {}
    sums = PairwiseSum()
    for number, points, before in items:
        found[number], statistics = map_item(
            dictionary, points, before, updates=updates, relaxation=relaxation, device=device
        )
        sums.add(number, statistics)
    return found, sums


def prepare_scaled(points: PointSet, power: float, weights: str, scale: float, device: str) -> Data:
    """Return tensors of a point set, divided by a scale that all items share instead of by their own mean."""
    data = prepare_data(points, power, weights, device)
    ratio = float(data.scale) / scale
    for block in data.blocks:
        block.v.sub_(block.offset).mul_(ratio).add_(block.offset)
    data.scale = np.asarray(scale, np.float32)
    return data


def _activations_field(
    dictionary: SharedDictionary, data: Data, w: torch.Tensor, given: Activations | None, device: str
) -> Bound:
    """Return activations as `INMF` has them of one item: those that are given, or an even start at the data's level."""
    settings = dictionary.settings
    name, options = parse_choice(settings["time_field"])
    if name == "auto":
        name, options = ("matrix" if data.apart else parse_choice(settings["field"])[0]), {}
    times = data.known("time")
    axis = Axis("time", times, min(0.0, float(times[0])), float(times[-1]), data.mass("time"))
    count = dictionary.coefficients.shape[1]
    field = fields.get(name).build(axis, count, options, np.random.default_rng(0), device)  # type: ignore[attr-defined]
    if not isinstance(field, HatField):
        raise ArgumentError("a shared dictionary has no such activations", got=name, expected="auto, hat or matrix")
    shape = (len(field.nodes), count)
    if given is None:
        mass, weight = (float(part.double().sum()) for part in data.sums("time"))
        level = mass / max(weight * float(w.sum(1).mean()), FLOOR)
        field.coefficients = torch.full(shape, max(level, FLOOR), device=device)
    else:
        if not np.array_equal(given.times, field.nodes) or given.values.shape != shape[::-1]:
            raise ArgumentError(
                "the activations are not of these points",
                got=repr(given),
                expected=f"{count} components, {len(field.nodes)} times",
                hint="Begin again without them.",
            )
        values = np.ascontiguousarray(given.values.T / np.float32(dictionary.scale))
        field.coefficients = torch.from_numpy(values).to(device).clamp_min(FLOOR)
    return Bound(field, field.prepare(data.times))


def _update(
    data: Data,
    w: torch.Tensor,
    bound: Bound,
    divergence: Divergence,
    penalties: Penalties | None,
    updates: int,
    momentum: float,
) -> None:
    """Update activations with templates [NF, K] frozen, each time going on along the last relative change first."""
    field = bound.field
    assert isinstance(field, HatField)
    exponent = divergence.exponent if penalties is None else penalties.exponent(divergence)
    before = field.coefficients
    for number in range(updates):
        last = field.coefficients
        share = min(number / (number + 4), momentum)
        if share > 0:
            growth = (last / before).sub_(1).mul_(share).add_(1).clamp_(max=MOST_GROWTH)
            field.coefficients = growth.mul_(last).clamp_(min=FLOOR)
        before = last
        h = bound.values()
        parts = data.parts(divergence, w, h, "time")
        if penalties is not None:
            parts = penalties.add_parts(w, h, "time", parts)
        ratio = field.ratio(bound.prepared, *parts)
        field.coefficients = ratio.pow_(exponent).mul_(field.coefficients).clamp_(min=FLOOR)


def _statistics(
    data: Data,
    w: torch.Tensor,
    h: torch.Tensor,
    divergence: Divergence,
    penalties: Penalties | None,
    templates: HatField,
    prepared: object,
) -> SufficientStatistics:
    parts = data.parts(divergence, w, h, "frequency")
    mean = data.loss(divergence, w, h)
    if penalties is not None:
        parts = penalties.add_parts(w, h, "frequency", parts)
        mean += penalties.value(w, h)
    if not np.isfinite(mean):
        raise PointsError(
            "the divergence of an item is beyond single precision",
            got=mean,
            hint="Choose a beta_loss nearer to 1, or a smaller power.",
        )
    negative, positive = (
        templates.adjoint(prepared, part).double().cpu().numpy()  # type: ignore[arg-type]
        for part in parts
    )
    return SufficientStatistics(negative, positive, mean * data.weight, data.weight)
