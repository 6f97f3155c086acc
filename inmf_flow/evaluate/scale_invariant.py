"""The scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate.metric import Float64, Metric, limit_db, sounding


def si_sdr(references: ArrayLike, estimates: ArrayLike) -> Float64:
    """Return the scale-invariant signal-to-distortion ratio (SI-SDR) in decibels.

    Equation 3 of Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP 2019:
    ``10 log10(|a s|^2 / |a s - e|^2)`` for reference ``s``, estimate ``e`` and ``a = <e, s> / |s|^2``.
    Means are not removed first, as in that equation.

    Parameters
    ----------
    references, estimates
        Signals of the same shape [..., N].

    Returns
    -------
    decibels
        Shape [...], within +-`LIMIT_DB` (a perfect estimate would be infinite). NaN where the reference or
        the estimate is silent: the ratio is 0/0.

    Raises
    ------
    ArgumentError
        When the shapes differ.

    Examples
    --------
    >>> float(si_sdr([3.0, 0.0], [3.0, 3.0]))
    0.0
    """
    s = np.asarray(references, dtype=np.float64)
    e = np.asarray(estimates, dtype=np.float64)
    if s.shape != e.shape or s.ndim == 0:
        raise ArgumentError(
            "references and estimates have different shapes",
            got=f"{e.shape} estimates",
            expected=f"{s.shape}",
        )
    defined = sounding(s) & sounding(e)
    s, e = _unit_peak(s), _unit_peak(e)
    energy = np.sum(s * s, axis=-1)
    scale = np.sum(e * s, axis=-1) / np.where(defined, energy, 1.0)
    target = scale * scale * energy
    noise = np.sum((e - scale[..., None] * s) ** 2, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = 10.0 * (np.log10(target) - np.log10(noise))
    return np.where(defined, limit_db(decibels), np.nan)


def _unit_peak(signals: Float64) -> Float64:
    """Scale to a peak of 1, so that squares of faint signals do not vanish; the ratio does not notice."""
    peak = np.max(np.abs(signals), axis=-1, keepdims=True, initial=0.0)
    return signals / np.where(peak > 0.0, peak, 1.0)


SI_SDR = Metric("si_sdr", lambda references, estimates, _rate: si_sdr(references, estimates))
