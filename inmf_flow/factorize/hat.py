"""Piecewise-linear fields: hats on placed nodes, and the matrix as the case of one node a coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.fields import FLOOR, Axis, LinearField
from inmf_flow.registry import fields

# log1p(12 s) with s = f / f_max: nearly linear to a twelfth of the range, then ever coarser, as hearing is.
_LOG_CURVATURE = 12.0


@dataclass(frozen=True)
class HatBasis:
    """Each coordinate's two neighbouring nodes and its place between them.

    Attributes
    ----------
    left
        Index of the node at or below each coordinate, [N].
    fraction
        Share of the node above, in [0, 1], [N].
    identity
        Whether the coordinates are the nodes themselves.
    """

    left: Tensor
    fraction: Tensor
    identity: bool


def place_nodes(low: float, high: float, count: int, warp: str) -> NDArray[np.float64]:
    """Return node positions from ``low`` to ``high``, evenly spaced on a warped axis.

    ``warp`` is ``linear``, or ``log``: even steps of log1p(12 s), where s runs from 0 to 1.
    """
    steps = np.linspace(0.0, 1.0, count)
    if warp == "log":
        steps = np.expm1(steps * np.log1p(_LOG_CURVATURE)) / _LOG_CURVATURE
        steps[-1] = 1.0
    elif warp != "linear":
        raise ArgumentError("the hat field has no such warp", got=repr(warp), expected="linear or log")
    return low + (high - low) * steps


class HatField(LinearField):
    """Non-negative, continuous, piecewise-linear functions: sums of hats on nodes.

    Outside its nodes a function keeps its last value.

    Parameters
    ----------
    nodes
        Rising positions in hertz or seconds, [M].
    coefficients
        The functions' values at the nodes, [M, K].
    """

    name = "hat"
    options = {"nodes": None, "warp": None}  # noqa: RUF012 - read only

    def __init__(self, nodes: NDArray[np.float64], coefficients: Tensor) -> None:
        self.nodes = nodes
        self.coefficients = coefficients
        self._free: Tensor | None = None

    @classmethod
    def build(
        cls, axis: Axis, n_components: int, options: dict[str, Any], random: np.random.Generator, device: str
    ) -> HatField:
        """Place the nodes: by default 256 on a warped frequency axis, up to 64 a second on a linear time axis.

        Each moves to the data's nearest coordinate, and two on the same one are one: where nodes are denser than the
        data, those between coordinates would keep their random start, or a slope that no point has a say in.
        """
        given = cls.check_options(options)
        frequency = axis.kind == "frequency"
        span = axis.high - axis.low
        count = given["nodes"]
        if count is None:
            count = 256 if frequency else min(len(axis.coordinates), int(64 * span) + 2)
        elif isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1 << 20:
            raise ArgumentError("nodes must be a whole number", where="field hat", got=count, expected="1 to 1048576")
        if given["nodes"] is None and count == len(axis.coordinates) and not frequency:
            # As many as there are coordinates: evenly spaced ones would miss some where the data have gaps.
            nodes = axis.coordinates.copy()
            return cls(nodes, _random_start(len(nodes), n_components, random, device))
        wanted = place_nodes(axis.low, axis.high, count, given["warp"] or ("log" if frequency else "linear"))
        half_way = 0.5 * (axis.coordinates[1:] + axis.coordinates[:-1])
        nodes = axis.coordinates[np.unique(np.searchsorted(half_way, wanted))]
        return cls(nodes, _random_start(len(nodes), n_components, random, device))

    def prepare(self, coordinates: NDArray[np.float64]) -> HatBasis:
        """Find each coordinate's neighbours."""
        nodes, device = self.nodes, self.coefficients.device
        if len(nodes) == len(coordinates) and np.array_equal(nodes, coordinates):
            empty = torch.empty(0)
            return HatBasis(empty, empty, identity=True)
        if len(nodes) == 1:
            zeros = np.zeros(len(coordinates))
            return HatBasis(torch.from_numpy(zeros.astype(np.int64)).to(device), _float(zeros, device), False)
        left = np.clip(np.searchsorted(nodes, coordinates, side="right") - 1, 0, len(nodes) - 2)
        fraction = np.clip((coordinates - nodes[left]) / (nodes[left + 1] - nodes[left]), 0.0, 1.0)
        return HatBasis(torch.from_numpy(left).to(device), _float(fraction, device), identity=False)

    def values(self, prepared: HatBasis) -> Tensor:
        """Interpolate the coefficients."""
        coefficients = self.coefficients if self._free is None else torch.nn.functional.softplus(self._free)
        if prepared.identity:
            return coefficients
        lower = coefficients.index_select(0, prepared.left)
        if len(self.nodes) == 1:
            return lower
        upper = coefficients.index_select(0, prepared.left + 1)
        return torch.lerp(lower, upper, prepared.fraction[:, None])

    def adjoint(self, prepared: HatBasis, gradient: Tensor) -> Tensor:
        """Share each coordinate's value among its two nodes."""
        if prepared.identity:
            return gradient
        result = torch.zeros_like(self.coefficients)
        if len(self.nodes) == 1:
            return result.index_add_(0, prepared.left, gradient)
        upper = gradient * prepared.fraction[:, None]
        result.index_add_(0, prepared.left, gradient - upper)
        return result.index_add_(0, prepared.left + 1, upper)

    def parameters(self) -> list[Tensor]:
        """Return free values of which softplus gives the coefficients, as the reference has for H."""
        if self._free is None:
            c = self.coefficients.clamp_min(1e-6)
            # The inverse of softplus, written so that large values do not overflow.
            self._free = (c + torch.log(-torch.expm1(-c))).detach().requires_grad_(True)
        return [self._free]

    def start_free(self, random: np.random.Generator) -> None:
        """Draw free values uniformly from [0, 1), of which softplus gives the coefficients."""
        values = random.uniform(0.0, 1.0, tuple(self.coefficients.shape)).astype(np.float32)
        self._free = torch.from_numpy(values).to(self.coefficients.device).requires_grad_(True)

    def settle(self) -> None:
        """Turn the free values of a gradient method back into coefficients."""
        if self._free is not None:
            self.coefficients = torch.nn.functional.softplus(self._free).detach().clamp_min(FLOOR)
            self._free = None

    def scale(self, factors: Tensor) -> None:
        """Multiply each function by a factor."""
        self.coefficients = self.coefficients * factors

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``nodes`` [M] and ``coefficients`` [M, K]."""
        return {"nodes": self.nodes, "coefficients": self.coefficients.cpu().numpy()}

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]], n_components: int, device: str) -> HatField:
        """Check and take over the arrays of a file."""
        nodes, coefficients = state["nodes"], state["coefficients"]
        if nodes.dtype != np.float64 or coefficients.dtype != np.float32:
            raise ValueError(f"nodes are {nodes.dtype} and coefficients {coefficients.dtype}")
        if nodes.ndim != 1 or not len(nodes) or coefficients.shape != (len(nodes), n_components):
            raise ValueError(f"nodes {nodes.shape} and coefficients {coefficients.shape} do not fit")
        if not np.isfinite(nodes).all() or (np.diff(nodes) <= 0).any():
            raise ValueError("nodes do not rise")
        if not np.isfinite(coefficients).all() or (coefficients < 0).any():
            raise ValueError("coefficients are negative or not finite")
        tensor = torch.from_numpy(np.array(coefficients, np.float32)).to(device)
        return cls(np.array(nodes, np.float64), tensor)


class MatrixField(HatField):
    """Free values at the distinct coordinates: classical NMF; in between, straight lines."""

    name = "matrix"
    options = {}  # noqa: RUF012 - read only

    @classmethod
    def build(
        cls, axis: Axis, n_components: int, options: dict[str, Any], random: np.random.Generator, device: str
    ) -> MatrixField:
        """Put one node on each coordinate."""
        cls.check_options(options)
        nodes = axis.coordinates.copy()
        return cls(nodes, _random_start(len(nodes), n_components, random, device))


def _float(values: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)


def _random_start(rows: int, n_components: int, random: np.random.Generator, device: str) -> Tensor:
    # Data have mean 1, and K products of two such values add up to it on average.
    values = random.uniform(0.5, 1.5, (rows, n_components)) / np.sqrt(n_components)
    return torch.from_numpy(values.astype(np.float32)).to(device)


fields.register("hat", HatField)
fields.register("matrix", MatrixField)
