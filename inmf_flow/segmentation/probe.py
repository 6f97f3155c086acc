"""`ActivationProbe`: a linear classifier whose every decision is a sum over components."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError, ModelFileError, NotFittedError
from inmf_flow.files import atomic_write, local_file
from inmf_flow.remote import as_path

FORMAT = 1
_HEADER = "inmf_flow_probe"
_SETTINGS = ("multilabel", "l2", "l1", "balanced", "max_iter", "tol")

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


class ActivationProbe:
    """Logistic regression on features of activations, whose weights say which components speak for which class.

    Lebourdais, Mariotte, Tahon, Larcher, Laurent & Meignier, "Explainable by-design Audio Segmentation through
    Non-Negative Matrix Factorization and Probing" (Interspeech 2024): a linear probe on activations, so that the
    logit of a class is a bias and one term for each component. The problem is convex; it is solved by L-BFGS.

    Parameters
    ----------
    multilabel
        Whether classes may overlap: each then has a logistic regression of its own, instead of one with probabilities
        that add up to 1.
    l2, l1
        How much half the sum of squares and the sum of absolute values of the weights of standardized features add to
        the mean loss of a frame, >= 0. L1 leaves out features that tell little.
    balanced
        Whether all classes weigh the same, however many frames they have.
    max_iter, tol
        Most iterations, and the largest slope at which they end.

    Attributes
    ----------
    classes_
        Names, [C].
    coef_, intercept_
        Weights of the standardized features [C, D] and biases [C].
    mean_, scale_
        What features [D] are standardized by.
    n_iter_
        Iterations that were run.
    loss_
        Mean loss of a training frame with the penalties.
    provenance
        What belongs to the file beside the weights, as plain data.

    Examples
    --------
    >>> import numpy as np
    >>> features = np.array([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.8, 0.2]])
    >>> probe = ActivationProbe().fit(features, ["speech", "speech", "music", "music"])
    >>> probe.predict([[0.9, 0.0]]).tolist(), probe.contributions([[0.9, 0.0]]).shape
    (['music'], (1, 2, 2))
    """

    def __init__(
        self,
        *,
        multilabel: bool = False,
        l2: float = 1e-2,
        l1: float = 0.0,
        balanced: bool = True,
        max_iter: int = 500,
        tol: float = 1e-6,
    ) -> None:
        for name, value in (("l2", l2), ("l1", l1)):
            if not (np.isfinite(value) and value >= 0):
                raise ArgumentError("a penalty must not be negative", where=name, got=value, expected="0 or more")
        if max_iter < 1:
            raise ArgumentError("max_iter must be at least 1", got=max_iter)
        self.multilabel = multilabel
        self.l2 = l2
        self.l1 = l1
        self.balanced = balanced
        self.max_iter = max_iter
        self.tol = tol
        self.classes_: list[str] = []
        self.provenance: dict[str, Any] = {}

    def fit(self, features: ArrayLike, labels: ArrayLike, classes: Sequence[str] | None = None) -> Self:
        """Learn weights from frames.

        Parameters
        ----------
        features
            [T, D], finite.
        labels
            A name for each frame, [T]; or which of the ``classes`` it has, bools [T, C]. Unless ``multilabel``, frames
            without a class, or named "", are left out, and none may have two.
        classes
            Their names and order; by default those that occur, sorted.

        Raises
        ------
        ArgumentError
            When shapes do not fit, values are not finite, or a class has no frame.
        """
        x = _as_features(features)
        marked, names = _as_marks(labels, classes, len(x))
        if not self.multilabel:
            if (marked.sum(1) > 1).any():
                raise ArgumentError("a frame has two classes", where="labels", hint="Use multilabel=True.")
            x, marked = x[marked.any(1)], marked[marked.any(1)]
        for number, name in enumerate(names):
            if not marked[:, number].any():
                raise ArgumentError("a class has no frame to learn from", where="labels", got=name)
            if self.multilabel and marked[:, number].all():
                raise ArgumentError("every frame has the class: there is nothing to tell it from", got=name)
        if len(names) < (1 if self.multilabel else 2):
            raise ArgumentError("there are too few classes", where="labels", got=names, expected="at least two")
        self.mean_, deviation = x.mean(0), x.std(0)
        # A feature that never changes says nothing, and must not become infinite.
        self.scale_ = np.where(deviation > 1e-12 * np.maximum(np.abs(self.mean_), 1e-30), deviation, np.inf)
        self.classes_ = names
        z = (x - self.mean_) / self.scale_
        self._solve(z, marked.astype(np.float64), self._frame_weights(marked))
        inside = np.stack([z[column].mean(0) for column in marked.T])
        outside = np.stack([z[~column].mean(0) if not column.all() else 0 * z[0] for column in marked.T])
        self._contrast = np.abs(inside - outside)
        return self

    def _frame_weights(self, marked: Bools) -> Float64:
        """Return what each frame counts for each class, [T, C], one in the mean."""
        weights = np.ones(marked.shape)
        if self.balanced and self.multilabel:
            share = marked.mean(0)
            weights = np.where(marked, 0.5 / share, 0.5 / (1 - share))
        elif self.balanced:
            weights[:] = (1 / (marked.mean(0) * marked.shape[1]))[marked.argmax(1)][:, None]
        return weights

    def _solve(self, z: Float64, truth: Float64, weights: Float64) -> None:
        from scipy.optimize import minimize

        count, size = truth.shape[1], z.shape[1]
        split = 2 if self.l1 else 1

        def loss(flat: Float64) -> tuple[float, Float64]:
            # With an L1 penalty weights are differences of two non-negative parts, which makes it smooth.
            bias, parts = flat[:count], flat[count:].reshape(split, count, size)
            w = parts[0] - parts[1] if self.l1 else parts[0]
            logits = z @ w.T + bias
            if self.multilabel:
                losses = np.logaddexp(0, logits) - truth * logits
                value = (weights * losses).sum(1).mean()
                slope = weights * (_sigmoid(logits) - truth)
            else:
                logs = logits - _log_sum(logits)
                value = -(weights * truth * logs).sum(1).mean()
                slope = weights * (np.exp(logs) - truth)
            slope = slope / len(z)
            step = slope.T @ z + self.l2 * w
            value += 0.5 * self.l2 * float((w**2).sum()) + self.l1 * float(parts.sum() if self.l1 else 0.0)
            slopes = [step + self.l1, -step + self.l1] if self.l1 else [step]
            return float(value), np.concatenate([slope.sum(0), *(each.ravel() for each in slopes)])

        start = np.zeros(count + split * count * size)
        free: list[tuple[float | None, float | None]] = [(None, None)] * count
        bounds = [*free, *[(0.0, None)] * (split * count * size)] if self.l1 else None
        options = {"maxiter": self.max_iter, "gtol": self.tol, "ftol": 1e-12, "maxcor": 20}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        parts = found.x[count:].reshape(split, count, size)
        self.intercept_, self.coef_ = found.x[:count], parts[0] - parts[1] if self.l1 else parts[0]
        self.n_iter_, self.loss_ = int(found.nit), float(found.fun)

    def decision_function(self, features: ArrayLike) -> Float64:
        """Return the logits of frames [T, D], [T, C]."""
        logits: Float64 = self._standardized(features) @ self.coef_.T + self.intercept_
        return logits

    def predict_proba(self, features: ArrayLike) -> Float64:
        """Return the probability of each class in frames [T, D], [T, C]; it adds up to 1 unless ``multilabel``."""
        logits = self.decision_function(features)
        result: Float64 = _sigmoid(logits) if self.multilabel else np.exp(logits - _log_sum(logits))
        return result

    def predict(self, features: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each frame, names [T]; with ``multilabel`` bools, [T, C]."""
        logits = self.decision_function(features)
        return logits > 0 if self.multilabel else np.array(self.classes_)[logits.argmax(1)]

    def contributions(self, features: ArrayLike) -> Float64:
        """Return what each feature adds to each logit of frames [T, D], [T, C, D].

        Their sum over features and the bias is the logit.
        """
        result: Float64 = self._standardized(features)[:, None, :] * self.coef_
        return result

    def relevance(self) -> Float64:
        """Return how much each feature, where large, speaks for (positive) or against each class, [C, D].

        It is the weight times the distance between the feature's means in the class's training frames and in all
        others: a large weight of a feature that never differs is no relevance. What is negative speaks for a class by
        its absence.
        """
        self._check_fitted()
        relevance: Float64 = self.coef_ * self._contrast
        return relevance

    def _standardized(self, features: ArrayLike) -> Float64:
        self._check_fitted()
        x = _as_features(features)
        if x.shape[1] != len(self.mean_):
            raise ArgumentError("features have the wrong number", got=x.shape[1], expected=len(self.mean_))
        z: Float64 = (x - self.mean_) / self.scale_
        return z

    def _check_fitted(self) -> None:
        if not self.classes_:
            raise NotFittedError("this probe is not fitted yet", hint="Call fit(features, labels), or load a file.")

    def save(self, path: str | Path) -> None:
        """Write the probe to a safetensors file, atomically; equal probes give equal bytes."""
        from safetensors.numpy import save

        self._check_fitted()
        header = {
            "format": FORMAT,
            "settings": {name: getattr(self, name) for name in _SETTINGS},
            "classes": self.classes_,
            "n_iter": self.n_iter_,
            "loss": self.loss_,
            "provenance": self.provenance,
        }
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        atomic_write(as_path(path), save(arrays, metadata={_HEADER: json.dumps(header, sort_keys=True)}))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a probe that `save` wrote; `ModelFileError` when the file is missing, damaged, or not one of ours."""
        import safetensors

        path = as_path(path)
        expected = "a file written by ActivationProbe.save"
        try:
            with local_file(path) as local, safetensors.safe_open(local, framework="numpy") as stream:
                header = json.loads((stream.metadata() or {})[_HEADER])
                arrays = {name: stream.get_tensor(name) for name in _ARRAYS}
            probe = cls(**header["settings"])
            probe.classes_ = [str(name) for name in header["classes"]]
            probe.n_iter_, probe.loss_ = int(header["n_iter"]), float(header["loss"])
            probe.provenance = dict(header["provenance"])
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']!r}, not {FORMAT}")
            count, size = arrays["coef_"].shape
            shapes = {"coef_": (count, size), "_contrast": (count, size), "intercept_": (count,)}
            for name, array in arrays.items():
                if (
                    array.dtype != np.float64
                    or array.shape != shapes.get(name, (size,))
                    or count != len(probe.classes_)
                ):
                    raise ValueError(f"{name} is {array.dtype} {array.shape}")
                setattr(probe, name, array)
        except FileNotFoundError:
            raise ModelFileError("there is no such probe file", where=path, expected=expected) from None
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ModelFileError("this is no readable probe", where=path, got=reason, expected=expected) from None
        return probe


_ARRAYS = ("coef_", "intercept_", "mean_", "scale_", "_contrast")


def _as_features(features: ArrayLike) -> Float64:
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or not x.size:
        raise ArgumentError("features have the wrong shape", got=x.shape, expected="[frames, features]")
    if not np.isfinite(x).all():
        raise ArgumentError("features are not finite", got=f"{int((~np.isfinite(x)).sum())} NaN or infinite")
    return x


def _as_marks(labels: ArrayLike, classes: Sequence[str] | None, frames: int) -> tuple[Bools, list[str]]:
    given = np.asarray(labels)
    if given.dtype == bool and given.ndim == 2:
        names = [str(number) for number in range(given.shape[1])] if classes is None else list(classes)
        marked = given
    else:
        found = sorted({str(name) for name in given.ravel()} - {""})
        names = found if classes is None else list(classes)
        unknown = [name for name in found if name not in names]
        if unknown:
            raise ArgumentError("a label is not among the classes", got=unknown[0], expected=", ".join(names))
        marked = given.astype(str)[..., None] == np.array(names)
    if marked.shape != (frames, len(names)):
        raise ArgumentError("labels do not fit", got=f"shape {given.shape}", expected=f"{frames} frames")
    return marked, names


def _sigmoid(x: Float64) -> Float64:
    from scipy.special import expit

    result: Float64 = expit(x)
    return result


def _log_sum(logits: Float64) -> Float64:
    top = logits.max(1, keepdims=True)
    result: Float64 = top + np.log(np.exp(logits - top).sum(1, keepdims=True))
    return result
