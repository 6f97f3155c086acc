"""Scoring one item: the estimates of its sources against their references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import open_audio
from inmf_flow.errors import ArgumentError, AudioError
from inmf_flow.evaluate.metric import Float64, Metric, get_metrics

# Codecs and transforms pad by less than this; more means that the files do not belong together.
_LENGTH_TOLERANCE = 0.1
_BLOCK = 1 << 16

_Limits = tuple[float | None, float | None]
_WHOLE: _Limits = (None, None)


@dataclass(frozen=True)
class MetricRow:
    """One score.

    Attributes
    ----------
    item, source, metric
        What was scored, and how.
    value
        The score; NaN where it is not defined.
    baseline
        The score of doing nothing (the mixture taken as the estimate); NaN where the mixture is not known.
    improvement
        By how much the value is better than the baseline: positive is better.
    """

    item: str
    source: str
    metric: str
    value: float
    baseline: float
    improvement: float


def evaluate_item(
    item: str,
    references: Mapping[str, Path],
    estimates: Mapping[str, Path],
    mixture: Path | None,
    metrics: Sequence[str],
    *,
    start: float | None = None,
    stop: float | None = None,
) -> list[MetricRow]:
    """Score the estimates of one item.

    Each channel is scored by itself and the scores are averaged. Estimates without a reference are left out;
    references without an estimate count as interference.

    Parameters
    ----------
    item
        The name for the rows.
    references, estimates
        Audio files by source; those of the same name belong together.
    mixture
        What the sources were separated from, for the baseline. Without it, it is the sum of the references
        if every estimate has one, else there is no baseline.
    metrics
        Names of metrics.
    start, stop
        Where the estimates are of a part of the mixture, its limits in seconds from the mixture's start; None stands
        for its start and its end. References are cut like the mixture.

    Returns
    -------
    rows
        For each estimate that has a reference, in their order, one row a metric.

    Raises
    ------
    UnknownNameError
        For a metric that is not installed.
    AudioError
        When a file cannot be read, or files differ in sample rate, channels, or by more than 0.1 s in length
        (the ends are cut off where they differ by less).
    ArgumentError
        When no estimate has a reference.
    """
    chosen = get_metrics(metrics)
    paired = [source for source in estimates if source in references]
    if not paired:
        raise ArgumentError(
            "no estimate has a reference of the same name",
            where=item,
            got="estimates " + (", ".join(sorted(estimates)) or "none"),
            expected="some of the references " + (", ".join(sorted(references)) or "none"),
        )
    part: _Limits = (start, stop)
    files = [(path, part) for path in references.values()] + [(estimates[source], _WHOLE) for source in paired]
    audio, rate = _load(files if mixture is None else [*files, (mixture, part)])
    order = {source: index for index, source in enumerate(references)}
    truth = audio[: len(order)]
    guesses = np.zeros_like(truth)
    guesses[[order[source] for source in paired]] = audio[len(order) : len(files)]
    values = _score(chosen, truth, guesses, rate)
    baselines = np.full_like(values, np.nan)
    if mixture is not None or len(paired) == len(estimates):
        nothing_done = audio[-1] if mixture is not None else truth.sum(axis=0)
        baselines = _score(chosen, truth, np.stack([nothing_done] * len(order)), rate)
        baselines[[not metric.has_baseline for metric in chosen]] = np.nan
    rows = []
    for source in paired:
        for index, metric in enumerate(chosen):
            value, baseline = (float(scores[index, order[source]]) for scores in (values, baselines))
            rows.append(MetricRow(item, source, metric.name, value, baseline, metric.improvement(value, baseline)))
    return rows


def _load(files: Sequence[tuple[Path, _Limits]]) -> tuple[Float64, int]:
    """Read files that belong together, cut to the shortest: [files, channels, samples] and their rate."""
    like = files[0][0]
    first, rate = _read(*files[0])
    clips = [first]
    for path, limits in files[1:]:
        clip, clip_rate = _read(path, limits)
        _check_alike(path, f"{clip_rate} Hz", f"{rate} Hz", like, "the sample rates differ")
        _check_alike(path, f"{len(clip)} channels", f"{len(first)} channels", like, "the channels differ")
        if abs(clip.shape[1] - first.shape[1]) > _LENGTH_TOLERANCE * rate:
            got, expected = (f"{frames / rate:.3f} s" for frames in (clip.shape[1], first.shape[1]))
            _check_alike(path, got, expected, like, "the lengths differ")
        clips.append(clip)
    shortest = min(clip.shape[1] for clip in clips)
    return np.stack([clip[:, :shortest] for clip in clips]).astype(np.float64), rate


def _read(path: Path, limits: _Limits) -> tuple[NDArray[np.float32], int]:
    with open_audio(path, None, *limits) as reader:
        nothing = np.zeros((reader.info.channels, 0), np.float32)
        return np.concatenate([*reader.blocks(_BLOCK), nothing], axis=1), reader.sample_rate


def _check_alike(path: Path, got: str, expected: str, like: Path, what: str) -> None:
    if got != expected:
        raise AudioError(what, where=path, got=got, expected=f"{expected}, as in {like}")


def _score(metrics: Sequence[Metric], references: Float64, estimates: Float64, rate: int) -> Float64:
    """Score [sources, channels, samples]: the mean over channels where it is defined, [metrics, sources]."""
    sources, channels, _ = references.shape
    scores = np.full((channels, len(metrics), sources), np.nan)
    for channel in range(channels):
        truth, guess = (np.ascontiguousarray(audio[:, channel]) for audio in (references, estimates))
        for index, metric in enumerate(metrics):
            scores[channel, index] = metric(truth, guess, rate)
    defined = ~np.isnan(scores)
    count = defined.sum(axis=0)
    total = np.where(defined, scores, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
