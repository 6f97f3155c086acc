"""Pictures: matplotlib draws them as SVG, and the page's colour scheme colours their lines and text.

Of what comes from a run only labels of axes and legends enter a picture, as plain text; all else belongs in the page.
"""

from __future__ import annotations

import base64
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.names import as_label
from inmf_flow.report.spectrum import DYNAMIC_RANGE, Spectrogram, warp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float64 = NDArray[np.float64]

# Inches.
WIDTH, HEIGHT = 5.6, 2.55
PAGE_WIDTH = 10.8
_BOTTOM, _TALL = 0.19, 0.78
_DPI = 100
# A component's stripe has at least a good part of this many pixels, so that a browser's smoothing blurs no neighbours.
_STRIPES = 720
_COLOURS = 96
# Stands in the SVG of a spectrogram's axes for the picture between them.
_BLANK = "data:,"
# Of classes and variants; on white and on black all can be told apart.
_SHADES = ("#3b7dd8", "#d9822b", "#3a9d5d", "#b04a8f", "#8a6d3b", "#5c6bc0", "#c0392b", "#16a2a2")
# Of a line of a legend.
_ENTRIES = 5
_SPECTRUM_MAP = "magma"
_WEIGHT_MAP = "viridis"
# Colours that nothing else uses, replaced in the SVG by the page's own light or dark ones.
_INK, _LINE, _ACCENT = "#010203", "#010204", "#010205"
_VARIABLES = {_INK: "var(--ink)", _LINE: "var(--line)", _ACCENT: "var(--accent)"}
_STYLE = """<style>
:root { --ink: #57606a; --line: #afb8c1; --accent: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --ink: #a3adb8; --line: #4b5560; --accent: #6cb6ff; } }
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif !important; }
</style>"""
# rcParams belong to the process: two pictures at once would see each other's.
_lock = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI with the text that stands for it."""

    uri: str
    alt: str
    width: int = round(WIDTH * 96)
    height: int = round(HEIGHT * 96)


def draw_spectrogram(content: Spectrogram, loudest: float, alt: str) -> Picture:
    """Draw a spectrogram in dB relative to ``loudest``, the power that an item's pictures share as their 0 dB."""
    frame = _spectrogram_frame(content.seconds, content.top)
    return Picture(_data_uri(frame.replace(_BLANK, _png(content.decibels(loudest)))), alt)


