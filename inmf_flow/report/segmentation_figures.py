"""Pictures of a segmentation for its page: what was decided when, and which components decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from inmf_flow.names import as_label
from inmf_flow.report import figures
from inmf_flow.report.figures import Float64, Picture
from inmf_flow.report.learned import TEMPLATE_RANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# However long a recording is, its picture has no more columns than can be seen.
_COLUMNS = 1200
_LEFT, _WIDE = 0.1, 0.82
_RELEVANCE_MAP = "RdBu_r"
# Stripes of many pixels, so that a browser's smoothing blurs no neighbours.
_STRIPES = 960
# Letters of a class that fit beside the axes.
_NAME = 13
# More numbers than these do not fit below the columns.
_NUMBERED = 48

#: (start, stop, number of the class), seconds.
Stretch = tuple[float, float, int]


def draw_timeline(
    times: Float64,
    probabilities: Float64,
    duration: float,
    classes: Sequence[str],
    rows: Mapping[str, Sequence[Stretch]],
    alt: str,
) -> Picture:
    """Draw the probability of each class over a recording, and below it rows of stretches.

    Parameters
    ----------
    times, probabilities
        Seconds [T], and the probabilities of the classes then, [T, C].
    duration
        Seconds of the recording.
    classes
        Names.
    rows
        Stretches by the row's label, such as ``decided``; those of each class have a height of their own.
    alt
        The text that stands for the picture.
    """
    head = figures.legend_height(len(classes))
    size = (figures.PAGE_WIDTH, 2.0 + head + 0.42 * len(rows))
    bars = 0.42 * len(rows) / size[1]

    def draw(figure: Figure) -> None:
        foot = 0.5 / size[1]
        below = figure.add_axes((_LEFT, foot, _WIDE, bars))
        above = figure.add_axes(
            (_LEFT, foot + bars + 0.03, _WIDE, 1 - foot - bars - 0.03 - head / size[1]), sharex=below
        )
        seconds, values = _columns(times, probabilities)
        for number, name in enumerate(classes):
            above.plot(
                seconds, values[:, number], color=figures.shade(number), linewidth=1.4, label=figures.label(name)
            )
        above.set_ylim(-0.03, 1.03)
        above.set_yticks([0, 0.5, 1])
        above.set_ylabel("probability")
        above.tick_params(labelbottom=False)
        above.grid(True, axis="y", linewidth=0.5, alpha=0.4)
        for side in ("top", "right"):
            above.spines[side].set_visible(False)
        figures.legend_above(above, len(classes))
        below.imshow(
            np.concatenate([_bars(stretches, duration, len(classes)) for stretches in rows.values()]),
            extent=(0.0, duration, len(rows), 0.0),
            aspect="auto",
            interpolation="none",
        )
        below.set_yticks(np.arange(len(rows)) + 0.5, list(rows))
        below.tick_params(axis="y", length=0)
        below.set_xlim(0, duration)
        below.set_xlabel("time (s)")
        for side in ("top", "right", "left"):
            below.spines[side].set_visible(False)

    return figures.draw_picture(draw, alt, size)


def _columns(times: Float64, values: Float64) -> tuple[Float64, Float64]:
    """Return means of neighbouring rows, so that no more are left than can be seen."""
    if len(times) <= _COLUMNS:
        return times, values
    starts = np.arange(_COLUMNS) * len(times) // _COLUMNS
    counts = np.diff(np.append(starts, len(times)))
    return np.add.reduceat(times, starts) / counts, np.add.reduceat(values, starts) / counts[:, None]


def _bars(stretches: Sequence[Stretch], duration: float, count: int) -> Float64:
    """Return a row's picture [lanes, columns, RGBA]: a lane for each class, and empty ones above and below."""
    from matplotlib.colors import to_rgb

    # Blank above and below is part of a lane's share, whatever the number of classes.
    lane = 4
    image = np.zeros(((count + 1) * lane, _COLUMNS, 4))
    edges = np.linspace(0, duration, _COLUMNS + 1)
    for start, stop, number in stretches:
        covered = np.clip(np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0, None) / (duration / _COLUMNS)
        top = lane // 2 + number * lane
        image[top : top + lane, :, :3] = to_rgb(figures.shade(number))
        image[top : top + lane, :, 3] = np.minimum(image[top : top + lane, :, 3] + covered, 1)
    return image


def draw_relevance(
    relevance: Float64, decibels: Float64, top: float, classes: Sequence[str], order: Sequence[int], alt: str
) -> Picture:
    """Draw what each component says about each class, and below it the component's template.

    Parameters
    ----------
    relevance
        [C, K]; red speaks for a class, blue against it.
    decibels
        Templates relative to their own peaks, [rows, K], rows evenly spaced in mel over [0, top].
    top
        Upper end of the frequency axis in hertz.
    classes
        Names.
    order
        Components from left to right.
    alt
        The text that stands for the picture.
    """
    order = list(order)
    count = len(order)
    stripe = max(1, _STRIPES // count)
    head = 0.3 * len(classes) + 0.1
    size = (figures.PAGE_WIDTH, head + 3.4)

    def draw(figure: Figure) -> None:
        foot, rest = 0.5 / size[1], 2.65 / size[1]
        below = figure.add_axes((_LEFT, foot, _WIDE, rest))
        above = figure.add_axes((_LEFT, foot + rest + 0.03, _WIDE, head / size[1]), sharex=below)
        most = float(np.abs(relevance).max()) or 1.0
        above.imshow(
            np.repeat(np.repeat(relevance[:, order], stripe, axis=1), 24, axis=0),
            extent=(0.5, count + 0.5, len(classes), 0.0),
            cmap=_RELEVANCE_MAP,
            vmin=-most,
            vmax=most,
            aspect="auto",
            interpolation="none",
        )
        above.set_yticks(np.arange(len(classes)) + 0.5, [as_label(name, _NAME) for name in classes])
        above.tick_params(axis="y", length=0)
        above.tick_params(labelbottom=False, bottom=False)
        wide = np.repeat(decibels[:, order], stripe, axis=1)
        figures.show_weights(below, wide, (0.5, count + 0.5), top, -TEMPLATE_RANGE)
        below.set_xlabel("component")
        _number(below, order)
        below.set_xlim(0.5, count + 0.5)
        height = above.get_position()
        _bar(figure, (0.932, height.y0, 0.012, height.height), most)

    return figures.draw_picture(draw, alt, size)


def _number(axes: Axes, order: Sequence[int]) -> None:
    if len(order) <= _NUMBERED:
        axes.set_xticks(range(1, len(order) + 1), [str(number + 1) for number in order])
    else:
        axes.set_xticks([])


def _bar(figure: Figure, place: tuple[float, float, float, float], most: float) -> None:
    axes = figure.add_axes(place)
    axes.imshow(np.linspace(most, -most, 64)[:, None], extent=(0, 1, -most, most), cmap=_RELEVANCE_MAP, aspect="auto")
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([-most, 0, most], [f"−{most:.2g}", "0", f"+{most:.2g}"])
