"""What neural fields share: K small networks of one coordinate in one batched program, and their linearization."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.fields import Field

# Factor on the output weights where a fit starts from a linear step, over the width of the last hidden layer: the
# larger, the nearer to linear the fit stays.
_LAZINESS = 1.5


@dataclass(frozen=True)
class Linear:
    """One linear layer of the networks at N coordinates, as far as its derivatives need it.

    Attributes
    ----------
    inputs
        What the layer was given, [K, N, I]; [1, N, I] where all networks are given the same.
    deltas
        Derivatives of the networks' outputs by the layer's outputs, [K, N, O].
    has_bias
        Whether the layer adds a bias.
    """

    inputs: Tensor
    deltas: Tensor
    has_bias: bool


@dataclass(frozen=True)
class Linearization:
    """The networks' outputs z before softplus at N coordinates, and their Jacobian J by all parameters.

    J is never formed: a layer's part of it is the outer product of the layer's inputs and deltas, so J J^T, the neural
    tangent kernel (Jacot, Gabriel & Hongler 2018), is a sum over layers of elementwise products of two Gram matrices.

    Attributes
    ----------
    outputs
        z, [K, N].
    layers
        In the order of the field's `linear_parameters`.
    """

    outputs: Tensor
    layers: list[Linear]

    def gram(self, k: int) -> Tensor:
        """Return J J^T of one network, [N, N]."""
        n = self.outputs.shape[1]
        total = self.outputs.new_zeros(n, n)
        left, right = torch.empty_like(total), torch.empty_like(total)
        for layer in self.layers:
            inputs, deltas = layer.inputs[k if len(layer.inputs) > 1 else 0], layer.deltas[k]
            torch.mm(inputs, inputs.T, out=left)
            if layer.has_bias:
                left += 1
            torch.mm(deltas, deltas.T, out=right)
            total.addcmul_(left, right)
        return total

    def pull_back(self, cotangent: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Return J^T times a vector per network, [K, N], as each layer's weight and bias."""
        steps = []
        for layer in self.layers:
            deltas = layer.deltas * cotangent[:, :, None]
            weight = layer.inputs.transpose(1, 2) @ deltas
            steps.append((weight, deltas.sum(1, keepdim=True) if layer.has_bias else None))
        return steps


