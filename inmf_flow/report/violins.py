"""Violin plots: the distribution of a metric for each variant of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from inmf_flow.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 3.6
_FOOT = 0.4
# Of the distance between two labels of the axis.
_FILLED = 0.84
#: A distribution of fewer scores has no shape worth drawing: they are shown as points.
FEWEST = 5


def draw_violins(
    values: Mapping[tuple[str, str], Sequence[float]],
    places: Sequence[str],
    colours: Sequence[str],
    unit: str,
    alt: str,
) -> figures.Picture:
    """Draw a violin for each variant, with its median and its middle half (Figure 3 of arXiv 2404.04439).

    Parameters
    ----------
    values
        Scores by place and colour; what is missing or empty is left out.
    places
        Labels along the horizontal axis.
    colours
        Labels that have a colour each.
    unit
        Of the vertical axis.
    alt
        The text that stands for the picture.
    """

    size = figures.PAGE_WIDTH, _HEIGHT + figures.legend_height(len(colours))

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.07, _FOOT / size[1], 0.92, (_HEIGHT - _FOOT) / size[1]))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        width = _FILLED / len(colours)
        for number, colour in enumerate(colours):
            shade = figures.shade(number)
            axes.plot([], [], color=shade, linewidth=6, label=figures.label(colour))
            for place, label in enumerate(places):
                scores = np.asarray(values.get((label, colour), ()), dtype=np.float64)
                if len(scores):
                    _draw_one(axes, scores, place + (number - (len(colours) - 1) / 2) * width, width * 0.9, shade)
        axes.set_xticks(range(len(places)), places)
        axes.set_xlim(-0.5, len(places) - 0.5)
        axes.set_ylabel(unit)
        # Small numbers as multiples of a power of ten: their labels would not fit beside the axis.
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
        axes.grid(True, axis="y", linewidth=0.5, alpha=0.4)
        # Beside the power of ten, which is above the axis.
        figures.legend_above(axes, len(colours), left=0.05)

    return figures.draw_picture(draw, alt, size)


def _draw_one(axes: Axes, scores: figures.Float64, x: float, width: float, shade: str) -> None:
    if len(scores) >= FEWEST and np.ptp(scores) > 0:
        drawn = axes.violinplot([scores], [x], widths=width, showextrema=False)
        for body in drawn["bodies"]:  # type: ignore[attr-defined]
            body.set(facecolor=shade, edgecolor=shade, alpha=0.35)
    else:
        axes.plot(np.full(len(scores), x), scores, ".", color=shade, alpha=0.6)
    low, median, high = np.quantile(scores, [0.25, 0.5, 0.75])
    axes.plot([x, x], [low, high], color=shade, linewidth=3, solid_capstyle="butt")
    axes.plot([x - width / 5, x + width / 5], [median, median], color=shade, linewidth=2)
