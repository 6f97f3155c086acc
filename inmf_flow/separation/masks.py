"""From the model of each source to its gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import BetaDivergence, get_divergence


@dataclass(frozen=True)
class Mask:
    """How shares become gains.

    Attributes
    ----------
    wiener
        The exponent e of g_s = m_s^(e/p) / sum_r m_r^(e/p), where m are models of magnitudes^p. 1 shares magnitudes, 2
        shares powers. Gains add up to one, so estimates add up to the mixture.
    paper
        Take (m_s / sum_r m_r)^(1/p) instead, as the published code does; its estimates do not add up.
    binary
        Give each point to the source whose model is the largest there.
    divergence
        Take the exponent e that the fitted divergence's own statistics suggest; see `resolved`.
    """

    wiener: float = 1.0
    paper: bool = False
    binary: bool = False
    divergence: bool = False

    def resolved(self, beta_loss: str | float) -> Mask:
        """Return the mask with an exponent in place of ``divergence``.

        Itakura-Saito fits variances of Gaussian components, whose best linear estimate shares powers, e = 2 (Févotte,
        Bertin & Durrieu 2009, "Nonnegative matrix factorization with the Itakura-Saito divergence"); Kullback-Leibler
        fits rates of Poisson components, which share magnitudes, e = 1. Divergences of a beta between have an exponent
        between, e = 2 - beta; all others share magnitudes.
        """
        if not self.divergence:
            return self
        rule = get_divergence(beta_loss)
        beta = rule.beta if isinstance(rule, BetaDivergence) else 1.0
        return Mask(wiener=min(max(2.0 - beta, 1.0), 2.0))


def parse_mask(mask: str | float | Mapping[str, Any] | Mask | None) -> Mask:
    """Return a mask from its form in YAML: ``default``, ``paper``, ``binary``, ``divergence`` or ``{wiener: 2}``.

    Raises
    ------
    ArgumentError
        For anything else.
    """
    if isinstance(mask, Mask):
        return mask
    if mask is None or mask == "default":
        return Mask()
    if mask in ("paper", "binary", "divergence"):
        return Mask(**{str(mask): True})
    if isinstance(mask, Mapping) and list(mask) == ["wiener"]:
        exponent = mask["wiener"]
        if isinstance(exponent, int | float) and not isinstance(exponent, bool) and 0 < exponent < 100:
            return Mask(wiener=float(exponent))
    raise ArgumentError(
        "no such mask",
        got=repr(mask),
        expected="'default', 'paper', 'binary', 'divergence' or {'wiener': exponent between 0 and 100}",
    )


def source_gains(models: Sequence[NDArray[np.float32]], power: float, mask: Mask) -> list[NDArray[np.float32]]:
    """Return the gain of each source from its model.

    Parameters
    ----------
    models
        One non-negative array a source, all of one shape, in the domain of magnitudes^power.
    power
        The exponent p that the models were fitted with.
    mask
        The rule.

    Returns
    -------
    gains
        As many arrays of the same shape. Where every model is 0 all sources share equally.
    """
    stacked = np.stack(models)
    # Relative to the loudest source, so that powers neither overflow nor vanish.
    top = stacked.max(axis=0)
    silent = ~(top > 0)
    relative = stacked / np.where(silent, 1, top)
    equal = np.float32(1 / len(models))
    if mask.binary:
        # The first of equals: gains of 0 and 1 that add up.
        loudest = stacked.argmax(axis=0)
        gains = np.where(silent, equal, np.arange(len(models)).reshape(-1, *[1] * loudest.ndim) == loudest)
    elif mask.paper:
        shares = relative / np.where(silent, 1, relative.sum(axis=0))
        gains = np.where(silent, equal ** np.float32(1 / power), shares ** np.float32(1 / power))
    else:
        powers = relative ** np.float32(mask.wiener / power)
        gains = np.where(silent, equal, powers / np.where(silent, 1, powers.sum(axis=0)))
    return list(gains.astype(np.float32, copy=False))
