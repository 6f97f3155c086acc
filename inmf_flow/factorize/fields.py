"""What a field is: K non-negative functions of one coordinate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError

# Coefficients are kept above this (data have mean 1): a zero could never grow again, and smaller ones become denormal.
FLOOR = 1e-12
# Added to both parts of a ratio: far below any weight times a coefficient, far above the least float32.
TINY = 1e-30


Side = Literal["frequency", "time"]


def just_above(frequency: float) -> float:
    """Return a limit that a point at this very frequency does not pass by a rounding error."""
    return frequency + 1e-9 * abs(frequency)


@dataclass(frozen=True)
class Axis:
    """One axis of the data that a field is made for.

    Attributes
    ----------
    kind
        ``"frequency"`` (hertz) or ``"time"`` (seconds).
    coordinates
        The distinct coordinates of the points that have weight, rising, shape [N].
    low, high
        The range that the field covers.
    mass
        The weighted sum of the data at each coordinate, >= 0, [N]; None where it is not known.
    """

    kind: Side
    coordinates: NDArray[np.float64]
    low: float
    high: float
    mass: NDArray[np.float64] | None = None


class Field(ABC):
    """K non-negative functions of hertz or of seconds.

    A subclass is registered under a name through ``register_fields``. Parameters live on ``device``; coordinates are
    prepared once (features, basis), then evaluated many times.
    """

    name: ClassVar[str]
    #: Options that ``field="name:key=value"`` may give, with their defaults.
    options: ClassVar[dict[str, Any]] = {}

    @classmethod
    @abstractmethod
    def build(
        cls, axis: Axis, n_components: int, options: dict[str, Any], random: np.random.Generator, device: str
    ) -> Field:
        """Return a field at its random start for an axis."""

    @abstractmethod
    def prepare(self, coordinates: NDArray[np.float64]) -> Any:
        """Return what `values` needs of some coordinates, shape [N]."""

    @abstractmethod
    def values(self, prepared: Any) -> Tensor:
        """Return the functions at prepared coordinates, [N, K], differentiable by `parameters`."""

    @abstractmethod
    def parameters(self) -> list[Tensor]:
        """Return the leaf tensors that a gradient method changes."""

    @abstractmethod
    def scale(self, factors: Tensor) -> None:
        """Multiply each function by a positive factor, shape [K]."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that a file must keep, as arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, NDArray[Any]], n_components: int, device: str) -> Field:
        """Return the field of a file; raises ValueError or KeyError where the arrays do not fit."""

    def settle(self) -> None:  # noqa: B027 - most fields have nothing to settle
        """Bring parameters into their final form after a gradient method."""

    def evaluate(self, coordinates: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the functions at coordinates in any order, [N, K]."""
        with torch.no_grad():
            values = self.values(self.prepare(np.asarray(coordinates, np.float64)))
        # A copy: a field on its own nodes gives the coefficients themselves.
        return values.cpu().numpy().astype(np.float32)

    @classmethod
    def check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options with defaults filled in; unknown names raise `ArgumentError`."""
        unknown = set(options) - set(cls.options)
        if unknown:
            raise ArgumentError(
                f"field {cls.name!r} has no option {sorted(unknown)[0]!r}",
                expected="one of " + ", ".join(cls.options) if cls.options else "no options",
            )
        return {**cls.options, **options}


class LinearField(Field):
    """A field that is linear in non-negative coefficients, so that multiplicative updates fit it."""

    coefficients: Tensor

    @abstractmethod
    def start_free(self, random: np.random.Generator) -> None:
        """Draw the free values that a gradient method changes, as the reference draws those of H."""

    @abstractmethod
    def adjoint(self, prepared: Any, gradient: Tensor) -> Tensor:
        """Return the transpose of `values` as a map of the coefficients: [N, K] to the coefficients' shape."""

    def places(self) -> NDArray[np.float64]:
        """Return the coordinate that each row of the coefficients stands for, [M]: where given functions are sampled.

        Raises
        ------
        ArgumentError
            By default: coefficients of a field need not be its values anywhere.
        """
        raise ArgumentError("this field cannot start from given functions", got=self.name, expected="hat or matrix")

    def ratio(self, prepared: Any, negative: Tensor, positive: Tensor, *, signed: bool = False) -> Tensor:
        """Return negative / positive of the coefficients from both parts at the coordinates, [N, K].

        ``signed``: the data have negative values, so the part that is subtracted may be negative; where it is, it joins
        the other one (Nearly-NMF: Green & Bailey 2024, "Algorithms for Non-Negative Matrix Factorization on Noisy Data
        With Negative Values"). Where no point touches a coefficient both parts are 0, and the ratio is 1.
        """
        negative, positive = self.adjoint(prepared, negative), self.adjoint(prepared, positive)
        if signed:
            positive = positive - negative.clamp_max(0)
            negative = negative.clamp_min(0)
        return (negative + TINY).div_(positive + TINY)
