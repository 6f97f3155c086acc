"""Penalties on templates and activations, each split into the parts that multiplicative updates need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inmf_flow.factorize.data import Data
from inmf_flow.factorize.divergences import BetaDivergence, Divergence
from inmf_flow.factorize.fields import Side


@dataclass(frozen=True)
class Weights:
    """How much of each penalty is added to the mean divergence of data of mean 1."""

    sparsity: float = 0.0
    smoothness: float = 0.0
    decorrelation: float = 0.0

    def __bool__(self) -> bool:
        return any((self.sparsity, self.smoothness, self.decorrelation))


class Penalties:
    """The penalties of one data set.

    With norms <w, v> = sum_f a_f w_f v_f and means <h> = sum_t b_t h_t, where a and b are the shares of the points'
    weight at each coordinate, they are

    - sparsity: sum_k |w_k| <h_k>, the L1 norm of activations of normalized templates (Le Roux, Weninger & Hershey 2015,
      "Sparse NMF - half-baked or well done?"),
    - smoothness: 1/2 sum_k |w_k|^2 mean_i (h_k,i+1 - h_k,i)^2 (dt / dt_i) (Essid & Févotte 2013, "Smooth Nonnegative
      Matrix Factorization for Unsupervised Audiovisual Document Structuring"),
    - decorrelation: 1/2 sum_k sum_{j != k} <w_j, w_k> <h_j> <h_k>: templates that sound much should overlap little.

    None of them changes when a template is scaled and its activation by the inverse. All are majorized by quadratics
    in x = new / old coefficient, without a linear part that could turn negative: with these joined to the divergence's
    own majorizer (Young's inequality brings its powers of x up to 2), the update old * (negative / positive)^`exponent`
    never raises the sum.
    """

    def __init__(self, weights: Weights, data: Data) -> None:
        self.weights = weights
        self._total = data.weight
        self._a = (data.sums("frequency")[1] / max(data.weight, 1e-30))[:, None]
        self._b = (data.sums("time")[1] / max(data.weight, 1e-30))[:, None]
        steps = np.diff(data.times)
        # Coordinates of scattered points may be as close as rounding: their quotient would drown all others.
        usual = np.median(steps) if len(steps) else 1.0
        stiffness = usual / np.maximum(steps, 0.1 * usual) / max(len(steps), 1)
        self._stiffness = torch.from_numpy(stiffness.astype(np.float32)).to(self._b.device)[:, None]

    @staticmethod
    def exponent(divergence: Divergence) -> float:
        """Return the power of the ratio that keeps updates monotone with penalties."""
        if isinstance(divergence, BetaDivergence):
            return 1 / (3 - divergence.beta) if divergence.beta <= 2 else divergence.exponent
        return 0.5 * divergence.exponent

    def value(self, w: Tensor, h: Tensor) -> float:
        """Return the sum of all penalties for templates [NF, K] and activations [NT, K]."""
        w, h = w.double(), h.double()
        a, b, given = self._a.double(), self._b.double(), self.weights
        power = (a * w * w).sum(0)
        means = (b * h).sum(0)
        total = given.sparsity * float((power.sqrt() * means).sum())
        if given.smoothness:
            total += 0.5 * given.smoothness * float((power * (self._stiffness * h.diff(dim=0) ** 2).sum(0)).sum())
        if given.decorrelation:
            gram = (a * w).T @ w * torch.outer(means, means)
            total += 0.5 * given.decorrelation * float(gram.sum() - gram.diagonal().sum())
        return total

    def add_parts(self, w: Tensor, h: Tensor, side: Side, parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the parts of a gradient with those of the penalties, which are times the points' weight too."""
        negative, positive = parts
        given, a, b = self.weights, self._a, self._b
        power = (a * w * w).sum(0)
        means = (b * h).sum(0)
        extra = torch.zeros_like(positive)
        if side == "frequency":
            if given.sparsity:
                extra += given.sparsity * a * w * (means / power.sqrt().clamp_min(1e-20))
            if given.smoothness:
                extra += given.smoothness * a * w * (self._stiffness * h.diff(dim=0) ** 2).sum(0)
            if given.decorrelation:
                extra += given.decorrelation * a * (w @ _without_diagonal(torch.outer(means, means)))
        else:
            if given.sparsity:
                extra += given.sparsity * b * power.sqrt()
            if given.decorrelation:
                extra += given.decorrelation * b * (_without_diagonal((a * w).T @ w) @ means)
            if given.smoothness and len(h) > 1:
                both = given.smoothness * self._total * power
                stiff, neighbours = torch.zeros_like(self._b), torch.zeros_like(h)
                stiff[1:] += self._stiffness
                stiff[:-1] += self._stiffness
                neighbours[1:] += self._stiffness * h[:-1]
                neighbours[:-1] += self._stiffness * h[1:]
                negative = negative + both * (stiff * h + neighbours)
                positive = positive + both * 2 * stiff * h
        return negative, positive + self._total * extra


def _without_diagonal(square: Tensor) -> Tensor:
    return square - torch.diag(square.diagonal())
