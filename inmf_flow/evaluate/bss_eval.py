"""SDR, SIR and SAR with a distortion filter of 512 taps, as BSS Eval defines them, by fast_bss_eval."""

from __future__ import annotations

import numpy as np

from inmf_flow.evaluate.metric import Float64, Metric, limit_db, sounding
from inmf_flow.files import digest_bytes

# The filter that BSS Eval allows between a reference and what is heard of it; a clip no longer than it can
# be made into any other.
_FILTER_LENGTH = 512
# Added to the diagonal (which is 1) only where the references are so alike that there is no solution.
_REGULARISATION = 1e-10

# SDR, SIR and SAR come of one computation: the last one's result, by the digest of what it was made of.
_last: tuple[str, Float64] = ("", np.zeros((3, 0)))


def bss_eval(references: Float64, estimates: Float64) -> Float64:
    """Return SDR, SIR and SAR in decibels, shape [3, S], of estimates [S, N] against references [S, N].

    Vincent, Gribonval and Fevotte, "Performance measurement in blind audio source separation", IEEE TASLP
    2006, with estimate i held against reference i. NaN where the reference or the estimate is silent and for
    clips of 512 samples or fewer; the SIR also where only one reference sounds, for nothing interferes.
    """
    global _last
    shape = str((references.shape, estimates.shape)).encode()
    key = digest_bytes(shape, references.tobytes(), estimates.tobytes())
    found, scores = _last
    if found != key:
        scores = _compute(references, estimates)
        _last = key, scores
    return scores


def _compute(references: Float64, estimates: Float64) -> Float64:
    scores = np.full((3, len(references)), np.nan)
    # Silent references have no filter, and do not interfere either.
    heard = np.flatnonzero(sounding(references))
    if len(heard) == 0 or references.shape[1] <= _FILTER_LENGTH:
        return scores
    scores[:, heard] = limit_db(_solve(references[heard], estimates[heard]))
    scores[:, ~sounding(estimates)] = np.nan
    if len(heard) == 1:
        scores[1] = np.nan
    return scores


def _solve(references: Float64, estimates: Float64) -> Float64:
    import fast_bss_eval
    import torch

    # Tensors, because fast_bss_eval's NumPy path fails with NumPy 2 (np.linalg.solve reads its vectors
    # otherwise).
    pair = torch.tensor(references), torch.tensor(estimates)

    def run(load_diag: float | None) -> Float64:
        ratios = fast_bss_eval.bss_eval_sources(
            *pair, filter_length=_FILTER_LENGTH, compute_permutation=False, load_diag=load_diag
        )
        return np.stack([ratio.numpy() for ratio in ratios])

    try:
        return run(None)
    except RuntimeError:  # torch's LinAlgError: the same reference twice, say
        return run(_REGULARISATION)


def _metric(name: str, row: int) -> Metric:
    return Metric(
        name,
        lambda references, estimates, _rate: bss_eval(references, estimates)[row],
        has_baseline=name != "sar",
    )


BSS_EVAL_METRICS = tuple(_metric(name, row) for row, name in enumerate(("sdr", "sir", "sar")))
