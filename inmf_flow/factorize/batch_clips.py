"""Clips of a batch, and how templates of all of them go from nodes to frequencies and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Clip:
    """One grid at its start, without coordinates that have no weight.

    Attributes
    ----------
    v, mask
        Data + 1e-8, and 1 where a point is present, else 0 (None: all are), [F, T].
    frequency_weights, time_weights
        Of the axes, [F] and [T].
    weight
        Sum of all points' weights.
    nodes, shares
        The two nodes that each frequency lies between, and their shares in it, [F, 2].
    templates, activations
        Coefficients [M, K] of the nodes, and values [T, K].
    """

    v: Tensor
    mask: Tensor | None
    frequency_weights: Tensor
    time_weights: Tensor
    weight: float
    nodes: Tensor
    shares: Tensor
    templates: Tensor
    activations: Tensor


class Basis:
    """Templates at the frequencies from coefficients, [B, M, K] to [B, F, K], and the transpose of that.

    Interpolation gathers two nodes a frequency. Its transpose would have to add up with atomics, in any order: a dense
    product gives equal bits every time, and where all clips have the same nodes they share its matrix.
    """

    def __init__(self, clips: Sequence[Clip], shape: tuple[int, int, int], device: torch.device) -> None:
        b, f, m = shape
        nodes = torch.zeros(b, f, 2, dtype=torch.int64)
        # A frequency that a clip lacks has the value of its first node: of the data's size, so nothing overflows.
        shares = torch.tensor([1.0, 0.0]).repeat(b, f, 1)
        for row, clip in enumerate(clips):
            nodes[row, : len(clip.nodes)], shares[row, : len(clip.nodes)] = clip.nodes, clip.shares
        alike = bool((nodes == nodes[:1]).all() and (shares == shares[:1]).all())
        own = torch.arange(m)
        self.identity = f == m and alike and bool((nodes[0, :, 0] == own).all() and (shares[0, :, 0] == 1).all())
        if self.identity:
            return
        nodes, shares = nodes.to(device), shares.to(device)
        matrix = torch.zeros(1 if alike else b, m, f, device=device)
        for column in (0, 1):
            at, values = nodes[: len(matrix), None, :, column], shares[: len(matrix), None, :, column]
            matrix.scatter_add_(1, at, values)
        self._transposed = matrix.expand(b, m, f)
        flat = (nodes + m * torch.arange(b, device=device)[:, None, None]).reshape(-1, 2)
        self._rows = flat[:, 0].contiguous(), flat[:, 1].contiguous()
        self._shares = shares[..., :1].contiguous(), shares[..., 1:].contiguous()

    def values(self, coefficients: Tensor, out: Tensor, spare: Tensor) -> Tensor:
        """Return templates [B, F, K] of coefficients [B, M, K], in ``out`` where they are not the same."""
        if self.identity:
            return coefficients
        table = coefficients.flatten(0, 1)
        torch.index_select(table, 0, self._rows[0], out=out.flatten(0, 1))
        torch.index_select(table, 0, self._rows[1], out=spare.flatten(0, 1))
        return out.mul_(self._shares[0]).addcmul_(spare, self._shares[1])

    def adjoint(self, values: Tensor) -> Tensor:
        """Return what values at the frequencies, [B, F, K], add up to at the nodes, [B, M, K]."""
        return values if self.identity else torch.bmm(self._transposed, values)