# An item's pictures have the same axes, which take longer to draw than what is between them.
@lru_cache(maxsize=4)
def _spectrogram_frame(seconds: float, top: float) -> str:
    """Return the SVG of a spectrogram's axes, with `_BLANK` as the image in them."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        # What is given is a single pixel as large as the axes; it is cut out of the SVG below.
        _image(axes, np.zeros((1, 1)), (0.0, seconds, 0.0, float(warp(top))), _SPECTRUM_MAP, -DYNAMIC_RANGE)
        _time_axis(axes)
        _frequency_axis(axes, top)
        _colour_bar(figure, _SPECTRUM_MAP, -DYNAMIC_RANGE)

    blank = f'{_BLANK}" preserveAspectRatio="none"'
    return re.sub(r'(?<=xlink:href=")data:image/png[^"]*"', blank, _svg(draw), count=1)


def _png(decibels: Float64) -> str:
    """Return a spectrogram's pixels as a data URI: a byte and a colour of the palette each, a third of matplotlib's."""
    from PIL import Image

    # The lowest frequency first: SVG turns the picture over.
    steps = np.minimum((decibels / DYNAMIC_RANGE + 1) * _COLOURS, _COLOURS - 1).astype(np.uint8)
    image = Image.fromarray(steps, mode="P")
    image.putpalette(_colour_map(_SPECTRUM_MAP)(np.arange(_COLOURS), bytes=True)[:, :3].tobytes())
    stream = io.BytesIO()
    image.save(stream, format="png", compress_level=4)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def draw_templates(decibels: Float64, top: float, floor: float, alt: str) -> Picture:
    """Draw spectral templates as columns.

    Parameters
    ----------
    decibels
        Shape [rows, K], rows evenly spaced in mel over [0, top].
    top
        Upper end of the frequency axis in hertz.
    floor
        Lower end of the colour scale in dB; the upper one is 0.
    alt
        The text that stands for the picture.
    """

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        count = decibels.shape[1]
        wide = np.repeat(decibels, max(1, _STRIPES // count), axis=1)
        show_weights(axes, wide, (0.5, count + 0.5), top, floor)
        axes.set_xlabel("component")
        axes.set_xticks(_component_ticks(count))
        _colour_bar(figure, _WEIGHT_MAP, floor)

    return draw_picture(draw, alt)


def show_weights(axes: Axes, decibels: Float64, across: tuple[float, float], top: float, floor: float) -> None:
    """Show templates [rows, columns], of which `draw_templates` tells, on axes over these limits."""
    _image(axes, decibels, (*across, 0.0, float(warp(top))), _WEIGHT_MAP, floor)
    _frequency_axis(axes, top)


def draw_activations(decibels: Float64, seconds: float, floor: float, alt: str) -> Picture:
    """Draw activations as rows, shape [K, T], over the seconds that the model was learned from."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        count = decibels.shape[0]
        tall = np.repeat(decibels, max(1, _STRIPES // 2 // count), axis=0)
        _image(axes, tall, (0.0, seconds, 0.5, count + 0.5), _WEIGHT_MAP, floor)
        _time_axis(axes)
        axes.set_ylabel("component")
        axes.set_yticks(_component_ticks(count))
        _colour_bar(figure, _WEIGHT_MAP, floor)

    return draw_picture(draw, alt)


def draw_divergence(curve: Sequence[tuple[float, float]], alt: str) -> Picture:
    """Draw mean divergence per point, which is positive and finite, against iteration on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    points = np.asarray(curve, dtype=np.float64)

    def draw(figure: Figure) -> None:
        axes = _axes(figure, left=0.165, right=0.97)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_yscale("log")
        axes.plot(points[:, 0], points[:, 1], color=_ACCENT, linewidth=1.8, marker="o", markersize=3.2)
        low, high = points[:, 1].min(), points[:, 1].max()
        margin = (high / low) ** 0.08 * 1.02
        axes.set_ylim(low / margin, high * margin)
        axes.set_xlim(left=min(0.0, points[:, 0].min()))
        axes.yaxis.set_major_locator(_log_locator(high / low))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(True, which="major", color=_LINE, linewidth=0.6, alpha=0.5)
        axes.set_xlabel("iteration")
        axes.set_ylabel("divergence")

    return draw_picture(draw, alt)


def draw_picture(draw: Callable[[Figure], None], alt: str, size: tuple[float, float] = (WIDTH, HEIGHT)) -> Picture:
    """Return what a function draws on a figure, in the page's colours.

    Parameters
    ----------
    draw
        Draws.
    alt
        The text that stands for the picture.
    size
        Width and height in inches of 96 pixels; by default those of a picture that has another one beside it.
    """
    width, height = (round(inches * 96) for inches in size)
    return Picture(_data_uri(_svg(draw, size)), alt, width, height)


def _svg(draw: Callable[[Figure], None], size: tuple[float, float] = (WIDTH, HEIGHT)) -> str:
    """Return what is drawn as SVG in the page's colours."""
    from matplotlib.figure import Figure

    with _lock, _own_style(), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=size, dpi=_DPI)
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _recoloured(stream.getvalue())


def shade(number: int) -> str:
    """Return the colour of the class or variant of this number."""
    return _SHADES[number % len(_SHADES)]


def legend_above(axes: Axes, count: int, left: float = 0.0) -> None:
    """Put the legend of so many entries above the axes, beginning at this part of their width; see `legend_height`."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(left, 1), ncols=min(count, _ENTRIES), frameon=False, borderaxespad=0.2
    )


def legend_height(count: int) -> float:
    """Return the inches that a legend of so many entries takes above the axes."""
    return 0.12 + 0.22 * -(-count // _ENTRIES)


def label(name: str) -> str:
    """Return a name as it is in a legend, of which each line is as wide as the page."""
    return as_label(name, 18)


# All but what a data URI in a double-quoted attribute may hold as it is. Pictures inside are long base64, which
# urllib.parse.quote would look at byte by byte.
_UNSAFE = re.compile(rb"[^A-Za-z0-9_.~ !$()*+,/:;=?@\[\]{}|'-]")


def _data_uri(svg: str) -> str:
    quoted = _UNSAFE.sub(lambda found: b"%%%02X" % ord(found[0]), svg.encode())
    return "data:image/svg+xml," + quoted.decode("ascii")


@contextmanager
def _own_style() -> Iterator[None]:
    """Draw by matplotlib's defaults and ours, whatever the user's matplotlibrc says, and leave no trace."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "inmf_flow",
                "font.size": 10.5,
                # Labels are names, in which a dollar is a dollar.
                "text.parse_math": False,
                "axes.edgecolor": _LINE,
                "axes.labelcolor": _INK,
                "axes.linewidth": 0.8,
                "text.color": _INK,
                "xtick.color": _LINE,
                "ytick.color": _LINE,
                "xtick.labelcolor": _INK,
                "ytick.labelcolor": _INK,
            }
        )
        yield


