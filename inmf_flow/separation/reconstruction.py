"""How well dictionaries explain a recording: the divergence of its points from what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inmf_flow.audio import open_audio
from inmf_flow.errors import PointsError
from inmf_flow.factorize import Activations, get_divergence
from inmf_flow.factorize.context import lags_for, predict_block
from inmf_flow.points import PointSet
from inmf_flow.separation.analysis import analyze_file
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.transform import Transform

# What the paper adds to both sides of the divergence.
_EPSILON = 1e-8


def reconstruction_divergence(
    path: str,
    dictionary: Dictionary,
    transforms: Sequence[Transform],
    sample_rate: int | None = None,
    *,
    max_iter: int = 100,
    start: float | None = None,
    stop: float | None = None,
) -> float:
    """Return the mean divergence a point of a recording from what its dictionaries make of it, templates frozen.

    The figure of the reconstruction experiment of arXiv 2404.04439 (table I): all points alike, 1e-8 added to both
    sides, and the recording scaled to unit energy, without which the Kullback-Leibler divergence would grow with the
    level. Channels are looked at one by one.

    Parameters
    ----------
    path
        The recording.
    dictionary
        One or several sources' templates, whose activations are fitted together.
    transforms
        What makes the points.
    sample_rate, start, stop
        As of `analyze_file`.
    max_iter
        Updates of the activations.

    Raises
    ------
    AudioError
        When the recording cannot be read.
    PointsError
        When it is silent.
    """
    energy = _energy(path, sample_rate, start, stop)
    if not energy:
        raise PointsError("a silent recording has no divergence at unit energy", where=str(path))
    points = analyze_file(path, transforms, sample_rate, start=start, stop=stop)
    # Activations follow the level, so that a factor of the magnitudes to the power is one of the model too.
    scale = energy ** (-dictionary.power / 2)
    total, count = 0.0, 0
    for number in range(points.channels):
        channel = points.channel(number)
        channel_sum, channel_count = _sum(channel, dictionary, dictionary.activations(channel, max_iter), scale)
        total += channel_sum
        count += channel_count
    if not count:
        raise PointsError("there are no points to score", where=str(path))
    return total / count


def _energy(path: str, sample_rate: int | None, start: float | None, stop: float | None) -> float:
    """Return the sum of squares of a recording, of several channels their mean."""
    with open_audio(path, sample_rate, start, stop) as reader:
        sums = [np.square(block, dtype=np.float64).sum() / len(block) for block in reader.blocks(1 << 18)]
    return float(np.sum(sums))


def _sum(points: PointSet, dictionary: Dictionary, activations: Activations, scale: float) -> tuple[float, int]:
    import torch

    rule = get_divergence(dictionary.beta_loss)
    lags = lags_for(points, dictionary.context)
    total, count = 0.0, 0
    for block in points.blocks:
        model = predict_block(block, dictionary.templates, activations, lags)
        values = np.power(block.magnitudes, dictionary.power, dtype=np.float64)
        present = np.isfinite(values) & (block.weights > 0)
        v = torch.from_numpy(values[present] * scale + _EPSILON)
        v_hat = torch.from_numpy(np.broadcast_to(model, values.shape)[present] * np.float64(scale) + _EPSILON)
        total += float(rule.value(v, v_hat).sum())
        count += int(present.sum())
    return total, count
