"""Draw the pictures of the documentation: docs/images/transforms.png and docs/images/hybrid.png.

Text and axes are of a grey that shows on light and dark pages, and backgrounds are transparent.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import io
import itertools
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from inmf_flow import INMF, get_transform
from inmf_flow.audio import read_audio
from inmf_flow.pipeline.config import load_pipeline
from inmf_flow.points import GridBlock, PointSet, ScatteredBlock
from inmf_flow.transform import transform_from_mapping

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
Float64 = NDArray[np.float64]

DPI = 100
GREY = "#848484"
# Few colours make small files, and steps that the eye can count.
_STEPS = 24
COLOURS = ListedColormap(colormaps["inferno"](np.linspace(0.0, 0.97, _STEPS)))
_STYLE = {"labelsize": 13, "labelcolor": GREY, "color": GREY}

SHOWN = {
    "stft": "short-time Fourier transform",
    "cqt": "constant-Q transform",
    "wavelet:kind=packet": "wavelet packets",
    "wavelet:kind=dwt": "discrete wavelet transform",
    "wavelet:kind=swt": "stationary wavelet transform",
    "wavelet:kind=cwt": "continuous wavelet transform",
    "sinusoidal:fit=parts": "partials, over the STFT of what they leave",
    "reassigned": "reassigned STFT",
}
_SECONDS, _HERTZ = (0.0, 5.0), (60.0, 8000.0)
_NEAR_SECONDS, _NEAR_HERTZ = (0.32, 0.82), (100.0, 400.0)
_RANGE_DB = 66.0
# Pixels of a panel, and of its enlarged part.
_PANEL, _NEAR = (600, 132), (250, 132)


_PARTS = ("#3d8fd9", "#e08a2e", "#35a66d")
_NOTES = ("#d9534a", "#8a6bd1")
_NOTES_SECONDS, _NOTES_HERTZ, _NOTES_DB = (0.0, 3.9), (200.0, 3200.0), 50.0
_ONSET_SECONDS, _ONSET_HERTZ = (1.2, 1.5), (330.0, 470.0)


def raster(
    points: PointSet, seconds: tuple[float, float], hertz: tuple[float, float], size: tuple[int, int], dot: int
) -> Float64:
    """Return the largest magnitude in each pixel [rows, columns], the lowest of evenly spaced log-frequencies first.

    A grid's points fill their cells. Scattered points are dots of so many pixels, and hide the grids.
    """
    columns = np.linspace(*seconds, size[0] + 1)
    rows = np.geomspace(*hertz, size[1] + 1)
    picture = np.zeros((size[1], size[0]))
    bands = [
        (float(frequency), float(block.frequency_weights[n]), block, n)
        for block in points.blocks
        if isinstance(block, GridBlock)
        for n, frequency in enumerate(block.frequencies)
    ]
    bands.sort(key=lambda band: band[0])
    # The bands of all grids together fill everything from 0 Hz on, and their widths are the weights.
    edges = np.cumsum([0.0, *(width for _, width, _, _ in bands)])
    for (lower, upper), (_, _, block, number) in zip(itertools.pairwise(edges), bands, strict=True):
        # A cell that touches a row by rounding alone is not in it.
        inside = (rows[1:] > lower * (1 + 1e-9)) & (rows[:-1] * (1 + 1e-9) < upper)
        if inside.any():
            line = _columns_of(block.times, block.magnitudes[number], columns)
            picture[inside] = np.maximum(picture[inside], line)
    for block in points.blocks:
        if isinstance(block, ScatteredBlock):
            _add_dots(picture, block, columns, rows, dot)
    return picture


def _columns_of(times: Float64, magnitudes: NDArray[Any], columns: Float64) -> Float64:
    """Return the largest magnitude whose cell reaches into each column."""
    middles = (times[1:] + times[:-1]) / 2
    first = np.searchsorted(middles, columns[:-1], side="right")
    last = np.searchsorted(middles, columns[1:], side="left")
    return np.array([magnitudes[a : b + 1].max() for a, b in zip(first, last, strict=True)])


def _add_dots(picture: Float64, block: ScatteredBlock, columns: Float64, rows: Float64, dot: int) -> None:
    column = np.searchsorted(columns, block.times, side="right") - 1 - dot // 2
    row = np.searchsorted(rows, block.frequencies, side="right") - 1 - dot // 2
    near = (block.times >= columns[0]) & (block.times < columns[-1])
    dots = np.zeros_like(picture)
    for down in range(dot):
        for right in range(dot):
            r, c = row + down, column + right
            seen = near & (r >= 0) & (r < picture.shape[0]) & (c >= 0) & (c < picture.shape[1])
            np.maximum.at(dots, (r[seen], c[seen]), block.magnitudes[seen])
    picture[dots > 0] = dots[dots > 0]


def draw_transforms() -> Figure:
    """Draw five seconds of speech in every transform, and an enlarged part of each."""
    audio, rate = read_audio(ROOT / "pipelines" / "audio" / "speech" / "male_train.flac")
    analysed = {spec: get_transform(spec).analyze(audio[0], rate) for spec in SHOWN}
    loudest = max(float(block.magnitudes.max()) for points in analysed.values() for block in points.blocks)
    top = round(20 * np.log10(loudest))
    scale = Normalize(top - _RANGE_DB, top)
    left, gap, above, step = 98, 68, 34, _PANEL[1] + 38
    size = (left + _PANEL[0] + gap + _NEAR[0] + 14, above + step * len(SHOWN) + 100)
    figure = _figure(size)
    for number, (spec, name) in enumerate(SHOWN.items()):
        y = above + step * number
        wide = _axes(figure, size, (left, y, *_PANEL))
        near = _axes(figure, size, (left + _PANEL[0] + gap, y, *_NEAR))
        # Where points are many, larger dots would run together.
        dot = 2 if "sinusoidal" in spec else 1
        _show(wide, analysed[spec], _SECONDS, _HERTZ, _PANEL, scale, [100, 1000, 5000], dot)
        _show(near, analysed[spec], _NEAR_SECONDS, _NEAR_HERTZ, _NEAR, scale, [100, 200, 300], 3)
        _box(wide, _NEAR_SECONDS, _NEAR_HERTZ)
        wide.set_ylabel("hertz", color=GREY, fontsize=14)
        wide.yaxis.set_label_coords(-70 / _PANEL[0], 0.5)
        wide.set_title(f"{spec}:  {name}", loc="left", fontsize=14, color=GREY, pad=4)
        for axes in (wide, near):
            axes.tick_params(labelbottom=number == len(SHOWN) - 1)
    for axes in figure.axes[-2:]:
        axes.set_xlabel("seconds", color=GREY, fontsize=14)
    _colour_bar(figure, size, scale, (left + 2, size[1] - 44, 300, 14))
    return figure


def _show(
    axes: Axes,
    points: PointSet,
    seconds: tuple[float, float],
    hertz: tuple[float, float],
    size: tuple[int, int],
    scale: Normalize,
    ticks: list[int],
    dot: int,
) -> None:
    level = 20 * np.log10(np.maximum(raster(points, seconds, hertz, size, dot), 1e-9))
    # Rows are evenly spaced in log-frequency: so is the axis.
    extent = (*seconds, *np.log2(hertz))
    axes.imshow(level, origin="lower", aspect="auto", interpolation="nearest", extent=extent, cmap=COLOURS, norm=scale)
    _hertz_axis(axes, hertz, ticks)


def _box(axes: Axes, seconds: tuple[float, float], hertz: tuple[float, float]) -> None:
    (a, b), (low, high) = seconds, np.log2(hertz)
    axes.plot([a, b, b, a, a], [low, low, high, high, low], color="#e8e8e8", linewidth=1, snap=True)


def _colour_bar(figure: Figure, size: tuple[int, int], scale: Normalize, box: tuple[int, int, int, int]) -> None:
    axes = _axes(figure, size, box)
    low, high = float(scale.vmin or 0), float(scale.vmax or 0)
    axes.imshow([np.linspace(low, high, _STEPS)], aspect="auto", extent=(low, high, 0, 1), cmap=COLOURS, norm=scale)
    axes.set_yticks([])
    axes.set_title("magnitude in decibels; 0 is a sinusoid of amplitude 1", loc="left", fontsize=13, color=GREY, pad=3)


def draw_hybrid() -> Figure:
    """Draw the points that pipelines/hybrid.yaml fits, and the templates and activations that it finds."""
    pipeline = load_pipeline(ROOT / "pipelines" / "hybrid.yaml")
    (source,) = pipeline.sources.values()
    audio, rate = read_audio(pipeline.base / source.audio[0])
    # The rest says which points are fitted and how a corpus is gone through.
    taken = inspect.signature(INMF).parameters
    options = {key: value for key, value in pipeline.fit.model_dump(exclude={"field"}).items() if key in taken}
    parts = {
        name: transform_from_mapping(pipeline.transforms[name].as_json()).analyze(audio[0], rate)
        for name in pipeline.analyzed
    }
    points = functools.reduce(operator.add, parts.values())
    model = INMF(n_components=source.components, field=pipeline.fit.field.as_json(), **options).fit(points)
    size = (1014, 640)
    figure = _figure(size)
    loudest = max(float(block.magnitudes.max()) for block in points.blocks)
    for number, (name, part) in enumerate(parts.items()):
        axes = _axes(figure, size, (98 + 232 * number, 34, 220, 300))
        _show_levels(axes, part, loudest)
        axes.set_title(
            f"{name}: {pipeline.transforms[name].name}", loc="left", fontsize=14, color=_PARTS[number], pad=5
        )
        axes.tick_params(labelleft=number == 0)
        _box(axes, _ONSET_SECONDS, _ONSET_HERTZ)
    figure.axes[0].set_ylabel("hertz", color=GREY, fontsize=14, labelpad=0)
    _show_functions(
        _axes(figure, size, (806, 34, 194, 300)), _axes(figure, size, (500, 424, 500, 160)), model, points.end
    )
    _show_places(_axes(figure, size, (98, 424, 322, 160)), list(parts.values()), loudest)
    return figure


def _dots(points: PointSet, loudest: float) -> Iterator[tuple[Float64, Float64, Float64]]:
    """Give seconds, log2 of hertz and decibels below the loudest of a transform's points that are fitted."""
    for block in points.blocks:
        times, hertz = block.times, block.frequencies
        if isinstance(block, GridBlock):
            hertz, times = (axis.ravel() for axis in np.meshgrid(hertz, times, indexing="ij"))
        level = 20 * np.log10(np.maximum(block.magnitudes.ravel() / loudest, 1e-9))
        fitted = (block.weights.ravel() > 0) & (hertz > 0)
        yield times[fitted], np.log2(hertz[fitted]), level[fitted]