def _recoloured(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    # Browsers smooth an image that says nothing, which shows a spectrogram better than hard pixels.
    svg = re.sub(r"image-rendering:\s*[a-z-]+;?", "", svg)
    return re.sub(r"(<svg\b[^>]*>)", lambda match: match.group(1) + _STYLE, svg, count=1)


def _log_locator(ratio: float) -> Any:
    """Return where to put ticks on a logarithmic axis whose ends have this ratio: always a few, never many."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if ratio < 5:
        return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    return LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 100 else (1.0, 3.0) if ratio < 1000 else (1.0,), numticks=8)


def _axes(figure: Figure, left: float = 0.115, right: float = 0.87) -> Axes:
    # Fixed margins, so that pictures under each other line up.
    return figure.add_axes((left, _BOTTOM, right - left, _TALL))


def _image(axes: Axes, decibels: Float64, extent: tuple[float, float, float, float], name: str, floor: float) -> None:
    axes.imshow(
        decibels,
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="none",
        cmap=_colour_map(name),
        vmin=floor,
        vmax=0.0,
    )


def _colour_map(name: str) -> Any:
    import matplotlib

    # Fewer colours than the eye can tell apart over this range halve the size of the picture.
    return matplotlib.colormaps[name].resampled(_COLOURS)


def _time_axis(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("time (s)")
    axes.xaxis.set_major_locator(MaxNLocator(8))


def _frequency_axis(axes: Axes, top: float) -> None:
    ticks = frequency_ticks(top)
    kilo = top >= 2000
    axes.set_yticks([float(warp(tick)) for tick in ticks], [f"{tick / 1000 if kilo else tick:g}" for tick in ticks])
    axes.set_ylabel("frequency (kHz)" if kilo else "frequency (Hz)")


def frequency_ticks(top: float) -> list[float]:
    """Return a few round frequencies in hertz from 0 to ``top``, apart enough on the mel axis to be labelled."""
    if top < 500:
        step = 10.0 ** np.floor(np.log10(max(top, 1e-3)))
        step = step / 5 if top / step < 2 else step / 2 if top / step < 5 else step
        return [float(tick) for tick in np.arange(0.0, top * (1 + 1e-9), step)]
    ticks = [0.0]
    for tick in (250.0, 500.0, *(1000.0 * 2**power for power in range(12))):
        apart = float(warp(tick) - warp(ticks[-1])) / float(warp(top))
        if tick <= top * 1.001 and apart > 0.07:
            ticks.append(tick)
    return ticks


def _component_ticks(count: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if count / step <= 10)
    return [1, *(tick for tick in range(step, count + 1, step) if tick > 1 and tick - 1 > 0.75 * step)]


def _colour_bar(figure: Figure, name: str, floor: float) -> None:
    axes = figure.add_axes((0.89, _BOTTOM, 0.016, _TALL))
    gradient = np.linspace(floor, 0.0, _COLOURS)[:, None]
    _image(axes, gradient, (0.0, 1.0, floor, 0.0), name, floor)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    ticks = range(0, round(floor) - 1, -20)
    axes.set_yticks(ticks, ["0 dB", *(f"−{-tick}" for tick in ticks[1:])])
