"""From the model of each source to its gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError


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
    """

    wiener: float = 1.0
    paper: bool = False


def parse_mask(mask: str | float | Mapping[str, Any] | Mask | None) -> Mask:
    """Return a mask from its form in YAML: ``default``, ``paper`` or ``{wiener: 2}``.

    Raises
    ------
    ArgumentError
        For anything else.
    """
    if isinstance(mask, Mask):
        return mask
    if mask is None or mask == "default":
        return Mask()
    if mask == "paper":
        return Mask(paper=True)
    if isinstance(mask, Mapping) and list(mask) == ["wiener"]:
        exponent = mask["wiener"]
        if isinstance(exponent, int | float) and not isinstance(exponent, bool) and 0 < exponent < 100:
            return Mask(wiener=float(exponent))
    raise ArgumentError(
        "no such mask",
        got=repr(mask),
        expected="'default', 'paper' or {'wiener': exponent between 0 and 100}",
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
    if mask.paper:
        shares = relative / np.where(silent, 1, relative.sum(axis=0))
        gains = np.where(silent, equal ** np.float32(1 / power), shares ** np.float32(1 / power))
    else:
        powers = relative ** np.float32(mask.wiener / power)
        gains = np.where(silent, equal, powers / np.where(silent, 1, powers.sum(axis=0)))
    return list(gains.astype(np.float32, copy=False))
