"""Networks with sines throughout, on the bare coordinate (SIREN)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.fields import Axis
from inmf_flow.factorize.neural import NeuralField, as_leaf, as_tensor, check_whole, read_state
from inmf_flow.registry import fields

# Of the layers after the first, as in the paper.
_HIDDEN_OMEGA = 30.0


class SirenField(NeuralField):
    """K networks of layers sin(omega (W x + b)), a linear layer and softplus, of the coordinate on [-1, 1].

    Sitzmann, Martel, Bergman, Lindell & Wetzstein, "Implicit Neural Representations with Periodic Activation
    Functions" (2020), section 3.2: the first layer starts uniform in +-1/fan-in, the others in
    +-sqrt(6/fan-in)/omega. ``omega`` is the first layer's, and says how fast functions vary at the start: 3000 is the
    paper's for seven seconds of audio; spectral templates and activations are slower. Other layers have 30.
    """

    name = "siren"
    options = {"hidden": 64, "layers": 3, "omega": 300.0}  # noqa: RUF012 - read only

    def __init__(
        self, low: float, high: float, omega: float, weights: list[Tensor], biases: list[Tensor], gain: Tensor
    ) -> None:
        super().__init__(low, high, weights, biases, gain)
        self.omega = omega
        self.waves = [omega, *[_HIDDEN_OMEGA] * (len(weights) - 2), None]

    @classmethod
    def build(
        cls, axis: Axis, n_components: int, options: dict[str, Any], random: np.random.Generator, device: str
    ) -> SirenField:
        """Draw the K networks for an axis."""
        given = cls.check_options(options)
        check_whole(cls.name, given, {"hidden": (1, 4096), "layers": (1, 16)})
        omega = given["omega"]
        if isinstance(omega, bool) or not isinstance(omega, int | float) or not 0 < omega <= 1e6:
            raise ArgumentError("omega must be positive", where="field siren", got=omega, expected="up to 1e6")
        sizes = [1, *[given["hidden"]] * given["layers"], 1]
        weights, biases = [], []
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            bound = 1.0 / fan_in if i == 0 else np.sqrt(6 / fan_in) / _HIDDEN_OMEGA
            weights.append(as_leaf(random.uniform(-bound, bound, (n_components, fan_in, fan_out)), device))
            # A shift by up to half a wave of each sine, so that none is favoured at the range's middle.
            shift = np.pi / (omega if i == 0 else _HIDDEN_OMEGA)
            biases.append(as_leaf(random.uniform(-shift, shift, (n_components, 1, fan_out)), device))
        gain = torch.ones(n_components, device=device)
        return cls(axis.low, axis.high, float(omega), weights, biases, gain)

    def prepare(self, coordinates: NDArray[np.float64]) -> Tensor:
        """Return the coordinates on [-1, 1], [1, N, 1]."""
        return as_tensor(2 * self.unit(coordinates)[None, :, None], self.gain.device)

    def features(self, prepared: Tensor) -> Tensor:
        """Return the coordinates."""
        return prepared

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``omega`` [1] besides what all networks have."""
        return {"omega": np.array([self.omega], np.float32), **super().state()}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]], n_components: int, device: str) -> SirenField:
        """Check and take over the arrays of a file."""
        omega = state["omega"]
        low, high, weights, biases, gain = read_state(state, n_components, 1, cls.name)
        if omega.shape != (1,) or not omega[0] > 0:
            raise ValueError("omega of a siren is not a positive number")
        return cls(
            low,
            high,
            float(omega[0]),
            [as_leaf(w, device) for w in weights],
            [as_leaf(b, device) for b in biases],
            as_tensor(gain, device),
        )


fields.register("siren", SirenField)
