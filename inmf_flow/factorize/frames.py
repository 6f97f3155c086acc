"""Activations of a few frames at a time, templates frozen: as few operations as a stream can afford."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.divergences import EPSILON, BetaDivergence, Divergence, get_divergence
from inmf_flow.factorize.fields import FLOOR, TINY

Float32 = NDArray[np.float32]

# Of a stream that templates follow: how many seconds of frames are kept, and how often they are fitted again each time.
_KEPT_SECONDS, _ROUNDS = 2.0, 1
# Sums were taken while templates were still bad: what was heard at time s counts (s / t)^this less at time t, as in
# online dictionary learning (Mairal, Bach, Ponce & Sapiro 2010, section 3.4.2).
_EARLY_FORGETTING = 4.0
# Updates between two looks at the clock and at what changed.
_LOOK_EVERY = 4


class FrameFit:
    """Fits frames of one grid, each for itself, by multiplicative updates as `fit_activations` makes them.

    The same updates from the same start, but templates are made ready once, and what `fit_activations` prepares for any
    points is left out: for the two frames that a block of a stream brings, that takes most of its time.

    Parameters
    ----------
    templates
        [F, K], non-negative.
    frequency_weights
        Of the grid's rows in hertz, [F]; rows of weight 0 have no say.
    beta_loss
        As the templates were learned with.
    weights
        ``"area"``, or ``"uniform"`` to let all rows count alike.

    Attributes
    ----------
    templates
        [F, K]; put others of that shape there to go on with them.
    """

    def __init__(
        self, templates: Float32, frequency_weights: Float32, beta_loss: str | float, weights: str = "area"
    ) -> None:
        if templates.ndim != 2 or templates.shape[0] != len(frequency_weights):
            raise ArgumentError(
                "templates have the wrong shape", got=templates.shape, expected=f"[{len(frequency_weights)}, K]"
            )
        self._rows = np.flatnonzero(frequency_weights > 0)
        row_weights = frequency_weights[self._rows].astype(np.float32)
        self._weights = np.ones_like(row_weights) if weights == "uniform" else row_weights
        self._shares = self._weights / np.float32(max(float(self._weights.sum()), FLOOR))
        self._rule = get_divergence(beta_loss)
        self.templates = templates

    @property
    def templates(self) -> Float32:
        """The templates at all rows, [F, K]."""
        return self._templates

    @templates.setter
    def templates(self, templates: Float32) -> None:
        self._templates = templates
        self._w = np.ascontiguousarray(templates[self._rows], np.float32)
        self._weighted = np.ascontiguousarray((self._w * self._weights[:, None]).T)
        self._column_sums = self._weighted.sum(axis=1, dtype=np.float32)[:, None]
        self._level = max(float((self._shares @ self._w).sum()), FLOOR)

    def fit(
        self,
        values: Float32,
        max_iter: int,
        start: Float32 | None = None,
        tol: float = 0.0,
        deadline: float | None = None,
    ) -> tuple[Float32, Float32, int]:
        """Fit activations to magnitudes^power [F, N].

        Parameters
        ----------
        values
            Magnitudes^power, finite and not negative.
        max_iter
            Number of updates, >= 1.
        start
            Activations of frames of mean 1 to start from, [K, N] or [K, 1]; by default all components alike.
        tol
            End when the activations change by less than this share in an update.
        deadline
            End when `time.perf_counter` says so, but not before the first update.

        Returns
        -------
        activations
            Of the frames divided by their means, [K, N].
        scale
            These means, [N]: the activations of the data are ``activations * scale``.
        updates
            How many were made.
        """
        v = values[self._rows]
        means = self._shares @ v
        scale = np.where(means > 0, means, np.float32(1)).astype(np.float32)
        v /= scale
        v += np.float32(EPSILON)
        if start is None:
            level = np.maximum(self._shares @ v / np.float32(self._level), np.float32(FLOOR))
            h = np.repeat(level[None, :], self._w.shape[1], axis=0)
        else:
            h = np.maximum(np.broadcast_to(start, (self._w.shape[1], v.shape[1])), np.float32(FLOOR))
        model, gradient = np.empty_like(v), np.empty_like(h)
        for update in range(1, max_iter + 1):
            np.matmul(self._w, h, out=model)
            model += np.float32(EPSILON)
            added = self._parts(v, model)
            np.matmul(self._weighted, model, out=gradient)
            gradient += np.float32(TINY)
            gradient /= (self._column_sums if added is None else self._weighted @ added) + np.float32(TINY)
            if self._rule.exponent != 1:
                gradient **= np.float32(self._rule.exponent)
            looks = update % _LOOK_EVERY == 0
            change = float(np.abs((gradient - 1) * h).sum()) if tol and looks else np.inf
            h *= gradient
            np.maximum(h, np.float32(FLOOR), out=h)
            if change < tol * float(h.sum()) or (deadline is not None and looks and time.perf_counter() > deadline):
                return h, scale, update
        return h, scale, max_iter

    def improved(self, values: Float32, activations: Float32) -> Float32:
        """Return activations [K, N] of magnitudes^power [F, N] after one more update."""
        v = values[self._rows] + np.float32(EPSILON)
        model = self._w @ activations + np.float32(EPSILON)
        added = self._parts(v, model)
        ratio = self._weighted @ model + np.float32(TINY)
        ratio /= (self._column_sums if added is None else self._weighted @ added) + np.float32(TINY)
        if self._rule.exponent != 1:
            ratio **= np.float32(self._rule.exponent)
        better: Float32 = np.maximum(activations * ratio, np.float32(FLOOR))
        return better

    def template_parts(
        self,
        values: Float32,
        activations: Float32,
        columns: NDArray[np.intp],
        weights: Float32 | None = None,
    ) -> tuple[Float32, Float32]:
        """Return both parts of the gradient of the divergence by some templates, each [rows, J]; see `Divergence`.

        Parameters
        ----------
        values
            Magnitudes^power, [F, N].
        activations
            Of the data themselves, [K, N]: loud frames count for more.
        columns
            Which templates, [J].
        weights
            How much each frame counts for each of these, [J, N]; by default all alike.
        """
        v, model = values[self._rows] + np.float32(EPSILON), self._w @ activations + np.float32(EPSILON)
        added = self._parts(v, model)
        mine = activations[columns] if weights is None else activations[columns] * weights
        negative = model @ mine.T
        positive = np.broadcast_to(mine.sum(axis=1), negative.shape) if added is None else added @ mine.T
        return negative, positive.astype(np.float32)

    @property
    def exponent(self) -> float:
        """The power of a ratio of both parts in a multiplicative update."""
        return self._rule.exponent

    @property
    def rows(self) -> NDArray[np.intp]:
        """Which rows have a say."""
        return self._rows

    def _parts(self, v: Float32, model: Float32) -> Float32 | None:
        """Put the subtracted part of the gradient into ``model``; return the added one, None where it is 1."""
        if isinstance(self._rule, BetaDivergence) and self._rule.beta == 1:
            np.divide(v, model, out=model)
            return None
        return _parts_of(self._rule, v, model)


def _parts_of(rule: Divergence, v: Float32, model: Float32) -> Float32 | None:
    given, modelled = torch.from_numpy(v), torch.from_numpy(model)
    added = rule.positive_part(given, modelled)
    if added is modelled:
        added = modelled.clone()
    rule.negative_part(given, modelled, out=modelled)
    return None if added is None else added.numpy()


class OnlineTemplates:
    """Templates that follow a stream, those of other sources frozen.

    The last frames are kept and fitted again and again, activations and templates in turn, as templates can only be
    told from frozen ones once both have settled (Duan, Mysore & Smaragdis 2012, "Online PLCA for real-time
    semi-supervised source separation"). What older frames said is kept in sums that are forgotten at a steady rate
    (Lefèvre, Bach & Févotte 2011, "Online algorithms for nonnegative matrix factorization with the Itakura-Saito
    divergence"); each update minimizes a majorizer of the divergence over both.

    Parameters
    ----------
    fit
        The frames' fit, whose templates are changed.
    columns
        Which of its templates follow, [J].
    half_lives
        Of each of them, seconds after which what a frame says counts half, [J].
    priors
        Of each of them, seconds that it counts for as it is at the start, [J].
    unknown
        Which of them say nothing yet: they begin with the spectrum of the first frames, bool [J].
    """

    def __init__(
        self,
        fit: FrameFit,
        columns: NDArray[np.intp],
        half_lives: NDArray[np.float64],
        priors: NDArray[np.float64],
        unknown: NDArray[np.bool_],
    ) -> None:
        self._fit, self._columns, self._half_lives, self._priors = fit, columns, half_lives, priors
        self._unknown = unknown
        self._power = np.float32(1 / fit.exponent)
        # Seconds that sums stand for, [J].
        self._heard = priors.astype(np.float64)
        # Of frames that are kept no more: both sums of the templates' updates, [F, J] each.
        self._sums: tuple[Float32, Float32] | None = None
        self._values = self._activations = np.zeros((0, 0), np.float32)

    def follow(self, values: Float32, activations: Float32, seconds: float) -> None:
        """Take in frames and change the templates.

        Parameters
        ----------
        values
            Magnitudes^power, [F, N].
        activations
            Of these, [K, N].
        seconds
            That the frames stand for.
        """
        if seconds <= 0 or not values.any():
            return
        step = seconds / values.shape[1]
        if self._sums is None:
            self._begin(values, activations, seconds)
        else:
            self._values = np.concatenate([self._values, values], axis=1)
            self._activations = np.concatenate([self._activations, activations], axis=1)
        self._drop(max(round(_KEPT_SECONDS / step), 1), step)
        for _ in range(_ROUNDS):
            self._activations = self._fit.improved(self._values, self._activations)
            self._update(step)

    def _begin(self, values: Float32, activations: Float32, seconds: float) -> None:
        heard = values[self._fit.rows].mean(axis=1, keepdims=True)
        rows = np.ix_(self._fit.rows, self._columns)
        now = self._fit.templates[rows]
        shaped = now * heard
        # Of what is unknown the best guess is what is heard first: noise mostly begins before what it disturbs.
        shaped *= now.mean() / max(float(shaped.mean()), FLOOR)
        table = self._fit.templates.copy()
        table[rows] = np.where(self._unknown, shaped, now)
        self._fit.templates = table
        _, positive = self._parts(values, activations)
        # As if so many seconds like these had been explained by the first templates without error.
        weight = positive * (self._priors / seconds).astype(np.float32)
        self._sums = self._now() * weight, weight
        self._values, self._activations = values, activations

    def _drop(self, most: int, step: float) -> None:
        """Turn what the oldest of too many frames say into sums."""
        spare = self._values.shape[1] - most
        if spare <= 0:
            return
        assert self._sums is not None
        negative, positive = self._parts(self._values[:, :spare], self._activations[:, :spare])
        keep = self._kept_after(spare * step) * self._matured(spare * step)
        self._sums = keep * self._sums[0] + self._now() * negative, keep * self._sums[1] + positive
        self._values, self._activations = self._values[:, spare:], self._activations[:, spare:]

    def _update(self, step: float) -> None:
        assert self._sums is not None
        count = self._values.shape[1]
        ages = (count - 1 - np.arange(count)) * step
        weights = np.stack([self._kept_after(age) for age in ages], axis=1)
        negative, positive = self._parts(self._values, self._activations, weights)
        keep = self._kept_after(count * step)
        taken = keep * self._sums[0] + self._now() * negative
        given = keep * self._sums[1] + positive
        table = self._fit.templates.copy()
        new = np.maximum((taken + np.float32(TINY)) / (given + np.float32(TINY)), np.float32(FLOOR))
        table[np.ix_(self._fit.rows, self._columns)] = new ** np.float32(1 / self._power)
        self._fit.templates = table

    def _now(self) -> Float32:
        """Return the templates in the power in which their updates are sums."""
        now: Float32 = self._fit.templates[np.ix_(self._fit.rows, self._columns)] ** self._power
        return now

    def _parts(self, values: Float32, activations: Float32, weights: Float32 | None = None) -> tuple[Float32, Float32]:
        return self._fit.template_parts(values, activations, self._columns, weights)

    def _matured(self, seconds: float) -> Float32:
        """Return how much less sums count since templates have become better in so many seconds, [J]."""
        before = self._heard
        self._heard = before + seconds
        matured: Float32 = ((before / self._heard) ** _EARLY_FORGETTING).astype(np.float32)
        return matured

    def _kept_after(self, seconds: float) -> Float32:
        kept: Float32 = (0.5 ** (seconds / self._half_lives)).astype(np.float32)
        return kept
