"""What a metric is, and finding those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inmf_flow import registry
from inmf_flow.errors import ArgumentError, InmfError, PluginError

Float64 = NDArray[np.float64]
MetricFunction = Callable[[Float64, Float64, int], Float64]

LIMIT_DB = 120.0
"""Built-in metrics in decibels are held to +- this (a perfect estimate would be infinite, or rounding noise).

It is beyond what 16-bit audio can tell apart; without it one perfect estimate would make every mean infinite.
"""


@dataclass(frozen=True)
class Metric:
    """A score of estimates against references.

    Attributes
    ----------
    name
        What pipelines and commands call it.
    function
        ``function(references, estimates, sample_rate)``: references and estimates are float64 [S, N], the
        same sources in the same order, one channel; the rate is in hertz. It returns a score for each
        source, [S]; NaN where the score is not defined (a silent reference, say). A source of the item that
        was not estimated is there too, with a silent estimate: it still counts as interference.
    higher_is_better
        Whether an improvement is a rise.
    unit
        For tables and pictures: ``"dB"``, or empty.
    has_baseline
        Whether the untouched mixture has a score worth comparing with. Not so for SAR: who does nothing makes no
        artefacts.
    """

    name: str
    function: MetricFunction
    higher_is_better: bool = True
    unit: str = "dB"
    has_baseline: bool = True

    def __call__(self, references: Float64, estimates: Float64, sample_rate: int) -> Float64:
        """Score one channel as ``function`` does, and hold the function to its contract.

        Raises
        ------
        PluginError
            When the function fails, or does not return one number a source.
        """
        try:
            scores = np.asarray(self.function(references, estimates, sample_rate), dtype=np.float64)
        except InmfError:
            raise
        except Exception as error:
            raise PluginError(f"the metric {self.name!r} failed", got=f"{type(error).__name__}: {error}") from error
        if scores.shape != references.shape[:1]:
            raise PluginError(
                f"the metric {self.name!r} returned the wrong shape",
                got=scores.shape,
                expected=f"{references.shape[:1]}, one score a source",
            )
        return scores

    def improvement(self, value: float, baseline: float) -> float:
        """Return by how much a value is better than the baseline: positive is better, NaN if either is."""
        return value - baseline if self.higher_is_better else baseline - value


def get_metrics(names: Sequence[str]) -> list[Metric]:
    """Find metrics by name, each once.

    Raises
    ------
    UnknownNameError
        With the nearest match and the list of what is installed.
    """
    if isinstance(names, str):
        names = [names]
    if not names:
        raise ArgumentError("no metric is asked for", expected="one of " + ", ".join(registry.metrics.names()))
    found = []
    for name in dict.fromkeys(names):
        metric = registry.metrics.get(name)
        if not isinstance(metric, Metric):
            raise PluginError(
                f"the metric {name!r} is of the wrong type",
                got=type(metric).__name__,
                expected="inmf_flow.evaluate.Metric",
            )
        found.append(metric)
    return found


def limit_db(values: Float64) -> Float64:
    """Hold decibels to `LIMIT_DB` either way; NaN stays."""
    return np.clip(values, -LIMIT_DB, LIMIT_DB)


def sounding(signals: Float64) -> NDArray[np.bool_]:
    """Return which signals [..., N] are not silent, shape [...]."""
    return np.asarray(np.any(signals != 0.0, axis=-1))