class NeuralField(Field):
    """K networks of one coordinate: features, layers of sines, a last linear layer, softplus and a gain.

    Parameters
    ----------
    low, high
        The range of the coordinate, hertz or seconds; outside of it a function keeps its value at the edge.
    weights, biases
        Of each linear layer, [K, I, O] and [K, 1, O]. The last layer has one output.
    gain
        Factor on each function, [K].
    """

    #: Factor on each layer's output within its sine; None for a layer without activation. The last layer has none.
    waves: Sequence[float | None]

    def __init__(self, low: float, high: float, weights: list[Tensor], biases: list[Tensor], gain: Tensor) -> None:
        self.low, self.high = low, high
        self.weights, self.biases = weights, biases
        self.gain = gain

    @property
    def n_components(self) -> int:
        """Number of functions K."""
        return len(self.gain)

    @abstractmethod
    def features(self, prepared: Any) -> Tensor:
        """Return what the first layer is given, [K or 1, N, I], differentiable by parameters of its own if any."""

    def feature_layers(self, prepared: Any, deltas: Tensor) -> list[Linear]:
        """Return the linear maps that make the features, if they are trained, from the features' deltas [K, N, I]."""
        return []

    def take(self, x: Any, rows: Tensor) -> Any:
        """Return what `trunk` gave, for some of the coordinates only."""
        return x[:, rows]

    def calm(self) -> None:
        """Turn the random start into one that a single linear step brings near any target.

        Half of the last hidden units become copies of the others with opposite output weights, so all functions start
        flat; output weights are large, so hidden weights need to move by little, and the network stays near its
        linearization ("lazy training", Chizat, Oyallon & Bach 2019).
        """
        with torch.no_grad():
            half = self.weights[-1].shape[1] // 2
            self.weights[-1] *= _LAZINESS * self.weights[-1].shape[1]
            self.weights[-1][:, half:] = 0
            self.weights[-1][:, half : 2 * half] = -self.weights[-1][:, :half]
            for layer in (self.weights[-2], self.biases[-2]):
                layer[:, :, half : 2 * half] = layer[:, :, :half]
            self.biases[-1].zero_()

    def lazy_layers(self, n: int) -> tuple[int, int | None]:
        """Return first and end of the layers that `fit_warm` trains: the fewest that can follow any n values.

        Up to the last hidden layer they are random features then, which are computed once.
        """
        rows, columns = self.weights[-2].shape[1:]
        count = len(self.weights)
        return (count - 2, count - 1) if (rows + 1) * columns >= 2 * n else (0, None)

    def trunk(self, prepared: Any, first: int) -> Any:
        """Return what layer ``first`` is given, [K or 1, N, I]; what was prepared where it is 0."""
        if first == 0:
            return prepared
        x = self.features(prepared)
        for i in range(first):
            x = self._activate(i, _affine(x, self.weights[i], self.biases[i]))
        return x

    def head(self, x: Any, first: int) -> Tensor:
        """Return the networks' outputs before softplus, [K, N], from what `trunk` gave."""
        x = self.features(x) if first == 0 else x
        for i in range(first, len(self.weights)):
            x = self._activate(i, _affine(x, self.weights[i], self.biases[i]))
        result: Tensor = x.squeeze(-1)
        return result

    def values(self, prepared: Any) -> Tensor:
        """Run all networks at once."""
        return softplus(self.head(prepared, 0)).T * self.gain

    def linearize(self, x: Any, first: int = 0, end: int | None = None) -> Linearization:
        """Return outputs and derivatives by layers ``first`` to ``end``; call without gradients.

        Where ``first`` is 0 and the features are trained, their maps come before the layers.
        """
        prepared, x = x, self.features(x) if first == 0 else x
        last = len(self.weights) - 1
        inputs, slopes = [], []
        for i in range(first, last + 1):
            inputs.append(x)
            x, wave = _affine(x, self.weights[i], self.biases[i]), self.waves[i]
            slopes.append(None if wave is None else (wave * x).cos().mul_(wave))
            x = self._activate(i, x)
        deltas = torch.ones_like(x)
        layers: list[Linear] = []
        for i in range(last, first - 1, -1):
            slope = slopes[i - first]
            if slope is not None:
                deltas = deltas * slope
            if end is None or i < end:
                layers.insert(0, Linear(inputs[i - first], deltas, has_bias=True))
            if i > first:
                deltas = deltas @ self.weights[i].transpose(1, 2)
        trained = self.feature_layers(prepared, deltas @ self.weights[0].transpose(1, 2)) if first == 0 else []
        return Linearization(x.squeeze(-1), [*trained, *layers])

    def _activate(self, layer: int, x: Tensor) -> Tensor:
        wave = self.waves[layer]
        return x if wave is None else (x if wave == 1 else x * wave).sin()

    def parameters(self) -> list[Tensor]:
        """Return weights and biases."""
        return [*self.weights, *self.biases]

    def linear_parameters(self, first: int = 0, end: int | None = None) -> list[tuple[Tensor, Tensor | None]]:
        """Return weight and bias of the linear maps that `linearize` takes, in its order."""
        return list(zip(self.weights[first:end], self.biases[first:end], strict=True))

    def add(self, steps: list[tuple[Tensor, Tensor | None]], factors: Tensor, first: int, end: int | None) -> None:
        """Add a step of `Linearization.pull_back`, times a factor for each network [K], to the parameters."""
        factors = factors[:, None, None]
        with torch.no_grad():
            for mine, step in zip(self.linear_parameters(first, end), steps, strict=True):
                for tensor, change in zip(mine, step, strict=True):
                    if tensor is not None and change is not None:
                        tensor.addcmul_(change, factors)

    def scale(self, factors: Tensor) -> None:
        """Multiply each function by a factor."""
        self.gain = self.gain * factors

    def unit(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map coordinates to [-0.5, 0.5]; those outside the range to its ends."""
        span = self.high - self.low
        if span <= 0:
            return np.zeros(len(coordinates))
        return (np.clip(coordinates, self.low, self.high) - self.low) / span - 0.5

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``range`` [2], ``gain`` [K] and each layer's ``weight.i`` and ``bias.i``."""
        state = {"range": np.array([self.low, self.high]), "gain": as_array(self.gain)}
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            state[f"weight.{i}"], state[f"bias.{i}"] = as_array(weight), as_array(bias)
        return state


def read_state(
    state: dict[str, NDArray[Any]], n_components: int, inputs: int, name: str, least: int = 2
) -> tuple[float, float, list[NDArray[Any]], list[NDArray[Any]], NDArray[Any]]:
    """Check what `NeuralField.state` wrote; return range, weights, biases and gain.

    Parameters
    ----------
    state
        All arrays of the field: each must be finite and of single precision, but ``range``.
    inputs
        Features that the first layer takes.
    name
        Of the field, for messages.
    least
        Fewest layers.

    Raises
    ------
    ValueError, KeyError
        Where the arrays are not such a field's.
    """
    for key, array in state.items():
        if array.dtype != (np.float64 if key == "range" else np.float32) or not np.isfinite(array).all():
            raise ValueError(f"{key} of a {name} is {array.dtype} or not finite")
    gain, low_high = state["gain"], state["range"]
    count = sum(key.startswith("weight.") for key in state)
    if gain.shape != (n_components,) or low_high.shape != (2,) or count < least:
        raise ValueError(f"the arrays of a {name} do not fit")
    if low_high[0] > low_high[1] or (gain < 0).any():
        raise ValueError(f"the range or the gain of a {name} is negative")
    weights, biases = [state[f"weight.{i}"] for i in range(count)], [state[f"bias.{i}"] for i in range(count)]
    size = inputs
    for weight, bias in zip(weights, biases, strict=True):
        follows = weight.ndim == 3 and weight.shape[:2] == (n_components, size)
        if not follows or bias.shape != (n_components, 1, weight.shape[-1]):
            raise ValueError(f"a layer of shapes {weight.shape} and {bias.shape} does not follow {size} inputs")
        size = weight.shape[-1]
    if size != 1:
        raise ValueError(f"the last layer of a {name} has {size} outputs instead of 1")
    return float(low_high[0]), float(low_high[1]), weights, biases, gain


def check_whole(name: str, options: dict[str, Any], limits: dict[str, tuple[int, int]]) -> None:
    """Refuse options that are not whole numbers within their limits."""
    for key, (least, most) in limits.items():
        value = options[key]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ArgumentError(
                f"{key} must be a whole number", where=f"field {name}", got=value, expected=f"{least} to {most}"
            )


def as_tensor(values: NDArray[Any], device: Any) -> Tensor:
    """Return a copy in single precision."""
    return torch.from_numpy(np.array(values, np.float32)).to(device)


def as_leaf(values: NDArray[Any], device: Any) -> Tensor:
    """Return a copy in single precision that gradients are taken by."""
    return as_tensor(values, device).requires_grad_(True)


def as_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's values."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if len(x) == len(weight):
        return torch.baddbmm(bias, x, weight)
    return torch.matmul(x, weight) + bias