def _show_levels(axes: Axes, points: PointSet, loudest: float) -> None:
    """Show one transform's points, the loudest on top."""
    axes.patch.set(alpha=1, facecolor=COLOURS(0))
    scale = Normalize(-_NOTES_DB, 0)
    for times, height, level in _dots(points, loudest):
        order = np.argsort(level)[np.searchsorted(np.sort(level), -_NOTES_DB) :]
        axes.scatter(times[order], height[order], s=1.6, c=level[order], cmap=COLOURS, norm=scale, linewidths=0)
    _hertz_axis(axes, _NOTES_HERTZ, [200, 500, 1000, 2000])
    axes.set(xlim=_NOTES_SECONDS, xticks=[0, 1, 2, 3])
    axes.set_xlabel("seconds", color=GREY, fontsize=14)


def _show_places(axes: Axes, parts: list[PointSet], loudest: float) -> None:
    """Show where the points of all transforms lie around an onset: the louder the larger."""
    for points, colour in zip(parts, _PARTS, strict=True):
        for times, height, level in _dots(points, loudest):
            seen = level > -_NOTES_DB
            sizes = 1 + 25 * (1 + level[seen] / _NOTES_DB) ** 2
            axes.scatter(times[seen], height[seen], s=sizes, color=colour, linewidths=0)
    _hertz_axis(axes, _ONSET_HERTZ, [350, 400, 450])
    axes.set(xlim=_ONSET_SECONDS)
    axes.set_xlabel("seconds", color=GREY, fontsize=14)
    axes.set_ylabel("hertz", color=GREY, fontsize=14)
    axes.set_title("in the box, all together", loc="left", fontsize=14, color=GREY, pad=5)


