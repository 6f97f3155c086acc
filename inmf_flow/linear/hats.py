"""Piecewise-linear functions of any sign, and the chains of small matrices that fitting them leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.fields import Axis, Side
from inmf_flow.factorize.hat import place_nodes
from inmf_flow.registry import parse_choice

Float64 = NDArray[np.float64]

# The hat field's own limits: nodes on the axis of hertz, and nodes a second.
_FREQUENCY_NODES = 256
_NODES_A_SECOND = 64


@dataclass(frozen=True)
class Hats:
    """Hats on nodes, at some coordinates: coordinate x lies ``share[x]`` of the way from node ``left[x]`` to the next.

    Attributes
    ----------
    nodes
        Rising positions in hertz or seconds, [M].
    left
        Index of the node at or below each coordinate, [N].
    share
        Share of the node above, in [0, 1], [N].
    identity
        Whether the coordinates are the nodes themselves, so that no two nodes have a coordinate in common.
    """

    nodes: Float64
    left: NDArray[np.int64]
    share: Float64
    identity: bool

    @classmethod
    def build(cls, nodes: Float64, coordinates: Float64) -> Hats:
        """Find each coordinate's neighbours. Outside the nodes a function keeps its last value."""
        if np.array_equal(nodes, coordinates):
            return cls(nodes, np.arange(len(nodes)), np.zeros(len(nodes)), identity=True)
        if len(nodes) == 1:
            return cls(nodes, np.zeros(len(coordinates), np.int64), np.zeros(len(coordinates)), identity=False)
        left = np.clip(np.searchsorted(nodes, coordinates, side="right") - 1, 0, len(nodes) - 2)
        share = np.clip((coordinates - nodes[left]) / (nodes[left + 1] - nodes[left]), 0.0, 1.0)
        return cls(nodes, left, share, identity=False)

    def values(self, coefficients: Float64) -> Float64:
        """Return the functions at the coordinates, [N, ...], from their values at the nodes, [M, ...]."""
        if self.identity:
            return coefficients
        share = self.share.reshape(-1, *[1] * (coefficients.ndim - 1))
        right = np.minimum(self.left + 1, len(self.nodes) - 1)
        return coefficients[self.left] * (1 - share) + coefficients[right] * share

    def adjoint(self, values: Float64) -> Float64:
        """Return the transpose of `values` as a map: [N, ...] to [M, ...]."""
        return values if self.identity else self._gather(values, 1 - self.share, self.share)

    def chain(self, values: Float64) -> tuple[Float64, Float64]:
        """Return sum_x phi_m(x) phi_n(x) values[x]: for n = m, [M, ...], and for n = m + 1, [M - 1, ...].

        Hats further apart do not overlap.
        """
        if self.identity:
            return values, np.zeros((len(self.nodes) - 1, *values.shape[1:]))
        diagonal = self._gather(values, (1 - self.share) ** 2, self.share**2)
        return diagonal, self._gather(values, (1 - self.share) * self.share, 0 * self.share)[:-1]

    def unchain(self, diagonal: Float64, beside: Float64) -> Float64:
        """Return sum_mn phi_m(x) phi_n(x) of the (m, n) blocks of a symmetric chain [M, J, J] and [M - 1, J, J]."""
        if self.identity:
            return diagonal
        if len(self.nodes) == 1:
            return diagonal[self.left]
        share = self.share[:, None, None]
        both = beside[self.left]
        ends = diagonal[self.left] * (1 - share) ** 2 + diagonal[self.left + 1] * share**2
        return ends + share * (1 - share) * (both + both.transpose(0, 2, 1))

    def _gather(self, values: Float64, lower: Float64, upper: Float64) -> Float64:
        flat = values.reshape(len(values), -1)
        result = np.zeros((len(self.nodes), flat.shape[1]))
        right = np.minimum(self.left + 1, len(self.nodes) - 1)
        np.add.at(result, self.left, flat * lower[:, None])
        np.add.at(result, right, flat * upper[:, None])
        return result.reshape(len(self.nodes), *values.shape[1:])


