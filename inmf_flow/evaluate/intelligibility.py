"""Short-time objective intelligibility."""

from __future__ import annotations

import warnings

import numpy as np

from inmf_flow.evaluate.metric import Float64, Metric, sounding

# STOI correlates 30 frames of 25.6 ms, 12.8 ms apart: shorter clips have none.
_SHORTEST = 0.4
# What pystoi returns, with a warning, where too few frames are left without the silent ones.
_TOO_FEW_FRAMES = 1e-5


def stoi(references: Float64, estimates: Float64, sample_rate: int) -> Float64:
    """Return the short-time objective intelligibility of estimates [S, N], shape [S], 0 to 1.

    Taal, Hendriks, Heusdens and Jensen, "An algorithm for intelligibility prediction of time-frequency
    weighted noisy speech", IEEE TASLP 2011, by pystoi, which resamples to its 10 kHz. NaN for silent
    references and where less than 0.4 s of the reference sounds.
    """
    scores = np.full(len(references), np.nan)
    if references.shape[1] < _SHORTEST * sample_rate:
        return scores
    for index in np.flatnonzero(sounding(references)):
        scores[index] = _stoi(references[index], estimates[index], sample_rate)
    return scores


def _stoi(reference: Float64, estimate: Float64, sample_rate: int) -> float:
    import pystoi

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Not enough STFT frames", RuntimeWarning)
        score = float(pystoi.stoi(reference, estimate, sample_rate))
    return float("nan") if score == _TOO_FEW_FRAMES else score


STOI = Metric("stoi", stoi, unit="")
