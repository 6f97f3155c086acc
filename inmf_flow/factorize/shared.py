"""One dictionary for a whole corpus: what it is between two passes, where it starts, and the steps it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.data import prepare_data
from inmf_flow.factorize.divergences import BetaDivergence, get_divergence
from inmf_flow.factorize.fields import FLOOR, TINY
from inmf_flow.factorize.hat import HatField
from inmf_flow.factorize.model import INMF
from inmf_flow.factorize.online import Statistics
from inmf_flow.factorize.penalties import Penalties, Weights
from inmf_flow.factorize.settings import axes_of, refuse_context
from inmf_flow.factorize.shared_items import SufficientStatistics
from inmf_flow.factorize.solvers import MOST_GROWTH, Trace
from inmf_flow.files import digest_bytes
from inmf_flow.points import PointSet
from inmf_flow.registry import fields, parse_choice

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class SharedDictionary:
    """The templates of a corpus between two steps, and all that the next step needs; plain data, made to be sent.

    `start_dictionary` makes one, `map_item` reads it, `reduce_pass` and `reduce_batch` return the next one,
    `save_dictionary` writes it as a checkpoint, and `model` turns it into an `INMF`.

    Attributes
    ----------
    nodes
        Hertz of the hats, rising, float64 [M].
    coefficients
        The templates at the nodes that the next pass holds, float32 [M, K].
    plain
        The templates as the last step left them, before they were extrapolated, float32 [M, K].
    settings
        What `INMF` takes, with every default written out, but ``device``.
    scale
        Data are divided by it: the mean of the start's sample. Items share it, so that loud ones count more, as they
        would in one fit of all.
    max_frequency
        Hertz of the highest frequency of the sample; points above have no say.
    numerator, denominator
        What all batches of online learning had to say (`inmf_flow.factorize.online.Statistics`), float64 [M, K].
    passes
        Passes over the corpus that are done.
    accepted
        The pass whose activations the next one goes on from; 0: even starts. It is the last one, unless that was taken
        back.
    best
        The mean divergence that the next pass must not exceed; None where it cannot, or there is none to compare with.
    careful
        Whether the next pass is made of plain updates: the last one was taken back.
    moving
        Steps since momentum was last at rest.
    batches, loss, weight
        Of the online pass that is under way: batches learned, and the sums of their losses and weights.
    curve
        (pass, mean divergence of the scaled data, penalties included) of each pass.
    """

    nodes: Float64
    coefficients: Float32
    plain: Float32
    settings: dict[str, Any]
    scale: float
    max_frequency: float
    numerator: Float64
    denominator: Float64
    passes: int = 0
    accepted: int = 0
    best: float | None = None
    careful: bool = False
    moving: int = 0
    batches: int = 0
    loss: float = 0.0
    weight: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()

    def __repr__(self) -> str:
        divergence = f", divergence {self.curve[-1][1]:.4g}" if self.curve else ""
        return f"SharedDictionary({self.coefficients.shape[1]} components, {self.passes} passes{divergence})"

    @property
    def relaxation(self) -> float:
        """Extrapolation of the next pass's updates: 1 where they are plain."""
        return 1.0 if self.careful else float(self.settings["relaxation"])

    def blank(self, device: str = "cpu") -> INMF:
        """Return a model of these settings that is not fitted."""
        return INMF(**self.settings, device=device)

    def field(self, device: str = "cpu") -> HatField:
        """Return the templates that the next pass holds."""
        return HatField(self.nodes, torch.from_numpy(self.coefficients.copy()).to(device))

    def has_settled(self, tol: float | None = None) -> bool:
        """Return whether the last pass improved the divergence by less than a share of it (by default the model's)."""
        # A pass that was taken back has gained nothing yet: the next one will.
        settled = Trace(curve=list(self.curve)).has_settled(self.settings["tol"] if tol is None else tol)
        return settled and not self.careful

    def model(self, device: str = "cpu") -> INMF:
        """Return a model with these templates, each at a peak of 1, and no activations: they are 0 at all times."""
        model = self.blank(device)
        peaks = self.plain.max(0)
        templates = torch.from_numpy(self.plain / np.where(peaks > np.finfo(np.float32).tiny, peaks, 1)).to(device)
        kind = fields.get(parse_choice(model.field)[0])
        assert issubclass(kind, HatField)
        model._w = kind(self.nodes.copy(), templates)
        model._h = HatField(np.zeros(1), torch.zeros((1, model.n_components), device=device))
        model.max_frequency_, model.duration_ = self.max_frequency, 0.0
        model.n_iter_, model.divergence_curve_ = self.passes, list(self.curve)
        return model