def _show_functions(over_hertz: Axes, over_seconds: Axes, model: INMF, end: float) -> None:
    """Show templates and activations as magnitudes; each template has a peak of 1."""
    hertz = np.geomspace(*_NOTES_HERTZ, 1200)
    seconds = np.linspace(0, end, 1200)
    w, h = model.templates(hertz), model.activations(seconds)
    peaks = w.max(axis=0)
    w, h = (w / peaks) ** (1 / model.power), (h * peaks[:, None]) ** (1 / model.power)
    # The note that sounds first is first.
    for number, k in enumerate(np.argsort(np.argmax(h > 0.3 * h.max(), axis=1))):
        over_hertz.plot(w[:, k], np.log2(hertz), color=_NOTES[number], linewidth=1.4, label=f"component {number + 1}")
        over_seconds.plot(seconds, h[k], color=_NOTES[number], linewidth=1.4)
    _hertz_axis(over_hertz, _NOTES_HERTZ, [200, 500, 1000, 2000])
    over_hertz.tick_params(labelleft=False)
    over_hertz.set_xlabel("magnitude", color=GREY, fontsize=14)
    over_hertz.legend(frameon=False, labelcolor=GREY, fontsize=13, loc="upper right", handlelength=0.9)
    over_hertz.set_title("templates W", loc="left", fontsize=14, color=GREY, pad=5)
    over_seconds.set(xlim=_NOTES_SECONDS, ylim=(0, None))
    over_seconds.set_xlabel("seconds", color=GREY, fontsize=14)
    over_seconds.set_title("activations H", loc="left", fontsize=14, color=GREY, pad=5)


