"""A short context: templates that are functions of hertz and of lag, W_k(f, lag), so that a component can move.

A component that begins at time t explains the points at t + lag by W_k(f, lag). Each lag's copy of the points is
explained for itself by activations that all copies share, and the model at a point is the mean over lags of
W_k(f, lag) H_k(t - lag). So what is learned are movements of a few frames, as in Smaragdis 2004, "Non-negative Matrix
Factor Deconvolution", but each moment's activations depend on the frames of its own context alone, as those of stacked
frames do (Gemmeke, Virtanen & Hurmalainen 2011, "Exemplar-Based Sparse Representations for Noise Robust Automatic
Speech Recognition"): a recording may be cut anywhere but for a halo of one context.

To a fit a lag is a further stretch of the frequency axis: the copy of lag number c lies at f + c * SPAN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.data import are_apart
from inmf_flow.factorize.fields import Field
from inmf_flow.factorize.hat import HatField
from inmf_flow.points import Block, GridBlock, PointSet

#: Hertz from one lag's axis to the next; a power of two, so that what is added can be taken off again.
SPAN = float(1 << 24)
#: Longest context, seconds.
MOST_CONTEXT = 1.0
# Most lags of points without a common hop, and seconds between the nodes of their activations.
_MOST_LAGS, _TICK = 4, 1 / 64

Float64 = NDArray[np.float64]
LagTemplates = Callable[[Float64, float], NDArray[np.float32]]


def common_hop(points: PointSet) -> float | None:
    """Return the seconds between frames where all points lie on grids of one even hop, else None."""
    hops = [np.diff(block.times) for block in points.blocks if isinstance(block, GridBlock) and len(block.times) > 1]
    if not hops or not all(isinstance(block, GridBlock) for block in points.blocks):
        return None
    steps = np.concatenate(hops)
    hop = float(np.median(steps))
    return hop if np.allclose(steps, hop, rtol=1e-6, atol=1e-9) else None


def lags_for(points: PointSet, context: float) -> Float64:
    """Return the lags, seconds from 0 up to the context, at which points are held against templates, [C].

    They are whole hops where there is a common one; else a few ticks of the activations' clock.
    """
    if not context:
        return np.zeros(1)
    hop = common_hop(points) if are_apart(points.blocks) else None
    if hop is None:
        ticks = int(context / _TICK + 1e-6)
        step = max(-(-ticks // (_MOST_LAGS - 1)), 1)
        return np.arange(0, ticks + 1, step, dtype=np.float64) * np.float64(_TICK)
    return np.arange(int(context / hop + 1e-6) + 1, dtype=np.float64) * np.float64(hop)


def with_lags(points: PointSet, lags: Float64, *, padded: bool) -> PointSet:
    """Return points beside their copies at each lag.

    Parameters
    ----------
    points
        Any points.
    lags
        Of `lags_for`.
    padded
        Whether to make moments too whose context reaches beyond the recording, where it is silent: every frame is then
        in as many contexts. A fit has no use for them.
    """
    if len(lags) == 1:
        return points
    if points.max_frequency >= SPAN / 2:
        raise PointsError("frequencies are too high for templates with a context", got=points.max_frequency)
    hop = common_hop(points) if are_apart(points.blocks) else None
    blocks: list[Block] = []
    for block in points.blocks:
        if hop is None:
            blocks += [_moved(block, float(lag), number) for number, lag in enumerate(lags)]
        else:
            assert isinstance(block, GridBlock)
            blocks.append(_stacked(block, np.rint(lags / hop).astype(int), hop, padded))
    return replace(points, blocks=tuple(blocks), sample_rate=None, synthesis=None)


def _moved(block: Block, lag: float, number: int) -> Block:
    return replace(block, times=block.times - lag, frequencies=block.frequencies + number * SPAN, coefficients=None)


def _stacked(block: GridBlock, steps: NDArray[np.int_], hop: float, padded: bool) -> GridBlock:
    """Return a grid whose frames are contexts: the frames so many steps later, one above the other."""
    count, reach = len(block.times), int(steps[-1])
    whole = not padded and count > reach
    before, columns = (0, count - reach) if whole else (reach, count + reach)
    shape = block.magnitudes.shape
    m = np.zeros((*shape[:-2], len(steps), shape[-2], columns), np.float32)
    for number, step in enumerate(steps):
        # Column j is the moment of frame j - before; at this lag it shows frame j - before + step.
        first = max(before - step, 0)
        last = min(count + before - step, columns)
        m[..., number, :, first:last] = block.magnitudes[..., first - before + step : last - before + step]
    early = block.times[0] + hop * np.arange(-before, 0)
    return GridBlock.build(
        np.concatenate([early, block.times[: columns - before]]),
        np.concatenate([block.frequencies + number * SPAN for number in range(len(steps))]),
        m.reshape(*shape[:-2], -1, columns),
        time_weights=np.concatenate([np.full(before, hop), block.time_weights[: columns - before]]),
        frequency_weights=np.tile(block.frequency_weights, len(steps)),
    )


def table_of(templates: LagTemplates, lags: Float64) -> Callable[[Float64], NDArray[np.float32]]:
    """Return templates as a function of the coordinates that `with_lags` makes, [N] to [N, K].

    Parameters
    ----------
    templates
        A function of hertz [F] and a lag in seconds, to [F, K].
    lags
        As given to `with_lags`.
    """

    def table(coordinates: Float64) -> NDArray[np.float32]:
        edges = np.searchsorted(coordinates, (np.arange(len(lags) + 1) - 0.5) * SPAN)
        parts = [
            templates(coordinates[edges[number] : edges[number + 1]] - number * SPAN, float(lag))
            for number, lag in enumerate(lags)
        ]
        return np.concatenate(parts)

    return table


def lag_field(fields: Sequence[Field]) -> HatField:
    """Join one field a lag into one over the coordinates that `with_lags` makes."""
    import torch

    hats = [field for field in fields if isinstance(field, HatField)]
    if len(hats) < len(fields):
        raise ArgumentError("a context is for the fields hat and matrix", got=fields[0].name, expected="context=0")
    nodes = np.concatenate([field.nodes + number * SPAN for number, field in enumerate(hats)])
    return type(hats[0])(nodes, torch.cat([field.coefficients for field in hats]))


def interpolated(at: Callable[[int], NDArray[np.float32]], nodes: Float64, lag: float) -> NDArray[np.float32]:
    """Return templates at a lag: straight lines between those at the nodes, level beyond them.

    Parameters
    ----------
    at
        Gives the templates [F, K] at a node's number.
    nodes
        Lags of the nodes, seconds, rising.
    lag
        Seconds.
    """
    place = float(np.interp(lag, nodes, np.arange(len(nodes))))
    number, share = int(place), np.float32(place - int(place))
    # Lags are whole hops of one grid or another: rounding must not cost a second evaluation.
    if share < 1e-6 or number + 1 == len(nodes):
        return at(number)
    if share > 1 - 1e-6:
        return at(number + 1)
    return (1 - share) * at(number) + share * at(number + 1)


def block_product(
    block: Block, templates: NDArray[np.float32], activations: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return sum_k W_k(f) H_k(t) at a block's points from templates [F, K] and activations [K, T]: [F, T] or [P]."""
    if isinstance(block, GridBlock):
        return templates @ activations
    result: NDArray[np.float32] = np.einsum("pk,kp->p", templates, activations)
    return result


def predict_block(
    block: Block,
    templates: LagTemplates,
    activations: Callable[[Float64], NDArray[np.float32]],
    lags: Float64,
) -> NDArray[np.float32]:
    """Return the model at a block's points, the mean over lags of sum_k W_k(f, lag) H_k(t - lag): [F, T] or [P].

    Parameters
    ----------
    templates, activations
        Functions of hertz [F] and a lag to [F, K], and of seconds [T] to [K, T].
    """
    parts = [
        block_product(
            block, templates(block.frequencies, float(lag)), activations(block.times - lag if lag else block.times)
        )
        for lag in lags
    ]
    if len(parts) == 1:
        return parts[0]
    mean: NDArray[np.float32] = np.mean(parts, axis=0, dtype=np.float32)
    return mean