def choose_sample(
    keys: Sequence[str], count: int = 8, *, rates: Sequence[float] | None = None, seed: int = 0
) -> list[int]:
    """Return the places of the items that a dictionary starts from, drawn by their keys alone.

    Parameters
    ----------
    keys
        A name of each item that no other has: the order in which a corpus is listed changes nothing.
    count
        So many are drawn, or all.
    rates
        Each item's own sample rate; of every rate there is then at least one item in the sample, as templates reach no
        higher than the sample's highest frequency.
    seed
        Of another draw.
    """
    if len(set(keys)) != len(keys):
        raise ArgumentError("two items have the same key", expected="one key an item")
    order = sorted(range(len(keys)), key=lambda at: digest_bytes(str(seed).encode(), keys[at].encode()))
    needed: dict[float, int] = {}
    for at in order if rates is not None else ():
        assert rates is not None
        needed.setdefault(rates[at], at)
    kept = set(needed.values())
    for at in order:
        if len(kept) >= count:
            break
        kept.add(at)
    return [at for at in order if at in kept]


def start_dictionary(
    sample: Sequence[PointSet], n_components: int = 20, *, iterations: int = 0, **settings: Any
) -> SharedDictionary:
    """Return where learning starts: nodes, scale and templates of a sample of the corpus's items.

    Parameters
    ----------
    sample
        Points of some items, at least one; see `choose_sample`. They are in memory together. An item that was brought
        to a higher rate than its own goes through ``points.below(own_rate / 2)`` first, as in `map_item`.
    iterations
        Of a fit to the sample alone, which saves passes over the corpus; 0 starts from moments of the sample.
    settings
        As `INMF` takes them: the field is linear (hat or matrix), and data are not negative.

    Raises
    ------
    ArgumentError
        When a setting cannot be had.
    PointsError
        When the sample has no points that have weight.
    """
    model = INMF(n_components, **settings)
    names = [name for name in signature(INMF).parameters if name != "device"]
    kept = {name: _plain(getattr(model, name)) for name in names}
    kind = fields.get(parse_choice(model.field)[0])
    if not issubclass(kind, HatField):
        raise ArgumentError("networks cannot share a dictionary", got=repr(model.field), expected="hat or matrix")
    refuse_context(model, "a shared dictionary")
    if model.negative:
        raise ArgumentError("negative data cannot share a dictionary", got=f"negative={model.negative!r}")
    points = PointSet.end_to_end(sample)
    data = prepare_data(points, model.power, model.weights, model.device)
    if not data.weight > 0:
        raise PointsError("the sample has no points that have weight", got=repr(points))
    axes, max_frequency = axes_of(data, points)
    if iterations > 0:
        field = INMF(**{**kept, "max_iter": iterations, "device": model.device}).fit(points)._fitted()[0]
    else:
        field = model._bind(data, axes, np.random.default_rng(model.random_state), None, None)[0].field
    assert isinstance(field, HatField)
    w = field.coefficients.cpu().numpy()
    zeros = np.zeros(w.shape)
    return SharedDictionary(field.nodes, w, w, kept, float(data.scale), max_frequency, zeros, zeros)