def choose_nodes(
    choice: str | Mapping[str, Any], coordinates: Float64, kind: Side, n_points: int, n_functions: int
) -> Float64:
    """Return the nodes of a field.

    Parameters
    ----------
    choice
        ``"hat"``, with options ``nodes`` and ``warp``, or ``"matrix"``.
    coordinates
        The distinct coordinates of points that have weight, rising, [N].
    kind
        ``"frequency"`` or ``"time"``.
    n_points, n_functions
        By default there are at least eight points to each value at a node: unlike templates that may not be negative,
        functions of any sign follow the noise of points that are fewer.
    """
    name, options = parse_choice(choice)
    known = {"hat": {"nodes", "warp"}, "matrix": set[str]()}
    if name not in known:
        raise ArgumentError(
            "this field has no coefficients of any sign", where=f"field {name}", expected="'hat' or 'matrix'"
        )
    if unknown := sorted(set(options) - known[name]):
        raise ArgumentError(
            f"field {name!r} has no option {unknown[0]!r}",
            expected="one of nodes, warp" if known[name] else "no options",
        )
    if name == "matrix":
        return coordinates
    count = options.get("nodes")
    if count is None:
        most = _FREQUENCY_NODES if kind == "frequency" else int(_NODES_A_SECOND * np.ptp(coordinates)) + 2
        count = int(min(most, len(coordinates), max(n_points // (8 * n_functions), n_functions)))
    elif isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1 << 20:
        raise ArgumentError("nodes must be a whole number", where="field hat", got=count, expected="1 to 1048576")
    warp = options.get("warp") or ("log" if kind == "frequency" else "linear")
    if warp not in ("linear", "log"):
        raise ArgumentError(
            "functions of any sign have no such warp", where="field hat", got=repr(warp), expected="'linear' or 'log'"
        )
    wanted = place_nodes(Axis(kind, coordinates, float(coordinates[0]), float(coordinates[-1])), count, warp)
    # Each node moves to the nearest coordinate, so that none is left without data.
    half_way = 0.5 * (coordinates[1:] + coordinates[:-1])
    return coordinates[np.unique(np.searchsorted(half_way, wanted))]


def solve_chain(diagonal: Float64, beside: Float64, right: Float64) -> Float64:
    """Solve a symmetric positive definite block-tridiagonal system.

    Parameters
    ----------
    diagonal, beside
        Blocks (m, m), [M, J, J], and (m, m + 1), [M - 1, J, J].
    right
        The right-hand side, [M, J].

    Returns
    -------
    solution
        Shape [M, J].
    """
    if not beside.any():
        return _solve(diagonal, right[..., None])[..., 0]
    pivots, links = _eliminate(diagonal, beside)
    result = right.copy()
    for m, link in enumerate(links):
        result[m + 1] -= link.T @ result[m]
    result = _solve(pivots, result[..., None])[..., 0]
    for m in range(len(links) - 1, -1, -1):
        result[m] -= links[m] @ result[m + 1]
    return result


def invert_chain(diagonal: Float64, beside: Float64) -> tuple[Float64, Float64, float]:
    """Return the same blocks of the inverse, (m, m) and (m, m + 1), and the logarithm of the determinant."""
    if not beside.any():
        return _inverse(diagonal), np.zeros_like(beside), float(np.linalg.slogdet(diagonal)[1].sum())
    pivots, links = _eliminate(diagonal, beside)
    inverse = _inverse(pivots)
    near = np.zeros_like(beside)
    for m in range(len(links) - 1, -1, -1):
        near[m] = -links[m] @ inverse[m + 1]
        inverse[m] -= near[m] @ links[m].T
    return inverse, near, float(np.linalg.slogdet(pivots)[1].sum())


def _eliminate(diagonal: Float64, beside: Float64) -> tuple[Float64, Float64]:
    """Return the pivots of block elimination, [M, J, J], and pivot^-1 beside, [M - 1, J, J]."""
    pivots, links = diagonal.copy(), np.empty_like(beside)
    for m in range(len(beside)):
        links[m] = np.linalg.solve(pivots[m], beside[m])
        pivots[m + 1] -= beside[m].T @ links[m]
    return pivots, links


def _solve(matrices: Float64, right: Float64) -> Float64:
    return np.asarray(np.linalg.solve(matrices, right), np.float64)


def _inverse(matrices: Float64) -> Float64:
    return np.asarray(np.linalg.inv(matrices), np.float64)
