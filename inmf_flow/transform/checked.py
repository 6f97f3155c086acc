"""Transforms held to their contract while they are used: what breaks is named, and reaches no store and no file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import InmfError, PluginError, describe_exception
from inmf_flow.points import GridBlock, PointSet, ScatteredBlock
from inmf_flow.registry import transforms
from inmf_flow.transform.contract import Gains, Span, Transform

logger = logging.getLogger("inmf_flow.transform")


def checked_halo(transform: Transform, sample_rate: int) -> tuple[int, int]:
    """Return what ``transform.halo`` does; raise `PluginError` where that is not two numbers of samples."""
    with contained(transform.name, "halo"):
        halo = transform.halo(sample_rate)
    if not (
        isinstance(halo, tuple | list)
        and len(halo) == 2
        and all(isinstance(n, int | np.integer) and n >= 0 for n in halo)
    ):
        raise _broken(transform.name, f"halo returned {halo!r}; expected two numbers of samples")
    return int(halo[0]), int(halo[1])


def checked_latency(transform: Transform, sample_rate: int) -> int:
    """Return what ``transform.latency`` does; raise `PluginError` where a point would depend on what comes later."""
    _, right = checked_halo(transform, sample_rate)
    with contained(transform.name, "latency"):
        latency = transform.latency(sample_rate)
    if not isinstance(latency, int | np.integer) or latency < right:
        raise _broken(transform.name, f"latency returned {latency!r}; expected samples, {right} or more")
    return int(latency)


def checked_analysis(transform: Transform, audio: NDArray[Any], sample_rate: int, span: Span | None = None) -> PointSet:
    """Return what ``transform.analyze`` does.

    Raises
    ------
    PluginError
        When it raises anything but an error of inmf_flow, or returns what is no set of points of the audio with
        finite, non-negative magnitudes.
    """
    with contained(transform.name, "analyze"):
        points = transform.analyze(audio, sample_rate, span=span)
    fault = fault_of_points(points, 1 if audio.ndim == 1 else audio.shape[0])
    if fault is not None:
        raise _broken(transform.name, f"analyze returned {fault}")
    return points


def checked_synthesis(transform: Transform, points: PointSet, gains: Gains | None, samples: int) -> NDArray[Any]:
    """Return what ``transform.synthesize`` does.

    Parameters
    ----------
    transform, points, gains
        As in `Transform.synthesize`.
    samples
        How many were analysed.

    Raises
    ------
    PluginError
        When it raises anything but an error of inmf_flow, or returns no audio of that length with finite samples.
    """
    with contained(transform.name, "synthesize"):
        audio = np.asarray(transform.synthesize(points, gains))
    expected = (points.channels, samples) if any(block.has_channels for block in points.blocks) else (samples,)
    if audio.shape != expected:
        raise _broken(transform.name, f"synthesize returned shape {audio.shape}; expected {expected}")
    if not np.issubdtype(audio.dtype, np.floating) or not np.isfinite(audio).all():
        raise _broken(transform.name, "synthesize returned samples that are not finite real numbers")
    return audio


def fault_of_points(points: object, channels: int) -> str | None:
    """Return what is wrong with points of so many channels of audio, as in ``"a NoneType; expected a PointSet"``."""
    if not isinstance(points, PointSet):
        return f"a {type(points).__qualname__}; expected a PointSet"
    if not points.blocks:
        return "no blocks; expected at least one, if need be without points"
    # Objects, since nobody has checked what a plugin put there.
    blocks: tuple[object, ...] = points.blocks
    for number, block in enumerate(blocks):
        if not isinstance(block, GridBlock | ScatteredBlock):
            return f"a {type(block).__qualname__} as block {number}; expected a GridBlock or a ScatteredBlock"
        shape = np.shape(block.magnitudes)
        axes = (len(block.frequencies), len(block.times)) if isinstance(block, GridBlock) else (len(block.times),)
        if shape[-len(axes) :] != axes or len(shape) > len(axes) + 1:
            return f"magnitudes of shape {shape} in block {number}; expected {axes}, or channels before that"
        if block.channels != channels:
            return f"{block.channels} channels in block {number}; expected {channels}"
        # Not `lowest < 0`: NaN must not pass.
        lowest, highest = block.magnitudes.min(initial=0), block.magnitudes.max(initial=0)
        if not (lowest >= 0 and highest < np.inf):
            bad = int((~((block.magnitudes >= 0) & (block.magnitudes < np.inf))).sum())
            return f"{bad} magnitudes that are negative or not finite in block {number}; expected none"
    return None


@contextmanager
def contained(name: str, what: str) -> Iterator[None]:
    """Turn what a transform raises, unless it is an error of inmf_flow, into a `PluginError` that names its plugin."""
    try:
        yield
    except (InmfError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        logger.debug("traceback of transform %s", name, exc_info=error)
        raise _broken(name, f"{what} raised {describe_exception(error)}") from error


def _broken(name: str, what: str) -> PluginError:
    plugin = transforms.origin(name)
    where = f"transform {name!r}" + (f" of the plugin {plugin}" if plugin else "")
    return PluginError(what, where=where, hint="`inmf plugins doctor` tries every plugin by itself.")
