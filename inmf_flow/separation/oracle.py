"""Upper bounds: masks that know the references."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.separation.masks import Mask, source_gains
from inmf_flow.transform import Transform, checked_analysis, checked_synthesis, get_transform

ORACLE_MASKS = ("ratio", "binary", "power")
"""Names of the masks: shares of magnitudes, the loudest takes all, shares of powers."""

_EXPONENTS = {"ratio": 1.0, "power": 2.0}


def oracle_estimates(
    mixture: ArrayLike,
    references: ArrayLike,
    sample_rate: int,
    transform: Transform | str = "stft",
    mask: str = "ratio",
    *,
    exponent: float | None = None,
) -> NDArray[Any]:
    """Separate a mixture by masks made of its references: what no mask of this transform is meant to exceed.

    Ideal ratio and binary masks of Vincent, Gribonval and Plumbley, "Oracle estimators for the benchmarking of source
    separation algorithms", Signal Processing 2007, and Wang, "On ideal binary mask as the computational goal of
    auditory scene analysis", 2005. They bound masks with gains from 0 to 1 closely but not strictly. Each channel has
    its own masks.

    Parameters
    ----------
    mixture
        [channels, samples] or [samples].
    references
        [sources, channels, samples] or [sources, samples].
    sample_rate
        Hertz.
    transform
        An invertible transform whose points are a grid, or its spec.
    mask
        ``"ratio"``: g_s = |s|^e / sum_r |r|^e with e = 1; ``"power"``: the same with e = 2; ``"binary"``: a point is
        the loudest reference's, the first one's where two are equally loud.
    exponent
        Another e of a ratio mask.

    Returns
    -------
    estimates
        Of the references' shape. They add up to the mixture within rounding, if the transform's inverse is exact.

    Raises
    ------
    ArgumentError
        For another mask, shapes that do not belong together, or a transform whose points lie elsewhere for every sound.

    Examples
    --------
    >>> import numpy as np
    >>> voices = np.random.default_rng(0).standard_normal((2, 8000))
    >>> estimates = oracle_estimates(voices.sum(axis=0), voices, 16000, mask="binary")
    >>> bool(np.allclose(estimates.sum(axis=0), voices.sum(axis=0), atol=1e-4))
    True
    """
    if mask not in ORACLE_MASKS:
        raise ArgumentError("no such oracle mask", got=repr(mask), expected=", ".join(ORACLE_MASKS))
    if exponent is not None and (mask == "binary" or not 0 < exponent < 100):
        raise ArgumentError("no such exponent of an oracle mask", got=exponent, expected="0 to 100, of a ratio mask")
    audio, truth = np.asarray(mixture, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if truth.ndim not in (2, 3) or truth.shape[1:] != audio.shape or len(truth) == 0:
        raise ArgumentError(
            "the references do not belong to the mixture",
            got=f"references {truth.shape}, mixture {audio.shape}",
            expected="references [sources, *shape of the mixture]",
        )
    chosen = get_transform(transform) if isinstance(transform, str) else transform
    channels = audio.shape[0] if audio.ndim == 2 else 1
    whole, parts = audio.reshape(channels, -1), truth.reshape(len(truth), channels, -1)
    estimates = np.zeros_like(parts)
    for channel in range(channels):
        points = _grids(chosen, checked_analysis(chosen, whole[channel], sample_rate))
        heard = [checked_analysis(chosen, part[channel], sample_rate) for part in parts]
        gains = [
            _gains([one.magnitudes for one in blocks], mask, exponent)
            for blocks in zip(*(_grids(chosen, each).blocks for each in heard), strict=True)
        ]
        for source, own in enumerate(zip(*gains, strict=True)):
            estimates[source, channel] = np.ravel(checked_synthesis(chosen, points, list(own), whole.shape[1]))
    return estimates.reshape(truth.shape)


def _grids(transform: Transform, points: PointSet) -> PointSet:
    if not all(isinstance(block, GridBlock) for block in points.blocks):
        raise ArgumentError(
            "oracle masks need a transform whose points are a grid",
            got=transform.name,
            hint="points of others lie elsewhere for every sound, so that the references' say nothing of the mixture's",
        )
    return points


def _gains(magnitudes: list[Any], mask: str, exponent: float | None) -> list[NDArray[np.float32]]:
    if mask == "binary":
        loudest = np.argmax(np.stack(magnitudes), axis=0)
        return [(loudest == source).astype(np.float32) for source in range(len(magnitudes))]
    return source_gains(magnitudes, 1.0, Mask(wiener=exponent or _EXPONENTS[mask]))
