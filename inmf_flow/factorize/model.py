"""`INMF`: the estimator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError, NotFittedError, PointsError
from inmf_flow.factorize import files
from inmf_flow.factorize.activations import Activations, fit_activations
from inmf_flow.factorize.data import Data, prepare_data
from inmf_flow.factorize.divergences import EPSILON, get_divergence
from inmf_flow.factorize.fields import Axis, Field, LinearField
from inmf_flow.factorize.solvers import Bound, Trace, fit_multiplicative, fit_rprop
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.registry import fields, parse_choice

#: Factor on ``max_frequency_``: a bin at the very edge must not fall outside by a rounding error.
EDGE = 1 + 1e-9
_DEFAULT_ITERATIONS = {"mu": 300, "rprop": 1000}


class INMF:
    """Implicit-neural NMF of a point set: m(t, f)^power ~ sum_k W_k(f) H_k(t) with non-negative functions W and H.

    Subramani, Smaragdis, Higuchi & Souden, "Rethinking Non-Negative Matrix Factorization with Implicit Neural
    Representations" (arXiv 2404.04439), equation 3.

    Parameters
    ----------
    n_components
        Number of components K, >= 1.
    beta_loss
        ``"kullback-leibler"`` (the paper's), ``"itakura-saito"``, ``"frobenius"``, a real beta, or a registered name.
    field
        What the templates W_k(f) are: ``"hat"`` (piecewise linear on 256 nodes of a logarithmic axis), ``"network"``
        (the paper's), ``"matrix"`` (free values: classical NMF), with options as in ``"hat:nodes=512"`` or
        ``{"hat": {"nodes": 512}}``.
    time_field
        What the activations H_k(t) are. ``"auto"``: a matrix where all points lie on one grid, or on several one after
        the other (the paper's variant for one STFT), else the same kind as ``field``.
    power
        Exponent put on magnitudes before fitting; the paper takes 0.5.
    optimizer
        ``"mu"`` (multiplicative updates; linear fields) or ``"rprop"`` (the paper's; any field). By default the one
        that fits the fields.
    max_iter
        Most iterations; 300 for ``mu`` and 1000 for ``rprop`` by default.
    tol
        Stop when ten iterations improve the divergence by less than this share of it; 0 never stops early.
    random_state
        Seed of the start; equal seeds give equal models on one machine.
    weights
        ``"area"``: points count by the time-frequency area they stand for. ``"uniform"``: all alike, as in the paper.
    device
        ``"cpu"``, ``"cuda"`` or any torch device.

    Attributes
    ----------
    n_iter_
        Iterations that were run.
    divergence_curve_
        (iteration, weighted mean divergence of the data scaled to mean 1) at every tenth iteration.
    max_frequency_
        Hertz of the highest frequency that the model has seen.
    duration_
        Seconds that the activations cover.

    Examples
    --------
    >>> import numpy as np
    >>> from inmf_flow import PointSet
    >>> points = PointSet.from_grid(np.arange(4) / 10, [100.0, 200.0, 300.0], np.ones((3, 4)))
    >>> model = INMF(n_components=2, random_state=0).fit(points)
    >>> model.templates([150.0]).shape, model.activations([0.05, 0.1]).shape
    ((1, 2), (2, 2))
    """

    def __init__(
        self,
        n_components: int = 20,
        *,
        beta_loss: str | float = "kullback-leibler",
        field: str | Mapping[str, Any] = "hat",
        time_field: str | Mapping[str, Any] = "auto",
        power: float = 0.5,
        optimizer: str | None = None,
        max_iter: int | None = None,
        tol: float = 1e-5,
        random_state: int = 0,
        weights: str = "area",
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.beta_loss = beta_loss
        self.field = field
        self.time_field = time_field
        self.power = power
        self.optimizer = optimizer
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.weights = weights
        self.device = device
        self._check()
        self.provenance: dict[str, Any] = {}
        self._w: Field | None = None
        self._h: Field | None = None

    def _check(self) -> None:
        whole = {
            "n_components": self.n_components,
            "max_iter": self.max_iter,
            "random_state": self.random_state,
        }
        for name, value in whole.items():
            least = 0 if name == "random_state" else 1
            if value is None and name == "max_iter":
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ArgumentError(f"{name} must be a whole number", got=repr(value), expected=f">= {least}")
        if not (np.isfinite(self.power) and self.power > 0):
            raise ArgumentError("power must be positive", got=self.power)
        if not (np.isfinite(self.tol) and self.tol >= 0):
            raise ArgumentError("tol must not be negative", got=self.tol)
        if self.optimizer not in (None, "mu", "rprop"):
            raise ArgumentError("no such optimizer", got=repr(self.optimizer), expected="'mu', 'rprop' or None")
        if self.weights not in ("area", "uniform"):
            raise ArgumentError("no such weights", got=repr(self.weights), expected="'area' or 'uniform'")
        get_divergence(self.beta_loss)
        fields.get(parse_choice(self.field)[0])
        if self.time_field != "auto":
            fields.get(parse_choice(self.time_field)[0])

    def fit(self, points: PointSet) -> INMF:
        """Fit templates and activations to points.

        Several channels share templates and activations: the model explains their mean.

        Raises
        ------
        PointsError
            When there are no points, or magnitudes are negative.
        ArgumentError
            When the optimizer cannot fit the fields.
        """
        data = prepare_data(points, self.power, self.weights, self.device)
        known = data.known("frequency")
        # 0 where no point has weight; a row of missing points alone was not seen either.
        self.max_frequency_ = min(points.max_frequency, float(known[-1]))
        self.duration_ = points.end
        random = np.random.default_rng(self.random_state)
        top = self.max_frequency_ or float(data.frequencies[-1])
        low = min(0.0, float(data.frequencies[0]))
        w = self._build(self.field, Axis("frequency", known, low, top), random)
        time = self.time_field
        if time == "auto":
            time = "matrix" if data.apart else self.field
        h = self._build(time, Axis("time", data.known("time"), min(0.0, float(data.times[0])), self.duration_), random)
        trace = self._solve(data, w, h, random)
        _normalize(data, w, h)
        self._w, self._h = w, h
        self.n_iter_, self.divergence_curve_ = trace.n_iter, trace.curve
        return self

    def _build(self, spec: str | Mapping[str, Any], axis: Axis, random: np.random.Generator) -> Field:
        name, options = parse_choice(spec)
        cls = fields.get(name)
        assert issubclass(cls, Field)
        # Options such as the number of nodes belong to the axis they were given for.
        if axis.kind == "time" and spec == self.field and self.time_field == "auto":
            options = {}
        return cls.build(axis, self.n_components, options, random, self.device)

    def _solve(self, data: Data, w: Field, h: Field, random: np.random.Generator) -> Trace:
        linear = isinstance(w, LinearField) and isinstance(h, LinearField)
        optimizer = self.optimizer or ("mu" if linear else "rprop")
        if optimizer == "mu" and not linear:
            raise ArgumentError(
                "multiplicative updates fit linear fields only",
                got=f"field={self.field!r}, time_field={self.time_field!r}",
                expected="hat or matrix",
                hint="Use optimizer='rprop'.",
            )
        if optimizer == "rprop":
            for side in (w, h):
                if isinstance(side, LinearField):
                    side.start_free(random)
        iterations = self.max_iter or _DEFAULT_ITERATIONS[optimizer]
        bound = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
        solve = fit_multiplicative if optimizer == "mu" else fit_rprop
        return solve(data, *bound, get_divergence(self.beta_loss), iterations, self.tol)

    def _fitted(self) -> tuple[Field, Field]:
        if self._w is None or self._h is None:
            raise NotFittedError("this model is not fitted yet", hint="Call fit(points), or INMF.load(path).")
        return self._w, self._h

    def templates(self, frequencies: ArrayLike) -> NDArray[np.float32]:
        """Return the spectral templates at any hertz [F], shape [F, K]; each peaks at 1 over the fitted frequencies.

        Above the highest frequency that the model has seen a template keeps its last value: ask `max_frequency_`.
        """
        return self._fitted()[0].evaluate(np.atleast_1d(np.asarray(frequencies, np.float64)))

    def activations(self, times: ArrayLike) -> NDArray[np.float32]:
        """Return the activations of the fitted points at any seconds [T], shape [K, T]."""
        return np.ascontiguousarray(self._fitted()[1].evaluate(np.atleast_1d(np.asarray(times, np.float64))).T)

    def predict(self, points: PointSet) -> list[NDArray[np.float32]]:
        """Return the model at each block's points, [F, T] for grids and [P] for scattered points.

        Values are in the domain that is fitted: raise them to ``1 / power`` for magnitudes.
        """
        return [
            predict_block(block, self.templates(block.frequencies), self.activations(block.times))
            for block in points.blocks
        ]

    def transform(self, points: PointSet, max_iter: int = 100) -> Activations:
        """Fit activations to other points with the templates frozen; the result is a function of seconds.

        Points above ``max_frequency_`` have no say: no template knows them.
        """
        self._fitted()
        return fit_activations(
            points.below(self.max_frequency_ * EDGE),
            self.templates,
            power=self.power,
            beta_loss=self.beta_loss,
            max_iter=max_iter,
            weights=self.weights,
            device=self.device,
        )

    def divergence(self, points: PointSet, activations: Activations | None = None) -> float:
        """Return the mean divergence a point, all points alike: the paper's figure.

        Parameters
        ----------
        points
            The points that were fitted, or others together with their ``activations`` from `transform`.

        Returns
        -------
        divergence
            Of magnitudes^power + 1e-8 from the model + 1e-8, in the data's own scale, missing points left out.
        """
        rule = get_divergence(self.beta_loss)
        total, count = 0.0, 0
        for block in points.blocks:
            h = self.activations(block.times) if activations is None else activations(block.times)
            model = predict_block(block, self.templates(block.frequencies), h)
            values = np.power(block.magnitudes, self.power, dtype=np.float64)
            present = np.isfinite(values) & (block.weights > 0)
            v = torch.from_numpy(values[present] + EPSILON)
            v_hat = torch.from_numpy(np.broadcast_to(model, values.shape)[present].astype(np.float64) + EPSILON)
            total += float(rule.value(v, v_hat).sum())
            count += int(present.sum())
        if not count:
            raise PointsError("there are no points to score", got=repr(points))
        return total / count

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file, atomically.

        Raises
        ------
        NotFittedError
            When there is nothing to save.
        """
        self._fitted()
        files.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> INMF:
        """Read a model that `save` wrote.

        Raises
        ------
        ModelFileError
            When the file is missing, damaged, or not one of ours.
        """
        return files.load(cls, Path(path), device)

    def __repr__(self) -> str:
        settings = f"field={self.field!r}, beta_loss={self.beta_loss!r}, power={self.power}"
        return f"INMF(n_components={self.n_components}, {settings})"


def predict_block(block: Any, templates: NDArray[np.float32], activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sum_k W_k(f) H_k(t) at a block's points from templates [F, K] and activations [K, T]."""
    if isinstance(block, GridBlock):
        return templates @ activations
    result: NDArray[np.float32] = np.einsum("pk,kp->p", templates, activations)
    return result


def _normalize(data: Data, w: Field, h: Field) -> None:
    """Let every template peak at 1, and put its level and the data's scale into the activations."""
    with torch.no_grad():
        peaks = w.values(w.prepare(data.frequencies)).amax(0)
        peaks = torch.where(peaks > torch.finfo(peaks.dtype).tiny, peaks, torch.ones_like(peaks))
        w.scale(1 / peaks)
        h.scale(peaks * float(data.scale))