def reduce_pass(dictionary: SharedDictionary, statistics: SufficientStatistics) -> SharedDictionary:
    """Take the multiplicative step that all items together ask for, at the end of a pass over the corpus.

    With ``relaxation=1`` the mean divergence never rises from one pass to the next, for the same reason as in one fit
    of all points: each step minimizes a majorizer, whose factors are sums over the items. Above 1, templates then go on
    along their last relative change as those of `INMF` do, and a pass at whose end the divergence has risen is taken
    back: templates return to where the step had left them, activations to those of pass ``accepted``, and the next
    pass is of plain updates, which cannot rise.

    Parameters
    ----------
    statistics
        Of all items, from `PairwiseSum.total`.

    Returns
    -------
    dictionary
        Its next pass goes on from the activations of pass ``accepted``. The pass just reduced is number ``passes``.
    """
    number = dictionary.passes + 1
    if not statistics.weight > 0:
        # Nothing is known: what is there is as good as anything.
        return replace(dictionary, passes=number, accepted=number)
    mean = statistics.loss / statistics.weight
    best = dictionary.best
    if best is not None and not mean <= best:
        curve = (*dictionary.curve, (number, best))
        return replace(
            dictionary, coefficients=dictionary.plain, passes=number, best=None, careful=True, moving=0, curve=curve
        )
    model = dictionary.blank()
    divergence = get_divergence(model.beta_loss)
    penalized = Weights(model.sparsity, model.smoothness, model.decorrelation)
    exponent = Penalties.exponent(divergence) if penalized else divergence.exponent
    ratio = (statistics.negative + TINY) / (statistics.positive + TINY)
    found = (dictionary.coefficients * ratio**exponent).clip(FLOOR).astype(np.float32)
    momentum = min(dictionary.moving / (dictionary.moving + 4), model.relaxation - 1)
    coefficients = found
    if momentum > 0:
        growth = (1 + momentum * (found.astype(np.float64) / dictionary.plain - 1)).clip(max=MOST_GROWTH)
        coefficients = (found * growth).clip(FLOOR).astype(np.float32)
    return replace(
        dictionary,
        coefficients=coefficients,
        plain=found,
        passes=number,
        accepted=number,
        best=mean if model.relaxation > 1 else None,
        careful=False,
        moving=dictionary.moving + 1,
        curve=_longer(dictionary, number, mean),
    )


def reduce_batch(
    dictionary: SharedDictionary, statistics: SufficientStatistics, forgetting: float = 1.0
) -> SharedDictionary:
    """Let a batch of items join online learning: templates that all batches so far ask for.

    As `INMF.partial_fit` learns, with a batch instead of a point set: templates change after every batch, so batches
    come in the order of the plan. `finish_pass` ends a pass.

    Parameters
    ----------
    statistics
        Of the batch's items, mapped with this dictionary, their activations fitted from an even start (50 plain updates
        are `partial_fit`'s) or gone on from the pass before.
    forgetting
        What earlier batches count at each batch, 0 to 1.

    Raises
    ------
    ArgumentError
        When ``forgetting`` is out of range, the divergence is not a beta-divergence, or there are penalties.
    """
    if not 0 <= forgetting <= 1:
        raise ArgumentError("forgetting is out of range", got=forgetting, expected="0 to 1")
    model = dictionary.blank()
    rule = get_divergence(model.beta_loss)
    if model.sparsity or model.smoothness or model.decorrelation or not isinstance(rule, BetaDivergence):
        raise ArgumentError(
            "batches that come one after another are learned without penalties",
            got=repr(model),
            expected="a beta-divergence alone",
            hint="Learn in passes over the whole corpus.",
        )
    coefficients = torch.from_numpy(dictionary.coefficients.astype(np.float64))
    past = Statistics(coefficients, rule.beta)
    past.numerator.copy_(torch.from_numpy(dictionary.numerator))
    past.denominator.copy_(torch.from_numpy(dictionary.denominator))
    found = dictionary.coefficients
    if statistics.weight > 0:
        parts = torch.from_numpy(statistics.negative), torch.from_numpy(statistics.positive)
        past.add(coefficients, *parts, 1.0, forgetting)
        found = past.solve(coefficients).numpy().astype(np.float32)
    return replace(
        dictionary,
        coefficients=found,
        plain=found,
        numerator=past.numerator.numpy(),
        denominator=past.denominator.numpy(),
        batches=dictionary.batches + 1,
        loss=dictionary.loss + statistics.loss,
        weight=dictionary.weight + statistics.weight,
        best=None,
        careful=False,
        moving=0,
    )


def finish_pass(dictionary: SharedDictionary) -> SharedDictionary:
    """End a pass of `reduce_batch`: note its mean divergence, each batch's at the templates that it was mapped with."""
    number = dictionary.passes + 1
    mean = dictionary.loss / dictionary.weight if dictionary.weight > 0 else 0.0
    curve = _longer(dictionary, number, mean)
    return replace(dictionary, passes=number, accepted=number, batches=0, loss=0.0, weight=0.0, curve=curve)


def _longer(dictionary: SharedDictionary, number: int, mean: float) -> tuple[tuple[int, float], ...]:
    """Return the curve with one more pass; a divergence that is not finite is an error."""
    trace = Trace(curve=list(dictionary.curve))
    trace.add(number, mean)
    return tuple(trace.curve)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
