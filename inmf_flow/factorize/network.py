"""The paper's field: one small network a component on Fourier features of the coordinate."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.factorize.fields import Axis
from inmf_flow.factorize.neural import NeuralField, as_array, as_leaf, as_tensor, check_whole, read_state
from inmf_flow.registry import fields

# From the uniform distribution on +-1/sqrt(fan-in) to that on +-sqrt(6/fan-in), with which signals keep their size
# through layers of sines (Sitzmann et al. 2020, theorem 1.8).
_WIDENING = 6**0.5


class NetworkField(NeuralField):
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
        super().__init__(low, high, weights, biases, gain)
        self.phases = phases
        self.waves = [None, *[1.0] * (len(weights) - 2), None]

    @classmethod
    def build(
        cls, axis: Axis, n_components: int, options: dict[str, Any], random: np.random.Generator, device: str
    ) -> NetworkField:
        """Draw the K networks for an axis."""
        given = cls.check_options(options)
        check_whole(cls.name, given, {"hidden": (1, 4096), "layers": (1, 16), "features": (1, 24)})
        hidden, features = given["hidden"], given["features"]
        sizes = [2 * features, *[hidden] * (given["layers"] + 1), 1]
        phases = random.standard_normal((n_components, 1, features))
        weights, biases = [], []
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / np.sqrt(fan_in)
            weights.append(as_leaf(random.uniform(-bound, bound, (n_components, fan_in, fan_out)), device))
            biases.append(as_leaf(random.uniform(-bound, bound, (n_components, 1, fan_out)), device))
        gain = torch.ones(n_components, device=device)
        return cls(axis.low, axis.high, as_tensor(phases, device), weights, biases, gain)

    def prepare(self, coordinates: NDArray[np.float64]) -> Tensor:
        """Return the Fourier features of the coordinates, [K, N, 2 x features]."""
        octaves = np.pi * 2.0 ** np.arange(self.phases.shape[-1])
        angles = as_tensor(np.outer(self.unit(coordinates), octaves), self.phases.device) + self.phases
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    def features(self, prepared: Tensor) -> Tensor:
        """Return the Fourier features."""
        return prepared

    def calm(self) -> None:
        """Also widen the layers, so that sines are no longer nearly linear, and favour slow features."""
        features = self.phases.shape[-1]
        tilt = 2.0 ** (-0.5 * torch.arange(features, dtype=torch.float32, device=self.phases.device))
        tilt = (tilt / tilt.square().mean().sqrt()).repeat(2)
        with torch.no_grad():
            for tensor in self.weights[:-1]:
                tensor *= _WIDENING
            self.weights[0] *= tilt[None, :, None]
        super().calm()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``range`` [2], ``phases``, ``gain`` and each layer's ``weight.i`` and ``bias.i``."""
        return {"phases": as_array(self.phases), **super().state()}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]], n_components: int, device: str) -> NetworkField:
        """Check and take over the arrays of a file."""
        phases = state["phases"]
        if phases.ndim != 3 or phases.shape[:2] != (n_components, 1):
            raise ValueError("the arrays of a network do not fit")
        low, high, weights, biases, gain = read_state(state, n_components, 2 * phases.shape[-1], cls.name)
        return cls(
            low,
            high,
            as_tensor(phases, device),
            [as_leaf(w, device) for w in weights],
            [as_leaf(b, device) for b in biases],
            as_tensor(gain, device),
        )


fields.register("network", NetworkField)
