"""Divergences between data and model, each with the two parts of its gradient that multiplicative updates need."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.registry import divergences

#: Added to data and model, as in the paper, so that zeros stay finite.
EPSILON = 1e-8


class Divergence(ABC):
    """A separable divergence d(v | v_hat), convex or not, for non-negative data.

    ``exponent`` is the power put on the ratio of gradient parts in a multiplicative update: it makes that monotone.
    """

    name: str
    exponent: float = 1.0

    @abstractmethod
    def value(self, v: Tensor, v_hat: Tensor) -> Tensor:
        """Return the divergence of each entry; both tensors have the same shape and hold positive values."""

    @abstractmethod
    def negative_part(self, v: Tensor, v_hat: Tensor, out: Tensor) -> Tensor:
        """Write the part of the gradient by ``v_hat`` that is subtracted, without its sign, to ``out``; return it.

        ``out`` may be ``v_hat`` itself, to save a buffer: write it in one step, after the last use of ``v_hat``.
        """

    @abstractmethod
    def positive_part(self, v: Tensor, v_hat: Tensor) -> Tensor | None:
        """Return the part of the gradient that is added, or None where it is 1 everywhere."""


@dataclass(frozen=True)
class BetaDivergence(Divergence):
    """The beta-divergence: Itakura-Saito (0), Kullback-Leibler (1), half the squared error (2), and between.

    The update's exponent is the one for which Févotte & Idier (2011, "Algorithms for nonnegative matrix factorization
    with the beta-divergence", section 4) prove that the divergence never rises.
    """

    beta: float

    @property
    def name(self) -> str:  # type: ignore[override]
        """The usual name, or the number."""
        return _NAMES.get(self.beta, f"{self.beta:g}")

    @property
    def exponent(self) -> float:  # type: ignore[override]
        """The power that makes the multiplicative update monotone."""
        if self.beta < 1:
            return 1 / (2 - self.beta)
        return 1 / (self.beta - 1) if self.beta > 2 else 1.0

    def value(self, v: Tensor, v_hat: Tensor) -> Tensor:
        """Return the divergence of each entry."""
        if self.beta == 1:
            return v * (v.log() - v_hat.log()) - v + v_hat
        if self.beta == 0:
            ratio = v / v_hat
            return ratio - ratio.log() - 1
        b = self.beta
        if b == 2:
            # Written out, the difference of two near values would lose its digits.
            return 0.5 * (v - v_hat) ** 2
        return (v**b + (b - 1) * v_hat**b - b * v * v_hat ** (b - 1)) / (b * (b - 1))

    def negative_part(self, v: Tensor, v_hat: Tensor, out: Tensor) -> Tensor:
        """Write v * v_hat^(beta - 2) into ``out``."""
        if self.beta == 1:
            return torch.div(v, v_hat, out=out)
        if self.beta == 2:
            return out.copy_(v)
        return torch.mul(v, v_hat ** (self.beta - 2), out=out)

    def positive_part(self, v: Tensor, v_hat: Tensor) -> Tensor | None:
        """Return v_hat^(beta - 1)."""
        if self.beta == 1:
            return None
        return v_hat if self.beta == 2 else v_hat ** (self.beta - 1)


_NAMES = {1.0: "kullback-leibler", 0.0: "itakura-saito", 2.0: "frobenius"}
for _beta, _name in _NAMES.items():
    divergences.register(_name, BetaDivergence(_beta))


def get_divergence(beta_loss: str | float) -> Divergence:
    """Return a divergence by its name, as in scikit-learn, or by the value of beta.

    Raises
    ------
    UnknownNameError
        For a name that is not installed.
    ArgumentError
        For a beta that is not a finite number.
    """
    if isinstance(beta_loss, str):
        try:
            beta_loss = float(beta_loss)
        except ValueError:
            return cast("Divergence", divergences.get(str(beta_loss)))
    if isinstance(beta_loss, bool) or not isinstance(beta_loss, int | float) or not math.isfinite(beta_loss):
        raise ArgumentError("beta_loss must be finite", got=beta_loss, expected="a name or a real number")
    # So near to 0 or 1 the general formula is a difference of equal numbers.
    near = [special for special in (0.0, 1.0) if abs(beta_loss - special) < 1e-4]
    return BetaDivergence(near[0] if near else float(beta_loss))
