"""The paper's field: one small network a component, all of them in one batched program."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.fields import Axis, Field
from inmf_flow.registry import fields


class NetworkField(Field):
    """Implicit neural representation of K functions (arXiv 2404.04439, section III).

    The coordinate is mapped to [-0.5, 0.5], then to cos and sin of pi 2^j x + b_j with j = 0 ... 9 and frozen
    b_j ~ N(0, 1), different for each component. A linear layer without activation, three hidden layers with sines and
    a last linear layer follow, and softplus makes the value non-negative. Weights and biases start uniform in
    +-1/sqrt(fan-in), the default of PyTorch that the reference relies on.
    """

    name = "network"
    options = {"hidden": 64, "layers": 3, "features": 10}  # noqa: RUF012 - read only

    def __init__(
        self,
        low: float,
        high: float,
        phases: Tensor,
        weights: list[Tensor],
        biases: list[Tensor],
        gain: Tensor,
    ) -> None:
        self.low, self.high = low, high
        self.phases = phases
        self.weights = weights
        self.biases = biases
        self.gain = gain

    @classmethod
    def build(
        cls, axis: Axis, n_components: int, options: dict[str, Any], random: np.random.Generator, device: str
    ) -> NetworkField:
        """Draw the K networks for an axis."""
        given = cls.check_options(options)
        for key, top in (("hidden", 4096), ("layers", 16), ("features", 24)):
            if isinstance(given[key], bool) or not isinstance(given[key], int) or not 1 <= given[key] <= top:
                raise ArgumentError(
                    f"{key} must be a whole number",
                    where="field network",
                    got=given[key],
                    expected=f"1 to {top}",
                )
        hidden, features = given["hidden"], given["features"]
        sizes = [2 * features, *[hidden] * (given["layers"] + 1), 1]
        phases = random.standard_normal((n_components, 1, features))
        weights, biases = [], []
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / np.sqrt(fan_in)
            weights.append(_leaf(random.uniform(-bound, bound, (n_components, fan_in, fan_out)), device))
            biases.append(_leaf(random.uniform(-bound, bound, (n_components, 1, fan_out)), device))
        gain = torch.ones(n_components, device=device)
        return cls(axis.low, axis.high, _tensor(phases, device), weights, biases, gain)

    def prepare(self, coordinates: NDArray[np.float64]) -> Tensor:
        """Return the Fourier features of the coordinates, [K, N, 2 x features]."""
        span = self.high - self.low
        clipped = np.clip(coordinates, self.low, self.high)
        x = (clipped - self.low) / span - 0.5 if span > 0 else np.zeros(len(coordinates))
        octaves = np.pi * 2.0 ** np.arange(self.phases.shape[-1])
        angles = _tensor(np.outer(x, octaves), str(self.phases.device)) + self.phases
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    def values(self, prepared: Tensor) -> Tensor:
        """Run all networks at once."""
        x = torch.baddbmm(self.biases[0], prepared, self.weights[0])
        for weight, bias in zip(self.weights[1:-1], self.biases[1:-1], strict=True):
            x = torch.baddbmm(bias, x, weight).sin()
        x = torch.baddbmm(self.biases[-1], x, self.weights[-1])
        return torch.nn.functional.softplus(x.squeeze(-1)).T * self.gain

    def parameters(self) -> list[Tensor]:
        """Return weights and biases; the phases stay as drawn."""
        return [*self.weights, *self.biases]

    def scale(self, factors: Tensor) -> None:
        """Multiply each function by a factor."""
        self.gain = self.gain * factors

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``range`` [2], ``phases``, ``gain`` and each layer's ``weight.i`` and ``bias.i``."""
        state = {
            "range": np.array([self.low, self.high]),
            "phases": _array(self.phases),
            "gain": _array(self.gain),
        }
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            state[f"weight.{i}"], state[f"bias.{i}"] = _array(weight), _array(bias)
        return state

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]], n_components: int, device: str) -> NetworkField:
        """Check and take over the arrays of a file."""
        count = sum(name.startswith("weight.") for name in state)
        weights, biases = (
            [state[f"weight.{i}"] for i in range(count)],
            [state[f"bias.{i}"] for i in range(count)],
        )
        phases, gain, low_high = state["phases"], state["gain"], state["range"]
        fits = phases.ndim == 3 and phases.shape[:2] == (n_components, 1) and gain.shape == (n_components,)
        if not fits or low_high.shape != (2,) or count < 2:
            raise ValueError("the arrays of a network do not fit")
        for name, array in state.items():
            if array.dtype != (np.float64 if name == "range" else np.float32) or not np.isfinite(array).all():
                raise ValueError(f"{name} of a network is {array.dtype} or not finite")
        if low_high[0] > low_high[1] or (gain < 0).any():
            raise ValueError("the range or the gain of a network is negative")
        size = 2 * phases.shape[-1]
        for weight, bias in zip(weights, biases, strict=True):
            follows = weight.ndim == 3 and weight.shape[:2] == (n_components, size)
            if not follows or bias.shape != (n_components, 1, weight.shape[-1]):
                raise ValueError(f"a layer of shapes {weight.shape} and {bias.shape} does not follow {size} inputs")
            size = weight.shape[-1]
        if size != 1:
            raise ValueError(f"the last layer of a network has {size} outputs instead of 1")
        return cls(
            float(low_high[0]),
            float(low_high[1]),
            _tensor(phases, device),
            [_leaf(w, device) for w in weights],
            [_leaf(b, device) for b in biases],
            _tensor(gain, device),
        )


def _tensor(values: NDArray[Any], device: str) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32)).to(device)


def _leaf(values: NDArray[Any], device: str) -> Tensor:
    return _tensor(values, device).requires_grad_(True)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


fields.register("network", NetworkField)