def _hertz_axis(axes: Axes, hertz: tuple[float, float], ticks: list[int]) -> None:
    axes.set_ylim(*np.log2(hertz))
    axes.set_yticks(np.log2(ticks), [f"{tick:,}" for tick in ticks])


def _figure(size: tuple[int, int]) -> Figure:
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI)
    figure.patch.set_alpha(0)
    return figure


def _axes(figure: Figure, size: tuple[int, int], box: tuple[int, int, int, int]) -> Axes:
    """Return axes that fill a box (left, top, width, height) of pixels counted from the upper left."""
    left, top, width, height = box
    axes = figure.add_axes((left / size[0], 1 - (top + height) / size[1], width / size[0], height / size[1]))
    axes.patch.set_alpha(0)
    axes.tick_params(**_STYLE)
    for spine in axes.spines.values():
        spine.set_color(GREY)
    axes.yaxis.set_minor_locator(NullLocator())
    return axes


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of at most 256 colours, which is a third of the size of one of all colours."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, format="png")
    picture = (
        Image.open(drawn).convert("RGBA").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    )
    picture.save(path, optimize=True)


PICTURES: dict[str, Callable[[], Figure]] = {"transforms": draw_transforms, "hybrid": draw_hybrid}


def main() -> None:
    """Draw the pictures that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="*", choices=[[], *PICTURES], help="which (all)")
    parser.add_argument("--out", type=Path, default=IMAGES, metavar="FOLDER", help="where they go (docs/images)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.picture or PICTURES:
        path = given.out / f"{name}.png"
        save(PICTURES[name](), path)
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
