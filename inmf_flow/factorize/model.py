"""`INMF`: the estimator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError, NotFittedError, PointsError
from inmf_flow.factorize import files
from inmf_flow.factorize.activations import Activations, fit_activations
from inmf_flow.factorize.context import SPAN, interpolated, lag_field, lags_for, predict_block, table_of, with_lags
from inmf_flow.factorize.data import Data, prepare_data
from inmf_flow.factorize.divergences import EPSILON, get_divergence
from inmf_flow.factorize.fields import Axis, Field, LinearField, just_above
from inmf_flow.factorize.hat import component_subset
from inmf_flow.factorize.online import Learner, is_silent
from inmf_flow.factorize.penalties import Penalties
from inmf_flow.factorize.penalties import Weights as PenaltyWeights
from inmf_flow.factorize.settings import axes_of, check_settings, choose_optimizer, fixed_components
from inmf_flow.factorize.solvers import RELAXATION, Bound, Rules, Trace, fit_multiplicative, fit_rprop
from inmf_flow.factorize.start import set_activations, set_templates, start
from inmf_flow.factorize.warm import fit_warm
from inmf_flow.points import PointSet
from inmf_flow.registry import fields, parse_choice
from inmf_flow.remote import as_path

_DEFAULT_ITERATIONS = {"mu": 300, "warm": 30, "rprop": 1000}


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
        ``"mu"`` (multiplicative updates; linear fields), ``"warm"`` (networks start from what multiplicative updates
        find, and are refined) or ``"rprop"`` (the paper's; any field). By default ``"mu"`` for linear fields, else
        ``"warm"``.
    max_iter
        Most iterations; by default 300 multiplicative updates, 30 refinements of a warm start, or 1000 of ``rprop``.
    tol
        Stop when ten iterations (one of a warm start) improve the divergence by less than this share of it; 0 never
        stops early.
    random_state
        Seed of the start; equal seeds give equal models on one machine's CPU, with as many threads.
    weights
        ``"area"``: points count by the time-frequency area they stand for. ``"uniform"``: all alike, as in the paper.
    init
        Where linear fields start: ``"moments"`` (each template at the mean of a few random moments of the data),
        ``"random"``, or ``"harmonic"`` (harmonic series; options ``low``, ``high``, ``width`` in hertz, ``partials``).
    n_init
        Number of starts, >= 1, with seeds from ``random_state`` on; the fit with the least divergence is kept.
    context
        Seconds over which a template moves, 0 to 1: with 0 it is a function of hertz, else of hertz and of the lag
        since its component began, and `predict` is the mean over lags of W_k(f, lag) H_k(t - lag); see
        `inmf_flow.factorize.context`. Lags are whole hops of the points that are fitted, and templates are straight
        lines in between. Fields ``hat`` and ``matrix``.
    relaxation
        Extrapolation of multiplicative updates, 1 to 2: 1 are plain updates, classical NMF's.
    sparsity, smoothness, decorrelation
        How much is added to the mean divergence of data of mean 1: of the L1 norm of activations, of their squared
        changes from one time to the next, and of the overlap of different templates; see `Penalties`.
    negative
        What to do about negative magnitudes, which noise around zero leaves once its mean is taken off: None refuses
        them; ``"nearly"`` and ``"shift"`` fit them as they are, without the bias of clipping (Green & Bailey 2024,
        "Algorithms for Non-Negative Matrix Factorization on Noisy Data With Negative Values": Nearly-NMF and Shift-NMF;
        the first is faster). Only with ``beta_loss="frobenius"`` and ``power=1``.
    device
        ``"cpu"``, ``"cuda"`` or any torch device.

    Attributes
    ----------
    n_iter_
        Iterations that were run.
    divergence_curve_
        (iteration, weighted mean divergence of the data scaled to mean 1, penalties included) at every tenth iteration,
        every iteration of a warm start, or every pass of `fit_segments`.
    max_frequency_
        Hertz of the highest frequency that the model has seen.
    duration_
        Seconds that the activations cover.
    lags_
        Seconds at which the templates were learned, rising from 0, [C]; only 0 without a context.

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
        init: str | Mapping[str, Any] = "moments",
        n_init: int = 1,
        context: float = 0.0,
        relaxation: float = RELAXATION,
        sparsity: float = 0.0,
        smoothness: float = 0.0,
        decorrelation: float = 0.0,
        negative: str | None = None,
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
        self.init = init
        self.n_init = n_init
        self.context = context
        self.relaxation = relaxation
        self.sparsity = sparsity
        self.smoothness = smoothness
        self.decorrelation = decorrelation
        self.negative = negative
        self.device = device
        check_settings(self)
        self.provenance: dict[str, Any] = {}
        self._learner: Learner | None = None
        self._w: Field | None = None
        self._h: Field | None = None
        self.lags_: NDArray[np.float64] = np.zeros(1)

    def fit(
        self,
        points: PointSet,
        *,
        templates: Any = None,
        activations: Any = None,
        fixed: bool | Sequence[bool] = False,
    ) -> INMF:
        """Fit templates and activations to points.

        Several channels share templates and activations: the model explains their mean.

        Parameters
        ----------
        templates
            Where the first J templates of linear fields start: a fitted model, a function from hertz [F] to [F, J], or
            an array [F, J] at the points' distinct frequencies. A function is sampled at the field's nodes.
        activations
            The same for activations: a model, a function from seconds [T] to [J, T], or an array [J, T].
        fixed
            Which of the given templates stay as they are: all (True), none, or one bool for each of the J.

        Raises
        ------
        PointsError
            When there are no points, or magnitudes are negative.
        ArgumentError
            When the optimizer cannot fit the fields, or what is given does not fit.
        """
        self._learner = None
        self.lags_ = lags_for(points, self.context)
        moving = with_lags(points, self.lags_, padded=False)
        data = prepare_data(moving, self.power, self.weights, self.device, negative=self.negative)
        axes, max_frequency = axes_of(data, points)
        best: tuple[float, Trace, Field, Field] | None = None
        kept: torch.Tensor | None = None
        for number in range(self.n_init):
            random = np.random.default_rng(self.random_state + number)
            w, h, given = self._bind(data, axes, random, templates, activations)
            kept = fixed_components(self, fixed, given)
            trace = self._solve(data, w, h, axes, random, kept)
            if best is None or trace.curve[-1][1] < best[0]:
                best = trace.curve[-1][1], trace, w.field, h.field
        assert best is not None
        _, trace, self._w, self._h = best
        _normalize(data, self._w, self._h, kept)
        self.max_frequency_, self.duration_ = max_frequency, points.end
        self.n_iter_, self.divergence_curve_ = trace.n_iter, trace.curve
        return self

    def partial_fit(self, points: PointSet, *, forgetting: float = 1.0) -> INMF:
        """Let templates learn from one more point set, for streams: only sums of what came before are kept.

        The first call fits its points as a whole; a model that is fitted already goes on from its templates, which then
        count as much as these points. Each later call fits activations to its points with the templates frozen, then
        updates the templates from what all points so far have said. `activations` are those of the last points.
        Templates are not brought to a peak of 1 again. Points above ``max_frequency_`` of the first ones have no say,
        and silence before there is a model teaches nothing.

        Parameters
        ----------
        forgetting
            What earlier points count at each call, 0 to 1: 1 remembers all alike, 0.9 a tenth less at each call.

        Raises
        ------
        ArgumentError
            When the fields are not linear, or penalties or negative data are asked for.
        """
        if not 0 <= forgetting <= 1:
            raise ArgumentError("forgetting is out of range", got=forgetting, expected="0 to 1")
        if self._learner is None:
            if self._w is None and is_silent(points):
                return self
            self._learner = Learner(self, points)
        self._learner.take(points, forgetting)
        return self

    def _bind(
        self, data: Data, axes: tuple[Axis, Axis], random: np.random.Generator, templates: Any, activations: Any
    ) -> tuple[Bound, Bound, int]:
        """Return both fields at their start, and how many templates were given."""
        time = self.time_field
        if time == "auto":
            time = "matrix" if data.apart else self.field
        w, h = self._build_templates(axes[0], random), self._build(time, axes[1], random)
        bound = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
        optimizer = choose_optimizer(self, w, h)
        if optimizer == "mu":
            start(data, *bound, self.init, self.power, random)
        elif optimizer == "rprop":
            for field in (w, h):
                if isinstance(field, LinearField):
                    field.start_free(random)
        given = set_templates(w, templates, data.frequencies, self.lags_) if templates is not None else 0
        if activations is not None:
            set_activations(h, activations, data.times, float(data.scale))
        return *bound, given

    def _build_templates(self, axis: Axis, random: np.random.Generator) -> Field:
        if len(self.lags_) == 1:
            return self._build(self.field, axis, random)
        return lag_field([self._build(self.field, axis, random) for _ in self.lags_])

    def _build(self, spec: str | Mapping[str, Any], axis: Axis, random: np.random.Generator) -> Field:
        name, options = parse_choice(spec)
        cls = fields.get(name)
        assert issubclass(cls, Field)
        # Options such as the number of nodes belong to the axis they were given for.
        if axis.kind == "time" and spec == self.field and self.time_field == "auto":
            options = {}
        return cls.build(axis, self.n_components, options, random, self.device)

    def _solve(
        self,
        data: Data,
        w: Bound,
        h: Bound,
        axes: tuple[Axis, Axis],
        random: np.random.Generator,
        fixed: torch.Tensor | None,
    ) -> Trace:
        optimizer = choose_optimizer(self, w.field, h.field)
        iterations = self.max_iter or _DEFAULT_ITERATIONS[optimizer]
        amounts = PenaltyWeights(self.sparsity, self.smoothness, self.decorrelation)
        penalties = Penalties(amounts, data) if amounts else None
        divergence = get_divergence(self.beta_loss)
        if not data.weight > 0:
            # Nothing is known: the start is as good as anything.
            return Trace(0, [(0, 0.0)])
        if optimizer == "mu":
            rules = Rules(self.relaxation, penalties, fixed, signed=self.negative == "nearly")
            return fit_multiplicative(data, w, h, divergence, iterations, self.tol, rules)
        if fixed is not None:
            raise ArgumentError("fixed templates need multiplicative updates", got=f"optimizer={optimizer!r}")
        if optimizer == "warm":
            if penalties is not None or self.negative:
                what = "penalties" if penalties is not None else "negative data"
                raise ArgumentError(
                    f"{what} cannot be fitted by a warm start", got="optimizer='warm'", hint="Use optimizer='rprop'."
                )
            return fit_warm(data, w, h, divergence, iterations, self.tol, axes=axes, random=random)
        return fit_rprop(data, w, h, divergence, iterations, self.tol, penalties)

    def _fitted(self) -> tuple[Field, Field]:
        if self._w is None or self._h is None:
            raise NotFittedError("this model is not fitted yet", hint="Call fit(points), or INMF.load(path).")
        return self._w, self._h

    def templates(self, frequencies: ArrayLike, lag: float | None = None) -> NDArray[np.float32]:
        """Return the spectral templates at any hertz [F], shape [F, K].

        After `fit` each peaks at 1 over the fitted frequencies, but those that were kept fixed.
        Above the highest frequency that the model has seen a template keeps its last value: ask `max_frequency_`.

        Parameters
        ----------
        frequencies
            Hertz, [F].
        lag
            For a model with a context, the seconds since a component began; beyond the context templates keep their
            last value. By default the mean over the context.
        """
        field = self._fitted()[0]
        at = np.atleast_1d(np.asarray(frequencies, np.float64))
        if len(self.lags_) == 1:
            return field.evaluate(at)
        within = np.minimum(at, self.max_frequency_)
        if lag is not None:
            return interpolated(lambda number: field.evaluate(within + number * SPAN), self.lags_, lag)
        tables = [field.evaluate(within + number * SPAN) for number in range(len(self.lags_))]
        mean: NDArray[np.float32] = np.mean(tables, axis=0, dtype=np.float32)
        return mean

    def activations(self, times: ArrayLike) -> NDArray[np.float32]:
        """Return the activations of the fitted points at any seconds [T], shape [K, T]."""
        return np.ascontiguousarray(self._fitted()[1].evaluate(np.atleast_1d(np.asarray(times, np.float64))).T)

    def predict(self, points: PointSet) -> list[NDArray[np.float32]]:
        """Return the model at each block's points, [F, T] for grids and [P] for scattered points.

        Values are in the domain that is fitted: raise them to ``1 / power`` for magnitudes.
        """
        return self._predict(points, self.activations)

    def _predict(self, points: PointSet, activations: Callable[..., NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        lags = lags_for(points, self.context)
        return [predict_block(block, self.templates, activations, lags) for block in points.blocks]

    def transform(self, points: PointSet, max_iter: int = 100) -> Activations:
        """Fit activations to other points with the templates frozen; the result is a function of seconds.

        Points above ``max_frequency_`` have no say: no template knows them.
        """
        self._fitted()
        lags = lags_for(points, self.context)
        return fit_activations(
            with_lags(points.below(just_above(self.max_frequency_)), lags, padded=True),
            table_of(self.templates, lags),
            power=self.power,
            beta_loss=self.beta_loss,
            max_iter=max_iter,
            weights=self.weights,
            negative=self.negative,
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
        models = self._predict(points, self.activations if activations is None else activations)
        for block, model in zip(points.blocks, models, strict=True):
            values = np.power(block.magnitudes, self.power, dtype=np.float64)
            present = np.isfinite(values) & (block.weights > 0)
            v = torch.from_numpy(values[present] + EPSILON)
            v_hat = torch.from_numpy(np.broadcast_to(model, values.shape)[present].astype(np.float64) + EPSILON)
            total += float(rule.value(v, v_hat).sum())
            count += int(present.sum())
        if not count:
            raise PointsError("there are no points to score", got=repr(points))
        return total / count

    def subset(self, components: Sequence[int]) -> INMF:
        """Return a model of some of the components, in the order given, which shares nothing with this one.

        Raises
        ------
        ArgumentError
            When there is no such component, or fields are not ``hat`` or ``matrix``.
        """
        w, h = self._fitted()
        chosen = list(components)
        if not chosen or not all(0 <= k < self.n_components for k in chosen):
            raise ArgumentError("no such components", got=chosen, expected=f"some of 0 to {self.n_components - 1}")
        part = copy.copy(self)
        part.n_components, part.provenance, part._learner = len(chosen), dict(self.provenance), None
        part._w, part._h = (component_subset(field, chosen) for field in (w, h))
        return part

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file, atomically.

        Raises
        ------
        NotFittedError
            When there is nothing to save.
        """
        self._fitted()
        files.save(self, as_path(path))

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> INMF:
        """Read a model that `save` wrote.

        Raises
        ------
        ModelFileError
            When the file is missing, damaged, or not one of ours.
        """
        return files.load(cls, as_path(path), device)

    def __repr__(self) -> str:
        settings = f"field={self.field!r}, beta_loss={self.beta_loss!r}, power={self.power}"
        return f"INMF(n_components={self.n_components}, {settings})"


def _normalize(data: Data, w: Field, h: Field, fixed: torch.Tensor | None) -> None:
    """Let every template peak at 1 but those that are fixed; its level and the data's scale go into the activations."""
    with torch.no_grad():
        peaks = w.values(w.prepare(data.frequencies)).amax(0)
        peaks = torch.where(peaks > torch.finfo(peaks.dtype).tiny, peaks, torch.ones_like(peaks))
        if fixed is not None:
            peaks = torch.where(fixed, torch.ones_like(peaks), peaks)
        w.scale(1 / peaks)
        h.scale(peaks * float(data.scale))
