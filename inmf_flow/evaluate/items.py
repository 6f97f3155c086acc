"""Scoring one item: the estimates of its sources against their references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate.metric import Float64, Metric, get_metrics, sounding
from inmf_flow.evaluate.windows import WHOLE, Limits, TogetherReader

#: ``oracle(mixture [C, N], references [S, C, N], sample_rate)`` returns estimates [S, C, N].
OracleFunction = Callable[[Float64, Float64, int], Float64]


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
    oracle
        Empty for estimates; of an upper bound, the name of the mask that knew the references.
    estimate
        The estimate's name where it is not its reference's, after a permutation; else empty.
    """

    item: str
    source: str
    metric: str
    value: float
    baseline: float
    improvement: float
    oracle: str = ""
    estimate: str = ""


def evaluate_item(
    item: str,
    references: Mapping[str, Path],
    estimates: Mapping[str, Path],
    mixture: Path | None,
    metrics: Sequence[str],
    *,
    start: float | None = None,
    stop: float | None = None,
    permute: bool = False,
    window: float | None = None,
    oracles: Mapping[str, OracleFunction] | None = None,
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
    permute
        Whether names mean nothing: the references get those estimates that make the mean of the first metric best.
        Where their numbers differ, what is left over of either is left out; a reference so left out still interferes.
    window
        Seconds. Each window is scored by itself, one after the other and without overlap, and an item's score is the
        median over the windows in which every reference sounds (that sounds at all, in the item); a last, incomplete
        window counts only where it is the only one. None scores items of up to ten minutes whole, and longer ones in
        windows of 30 s, so that memory does not grow with length.
    oracles
        Upper bounds: from a name to what makes estimates with the references known. Each gives further rows, which have
        the name as their ``oracle``, for the references that are scored. They are asked for each window by itself.

    Returns
    -------
    rows
        For each estimate that has a reference, in their order, one row a metric; then those of the oracles.

    Raises
    ------
    UnknownNameError
        For a metric that is not installed.
    AudioError
        When a file cannot be read, or files differ in sample rate, channels, or by more than 0.1 s in length
        (the ends are cut off where they differ by less).
    ArgumentError
        When no estimate has a reference, or the window is not a positive number of seconds.
    """
    chosen = get_metrics(metrics)
    part: Limits = (start, stop)
    truth = [(path, part) for path in references.values()]
    pairs = {source: source for source in estimates if source in references}
    if permute and references and estimates:
        files = [*truth, *((path, WHOLE) for path in estimates.values())]
        order = _best_order(chosen[0], TogetherReader(files, window), len(references))
        names, guesses = list(references), list(estimates)
        pairs = {names[reference]: guesses[estimate] for estimate, reference in order}
    if not pairs:
        raise ArgumentError(
            "there is nothing to score" if permute else "no estimate has a reference of the same name",
            where=item,
            got="estimates " + (", ".join(sorted(estimates)) or "none"),
            expected="some of the references " + (", ".join(sorted(references)) or "none"),
        )
    files = [*truth, *((estimates[guess], WHOLE) for guess in pairs.values())]
    reader = TogetherReader(files if mixture is None else [*files, (mixture, part)], window)
    places = [list(references).index(source) for source in pairs]
    known = mixture is not None or len(pairs) == len(estimates)
    values, baselines, bounds = _scores(chosen, reader, len(references), places, mixture is not None, oracles or {})
    if not known:
        baselines[:] = np.nan
    rows = []
    for oracle, found in {"": values, **bounds}.items():
        for place, (source, guess) in zip(places, pairs.items(), strict=True):
            for index, metric in enumerate(chosen):
                value, baseline = float(found[index, place]), float(baselines[index, place])
                better = metric.improvement(value, baseline)
                name = guess if guess != source and not oracle else ""
                rows.append(MetricRow(item, source, metric.name, value, baseline, better, oracle, name))
    return rows


def _scores(
    metrics: Sequence[Metric],
    reader: TogetherReader,
    references: int,
    places: Sequence[int],
    has_mixture: bool,
    oracles: Mapping[str, OracleFunction],
) -> tuple[Float64, Float64, dict[str, Float64]]:
    """Return the scores of the estimates, of doing nothing and of each oracle, [metrics, references] each."""
    values, baseline = _Windows(), _Windows()
    bounds = {name: _Windows() for name in oracles}
    for audio in reader.windows():
        truth = audio[:references]
        guesses = np.zeros_like(truth)
        guesses[list(places)] = audio[references : references + len(places)]
        nothing_done = audio[-1] if has_mixture else truth.sum(axis=0)
        heard = _heard(truth)
        score = partial(_score, metrics, truth, rate=reader.sample_rate)
        values.add(heard, score(guesses))
        baseline.add(heard, score(np.stack([nothing_done] * references)))
        for name, oracle in oracles.items():
            bounds[name].add(heard, score(oracle(nothing_done, truth, reader.sample_rate)))
    baselines = baseline.median()
    baselines[[not metric.has_baseline for metric in metrics]] = np.nan
    return values.median(), baselines, {name: found.median() for name, found in bounds.items()}


def _heard(references: Float64) -> NDArray[np.bool_]:
    """Return which references [S, C, N] sound in any channel, [S]."""
    return np.asarray(sounding(references).any(axis=1))


class _Windows:
    """The scores of an item's windows, and which references sound in them."""

    def __init__(self) -> None:
        self._heard: list[NDArray[np.bool_]] = []
        self._scores: list[Float64] = []

    def add(self, heard: NDArray[np.bool_], scores: Float64) -> None:
        self._heard.append(heard)
        self._scores.append(scores)

    def median(self) -> Float64:
        """Return the median over windows in which all references sound that sound in any; NaN where there is none."""
        if len(self._scores) == 1:
            return self._scores[0]
        heard = np.stack(self._heard)
        counted = heard[:, heard.any(axis=0)].all(axis=1)
        scores = np.stack(self._scores)[counted]
        found = np.full(scores.shape[1:], np.nan)
        for place in np.ndindex(found.shape):
            column = scores[(slice(None), *place)]
            column = column[~np.isnan(column)]
            if len(column):
                found[place] = np.median(column)
        return found


def _best_order(metric: Metric, reader: TogetherReader, references: int) -> list[tuple[int, int]]:
    """Return pairs of estimate and reference, in the references' order, whose mean score is best."""
    from scipy.optimize import linear_sum_assignment

    windows = _Windows()
    for audio in reader.windows():
        truth = audio[:references]
        scores = [
            _score([metric], truth, np.stack([guess] * references), rate=reader.sample_rate)[0]
            for guess in audio[references:]
        ]
        windows.add(_heard(truth), np.stack(scores))
    means = windows.median() * (1.0 if metric.higher_is_better else -1.0)
    defined = means[np.isfinite(means)]
    # What has no score, as of silence, is worth less than anything that has one.
    worst = defined.min() - 1.0 - np.ptp(defined) if len(defined) else 0.0
    guesses, places = linear_sum_assignment(np.nan_to_num(means, nan=worst, posinf=1e9, neginf=worst), maximize=True)
    pairs = zip(guesses.tolist(), places.tolist(), strict=True)
    return sorted(pairs, key=lambda pair: pair[1])


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
