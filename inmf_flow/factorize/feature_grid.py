"""Tables of features at several resolutions, and a small network on what is read from them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.factorize.fields import Axis
from inmf_flow.factorize.neural import Linear, NeuralField, as_array, as_leaf, as_tensor, check_whole, read_state
from inmf_flow.registry import fields

_COARSEST = 8
# As in the paper: tables start so small that all functions start flat.
_START = 1e-4
# Output weights where a fit starts from a linear step: tables move by little then, so the network stays linear.
_LIFT = 10.0


@dataclass(frozen=True)
class GridPlaces:
    """Where coordinates lie in each table: the entry at or below, and the share of the next, each [L, N]."""

    left: Tensor
    fraction: Tensor


class FeatureGridField(NeuralField):
    """K small networks, each on features that are read from its own tables of rising resolution.

    Müller, Evans, Schied & Keller, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding" (2022),
    section 3, in one dimension, where tables are small enough to need no hash: L tables whose sizes rise in equal
    ratios from 8 to ``finest`` entries of ``features`` numbers, each read by linear interpolation; all that is read
    goes through one hidden layer, and softplus makes the value non-negative. Sines take the place of rectifiers, which
    would put kinks where no data are.
    """

    name = "grid"
    options = {"levels": 6, "finest": 512, "features": 2, "hidden": 32}  # noqa: RUF012 - read only

    def __init__(
        self, low: float, high: float, tables: list[Tensor], weights: list[Tensor], biases: list[Tensor], gain: Tensor
    ) -> None:
        super().__init__(low, high, weights, biases, gain)
        self.tables = tables
        self.waves = [*[1.0] * (len(weights) - 1), None]

    @classmethod
    def build(
        cls, axis: Axis, n_components: int, options: dict[str, Any], random: np.random.Generator, device: str
    ) -> FeatureGridField:
        """Draw tables and networks for an axis."""
        given = cls.check_options(options)
        limits = {"levels": (1, 24), "finest": (2, 1 << 20), "features": (1, 64), "hidden": (1, 4096)}
        check_whole(cls.name, given, limits)
        levels, features = given["levels"], given["features"]
        coarsest = min(_COARSEST, given["finest"])
        sizes = np.rint(np.geomspace(coarsest, given["finest"], levels)).astype(int)
        if levels == 1:
            sizes[:] = given["finest"]
        tables = [as_leaf(random.uniform(-_START, _START, (n_components, size, features)), device) for size in sizes]
        weights, biases = [], []
        for fan_in, fan_out in pairwise([levels * features, given["hidden"], 1]):
            bound = np.sqrt(6 / fan_in)
            weights.append(as_leaf(random.uniform(-bound, bound, (n_components, fan_in, fan_out)), device))
            biases.append(as_leaf(random.uniform(-1, 1, (n_components, 1, fan_out)), device))
        gain = torch.ones(n_components, device=device)
        return cls(axis.low, axis.high, tables, weights, biases, gain)

    def prepare(self, coordinates: NDArray[np.float64]) -> GridPlaces:
        """Find the coordinates' places in each table."""
        last = np.array([[table.shape[1] - 1] for table in self.tables])
        places = (self.unit(coordinates) + 0.5) * last
        left = np.clip(np.floor(places).astype(np.int64), 0, last - 1)
        device = self.gain.device
        return GridPlaces(torch.from_numpy(left).to(device), as_tensor(places - left, device))

    def take(self, x: GridPlaces, rows: Tensor) -> GridPlaces:
        """Return some of the coordinates' places."""
        return GridPlaces(x.left[:, rows], x.fraction[:, rows])

    def features(self, prepared: GridPlaces) -> Tensor:
        """Read all tables, [K, N, L x features]."""
        read = [
            torch.lerp(table[:, left], table[:, left + 1], fraction[None, :, None])
            for table, left, fraction in zip(self.tables, prepared.left, prepared.fraction, strict=True)
        ]
        return torch.cat(read, dim=2)

    def feature_layers(self, prepared: GridPlaces, deltas: Tensor) -> list[Linear]:
        """Return reading as a linear map of each table: its inputs are the hats of its entries, [1, N, entries]."""
        layers = []
        parts = deltas.tensor_split(len(self.tables), dim=2)
        for table, left, fraction, part in zip(self.tables, prepared.left, prepared.fraction, parts, strict=True):
            hats = deltas.new_zeros(1, len(left), table.shape[1])
            hats[0].scatter_(1, left[:, None], (1 - fraction)[:, None])
            hats[0].scatter_(1, left[:, None] + 1, fraction[:, None])
            layers.append(Linear(hats, part, has_bias=False))
        return layers

    def lazy_layers(self, n: int) -> tuple[int, int | None]:
        """Return all layers: the tables are what follows the data."""
        return 0, None

    def calm(self) -> None:
        """Raise the output weights: tables start small, so functions start flat as they are."""
        with torch.no_grad():
            self.weights[-1] *= _LIFT

    def parameters(self) -> list[Tensor]:
        """Return tables, weights and biases."""
        return [*self.tables, *super().parameters()]

    def linear_parameters(self, first: int = 0, end: int | None = None) -> list[tuple[Tensor, Tensor | None]]:
        """Return the tables, then each layer's weight and bias."""
        tables: list[tuple[Tensor, Tensor | None]] = [(table, None) for table in self.tables]
        return [*(tables if first == 0 else []), *super().linear_parameters(first, end)]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``table.i`` [K, entries, features] besides what all networks have."""
        return {**{f"table.{i}": as_array(table) for i, table in enumerate(self.tables)}, **super().state()}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]], n_components: int, device: str) -> FeatureGridField:
        """Check and take over the arrays of a file."""
        tables = [state[f"table.{i}"] for i in range(sum(name.startswith("table.") for name in state))]
        if not tables or any(table.ndim != 3 for table in tables):
            raise ValueError("a grid has no tables, or tables of a wrong shape")
        features = tables[0].shape[2]
        if any(table.shape != (n_components, max(2, table.shape[1]), features) for table in tables):
            raise ValueError("the tables of a grid do not fit")
        low, high, weights, biases, gain = read_state(state, n_components, len(tables) * features, cls.name)
        return cls(
            low,
            high,
            [as_leaf(table, device) for table in tables],
            [as_leaf(w, device) for w in weights],
            [as_leaf(b, device) for b in biases],
            as_tensor(gain, device),
        )


fields.register("grid", FeatureGridField)
