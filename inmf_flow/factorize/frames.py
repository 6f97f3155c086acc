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

    def template_parts(self, values: Float32, activations: Float32) -> tuple[Float32, Float32]:
        """Return both parts of the gradient of the divergence by the templates, each [F, K]; see `Divergence`.

        Parameters
        ----------
        values
            Magnitudes^power, [F, N].
        activations
            Of the data themselves, [K, N]: loud frames count for more.
        """
        v, model = values[self._rows] + np.float32(EPSILON), self._w @ activations + np.float32(EPSILON)
        added = self._parts(v, model)
        negative, positive = np.zeros_like(self._templates), np.zeros_like(self._templates)
        negative[self._rows] = model @ activations.T
        positive[self._rows] = activations.sum(axis=1) if added is None else added @ activations.T
        return negative, positive

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
    """Templates that follow a stream: sums of what past frames say, of which the older count for less.

    Each update minimizes a majorizer of the divergence summed over past frames, as online NMF does (Lefèvre, Bach &
    Févotte 2011, "Online algorithms for nonnegative matrix factorization with the Itakura-Saito divergence"), for any
    beta.

    Parameters
    ----------
    fit
        The frames' fit, whose templates are changed.
    columns
        Which of its templates follow.
    half_life
        Seconds after which what a frame says counts half.
    prior
        Seconds that the templates at the start count for.
    """

    def __init__(self, fit: FrameFit, columns: slice, half_life: float, prior: float) -> None:
        self._fit, self._columns = fit, columns
        self._half_life, self._prior = half_life, prior
        self._sums: tuple[Float32, Float32] | None = None

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
        rows, power = self._fit.rows, np.float32(1 / self._fit.exponent)
        negative, positive = (part[rows, self._columns] for part in self._fit.template_parts(values, activations))
        table = self._fit.templates.copy()
        now = table[rows, self._columns] ** power
        if self._sums is None:
            # As if that many seconds like these had been explained by the first templates without error.
            weight = positive * np.float32(self._prior / seconds)
            self._sums = now * weight, weight
        keep = np.float32(0.5 ** (seconds / self._half_life))
        taken, added = keep * self._sums[0] + now * negative, keep * self._sums[1] + positive
        self._sums = taken, added
        table[rows, self._columns] = np.maximum((taken + TINY) / (added + TINY), FLOOR) ** np.float32(1 / power)
        self._fit.templates = table
