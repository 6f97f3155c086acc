"""Piecewise-linear fields: hats on placed nodes, and the matrix as the case of one node a coordinate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
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


class HatBasis:
    """Each coordinate's two neighbouring nodes and its place between them, as a sparse matrix [N, M].

    Parameters
    ----------
    nodes
        Rising positions, [M].
    coordinates
        In any order, [N].
    device
        Where the matrix is kept.

    Attributes
    ----------
    identity
        Whether the coordinates are the nodes themselves.
    """

    def __init__(self, nodes: NDArray[np.float64], coordinates: NDArray[np.float64], device: torch.device) -> None:
        self.identity = len(nodes) == len(coordinates) and np.array_equal(nodes, coordinates)
        self._shape, self._device = (len(coordinates), len(nodes)), device
        if self.identity:
            return
        if len(nodes) == 1:
            self._left = np.zeros(len(coordinates), np.int64)
            self._fraction = np.zeros(len(coordinates))
        else:
            self._left = np.clip(np.searchsorted(nodes, coordinates, side="right") - 1, 0, len(nodes) - 2)
            step = nodes[self._left + 1] - nodes[self._left]
            self._fraction = np.clip((coordinates - nodes[self._left]) / step, 0.0, 1.0)

    @cached_property
    def matrix(self) -> Tensor:
        """The matrix that interpolates, [N, M]."""
        n, m = self._shape
        right = np.minimum(self._left + 1, m - 1)
        columns = np.stack([self._left, right], 1).ravel()
        values = np.stack([1 - self._fraction, self._fraction], 1).ravel()
        return _csr(np.arange(0, 2 * n + 1, 2), columns, values, (n, m), self._device)

    @cached_property
    def transposed(self) -> Tensor:
        """The matrix that shares each coordinate's value among its two nodes, [M, N]."""
        n, m = self._shape
        nodes = np.concatenate([self._left, np.minimum(self._left + 1, m - 1)])
        order = np.argsort(nodes, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(nodes, minlength=m))])
        coordinates = np.tile(np.arange(n), 2)[order]
        values = np.concatenate([1 - self._fraction, self._fraction])[order]
        return _csr(starts, coordinates, values, (m, n), self._device)


def _csr(
    starts: NDArray[Any], columns: NDArray[Any], values: NDArray[Any], shape: tuple[int, int], device: torch.device
) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch says once a process that its sparse matrices may change.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts.astype(np.int64)),
            torch.from_numpy(columns.astype(np.int64)),
            torch.from_numpy(values.astype(np.float32)),
            shape,
            device=device,
            check_invariants=False,
        )


def place_nodes(axis: Axis, count: int, warp: str) -> NDArray[np.float64]:
    """Return node positions over an axis, evenly spaced on a warped one, [count].

    Parameters
    ----------
    warp
        ``linear``; ``log``: even steps of log1p(12 s), where s runs from 0 to 1; ``data``: even steps of the share of
        the data's sum that lies below, half of it replaced by the log or (seconds) linear warp, so that quiet regions
        keep nodes.

    Raises
    ------
    ArgumentError
        For another warp.
    """
    steps = np.linspace(0.0, 1.0, count)
    even = np.expm1(steps * np.log1p(_LOG_CURVATURE)) / _LOG_CURVATURE if axis.kind == "frequency" else steps
    if warp == "linear":
        places = steps
    elif warp == "log":
        places = np.expm1(steps * np.log1p(_LOG_CURVATURE)) / _LOG_CURVATURE
    elif warp == "data":
        places = _quantiles(axis, even, steps)
    else:
        raise ArgumentError("the hat field has no such warp", got=repr(warp), expected="linear, log or data")
    places[-1] = 1.0
    nodes: NDArray[np.float64] = axis.low + (axis.high - axis.low) * places
    return nodes


def _quantiles(axis: Axis, even: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the mean of two distributions, the data's and an even one's on a warped axis, reaches each step."""
    span = axis.high - axis.low
    if axis.mass is None or span <= 0 or axis.mass.sum() <= 0:
        return even.copy()
    at = (axis.coordinates - axis.low) / span
    edges = np.concatenate([[0.0], 0.5 * (at[1:] + at[:-1]), [1.0]])
    below = np.concatenate([[0.0], np.cumsum(axis.mass)]) / axis.mass.sum()
    grid = np.union1d(edges, even)
    both = 0.5 * (np.interp(grid, edges, below) + np.interp(grid, even, steps))
    places: NDArray[np.float64] = np.interp(steps, both, grid)
    return places


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
        wanted = place_nodes(axis, count, given["warp"] or ("log" if frequency else "linear"))
        half_way = 0.5 * (axis.coordinates[1:] + axis.coordinates[:-1])
        nodes = axis.coordinates[np.unique(np.searchsorted(half_way, wanted))]
        return cls(nodes, _random_start(len(nodes), n_components, random, device))

    def prepare(self, coordinates: NDArray[np.float64]) -> HatBasis:
        """Find each coordinate's neighbours."""
        return HatBasis(self.nodes, coordinates, self.coefficients.device)

    def values(self, prepared: HatBasis) -> Tensor:
        """Interpolate the coefficients."""
        coefficients = self.coefficients if self._free is None else torch.nn.functional.softplus(self._free)
        return coefficients if prepared.identity else prepared.matrix @ coefficients

    def adjoint(self, prepared: HatBasis, gradient: Tensor) -> Tensor:
        """Share each coordinate's value among its two nodes."""
        return gradient if prepared.identity else prepared.transposed @ gradient

    def places(self) -> NDArray[np.float64]:
        """Return the nodes."""
        return self.nodes

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


def component_subset(field: object, components: Sequence[int]) -> HatField:
    """Return a field of some of another's functions; raise `ArgumentError` where these are not hats."""
    if not isinstance(field, HatField):
        name = getattr(field, "name", type(field).__name__)
        raise ArgumentError("components of this field cannot be taken apart", got=name, expected="hat or matrix")
    return type(field)(field.nodes.copy(), field.coefficients[:, list(components)].clone())


def _random_start(rows: int, n_components: int, random: np.random.Generator, device: str) -> Tensor:
    # Data have mean 1, and K products of two such values add up to it on average.
    values = random.uniform(0.5, 1.5, (rows, n_components)) / np.sqrt(n_components)
    return torch.from_numpy(values.astype(np.float32)).to(device)


fields.register("hat", HatField)
fields.register("matrix", MatrixField)
