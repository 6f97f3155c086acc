"""What most transforms do alike: checks of their input, samples around a span, and the way back from points."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform.contract import Span, TransformConfig


class _Origin(Protocol):
    @property
    def config(self) -> TransformConfig: ...


_O = TypeVar("_O", bound=_Origin)


def check_sample_rate(sample_rate: float, where: str) -> int:
    """Return a sample rate in hertz, or raise `TransformError` where it is not a positive whole number."""
    if not sample_rate > 0 or sample_rate % 1:
        raise TransformError(
            "the sample rate is not a positive whole number", where=where, got=sample_rate, expected="hertz"
        )
    return int(sample_rate)


def samples_between(samples: NDArray[Any], span: Span, start: int, stop: int, where: str) -> NDArray[Any]:
    """Return samples [start, stop) of a recording, zeros where it has none.

    Parameters
    ----------
    samples
        What was given of the recording, [channels, samples]; its first sample is number ``span.offset``.
    span
        Which part of the recording that is.
    start, stop
        Counted from the recording's first sample; they may lie before it or after its end.
    where
        The transform's name, for errors.

    Returns
    -------
    samples
        Shape [channels, stop - start].

    Raises
    ------
    TransformError
        When samples are asked for that the recording has but that were not given.
    """
    if stop <= start:
        return np.zeros((samples.shape[0], 0), samples.dtype)
    end = span.offset + samples.shape[-1]
    needed = (max(start, 0), stop if span.length is None else min(stop, span.length))
    if needed[0] < needed[1] and (needed[0] < span.offset or needed[1] > end):
        raise TransformError(
            "the span lacks the context that its points need",
            where=where,
            got=f"samples {span.offset} to {end}",
            expected=f"{needed[0]} to {needed[1]}",
            hint="Give halo() samples on either side.",
        )
    inside = samples[:, max(start - span.offset, 0) : max(stop - span.offset, 0)]
    before = min(max(span.offset - start, 0), stop - start)
    return np.pad(inside, ((0, 0), (before, stop - start - before - inside.shape[-1])))


def origin_of(points: PointSet, kind: type[_O], config: TransformConfig, where: str) -> _O:
    """Return what ``analyze`` put into ``points.synthesis``.

    Parameters
    ----------
    points
        Given to ``synthesize``.
    kind
        The class of what ``analyze`` puts there; it has the transform's ``config``.
    config
        That of the transform that synthesizes.
    where
        The transform's name, for errors.

    Raises
    ------
    TransformError
        When the points carry no phases (they come from a store, or were joined), or were made with other options.
    """
    origin = points.synthesis
    if not isinstance(origin, kind) or any(block.coefficients is None for block in points.blocks):
        raise TransformError(
            "these points carry no phases, so they cannot be turned into audio",
            where=where,
            expected="points straight from analyze",
            hint="Points from a store or joined ones lose them: analyse the audio again and pass the gains.",
        )
    if origin.config != config:
        raise TransformError(
            "these points were made with other options",
            where=where,
            got=origin.config,
            expected=config,
        )
    return origin
