"""Pictures of a segmentation: probabilities over time, and the components that decide."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inmf_flow.names import as_label
from inmf_flow.segmentation.probe import Float64
from inmf_flow.segmentation.timeline import Segment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inmf_flow.segmentation.segmenter import Segmenter

# Components shown for each class.
_SHOWN = 3


def draw_item(
    path: Path,
    times: Float64,
    probabilities: Float64,
    classes: Sequence[str],
    found: Sequence[Segment],
    truth: Sequence[Segment] | None,
    title: str,
) -> None:
    """Save the probabilities [T, C] of a recording, below them what was decided, and what is true where it is known."""
    with _figure(path, 4) as figure:
        _draw_item(figure, times, probabilities, classes, found, truth, title)


@contextmanager
def _figure(path: Path, height: float) -> Iterator[Figure]:
    """Give a figure to draw on, and save it."""
    import matplotlib
    from matplotlib.figure import Figure

    # Labels are names, in which a dollar is a dollar.
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        # What the font lacks is an empty box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(10, height), layout="constrained")
        yield figure
        figure.savefig(path, format="png", dpi=100)


def _draw_item(
    figure: Figure,
    times: Float64,
    probabilities: Float64,
    classes: Sequence[str],
    found: Sequence[Segment],
    truth: Sequence[Segment] | None,
    title: str,
) -> None:
    rows = {"decided": found} if truth is None else {"decided": found, "true": truth}
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 0.5 * len(rows)])
    for number, name in enumerate(classes):
        above.plot(times, probabilities[:, number], color=f"C{number}", label=as_label(name, 24))
    above.set(ylabel="probability", ylim=(-0.02, 1.02), title=as_label(title))
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for row, segments in enumerate(rows.values()):
        for segment in segments:
            number = list(classes).index(segment.label)
            # Classes that overlap lie one above the other.
            height = 0.8 / len(classes)
            place = (segment.start, segment.stop - segment.start)
            below.broken_barh([place], (-row - 0.4 + number * height, height), color=f"C{number}")
    below.set(xlabel="seconds", yticks=[-row for row in range(len(rows))], yticklabels=list(rows))


def draw_relevance(path: Path, segmenter: Segmenter) -> None:
    """Save the relevance of all components, and the templates of those that tell most about each class."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    relevance, classes = segmenter.relevance(), segmenter.classes
    hertz = np.geomspace(50, segmenter.model.max_frequency_, 400)
    templates = segmenter.model.templates(hertz)
    with _figure(path, 2 + 2 * len(classes)) as figure:
        axes = figure.subplots(len(classes) + 1, 1, height_ratios=[1.2, *[1] * len(classes)])
        most = float(np.abs(relevance).max()) or 1.0
        # Components are numbered from 1, as everywhere.
        extent = (0.5, relevance.shape[1] + 0.5, len(classes) - 0.5, -0.5)
        image = axes[0].imshow(
            relevance, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest", extent=extent
        )
        axes[0].set(
            yticks=range(len(classes)),
            yticklabels=[as_label(name, 24) for name in classes],
            xlabel="component",
            title="relevance",
        )
        figure.colorbar(image, ax=axes[0])
        for axis, name, row in zip(axes[1:], classes, relevance, strict=True):
            for component in np.abs(row).argsort()[::-1][:_SHOWN]:
                label: Any = f"{component + 1}: {row[component]:+.2f}"
                axis.semilogx(hertz, templates[:, component], label=label)
            axis.set(ylabel=as_label(name, 16), yticks=[])
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        axes[-1].set(xlabel="hertz")
