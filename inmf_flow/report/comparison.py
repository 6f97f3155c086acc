"""The page and the table of a comparison: variants of one pipeline side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inmf_flow.errors import ConfigError
from inmf_flow.files import atomic_write
from inmf_flow.report.comparison_table import (
    Difference,
    Distribution,
    Labels,
    comparison_csv_lines,
    difference,
    distribution,
    read_scores,
)
from inmf_flow.report.figures import Picture
from inmf_flow.report.tables import Column, column
from inmf_flow.report.template import render_page
from inmf_flow.report.violins import draw_violins

__all__ = ["COMPARISON_CSV", "COMPARISON_JSON", "comparison_csv_lines", "is_comparison", "write_comparison"]

COMPARISON_CSV = "comparison.csv"
COMPARISON_JSON = "comparison.json"
COMPARISON_TABLE = "comparison.md"
_FORMAT = 1
_NOTHING = "–"


@dataclass(frozen=True)
class Line:
    """One variant's scores by one metric, as text.

    Attributes
    ----------
    labels
        Of the variant, on each axis.
    reference
        What the difference is to; None of the variants that others are compared with.
    change
        ``better`` or ``worse`` where the interval of the difference leaves no doubt, else empty.
    """

    labels: Labels
    count: int
    items: int
    mean: str
    interval: str
    median: str
    quartiles: str
    difference: str
    difference_interval: str
    reference: str | None
    change: str


@dataclass(frozen=True)
class MetricSection:
    """A metric with a line for each variant, and their distributions as a picture."""

    metric: Column
    lines: Sequence[Line]
    picture: Picture | None


@dataclass(frozen=True)
class VariantRun:
    """A variant's run: where it is and how it ended."""

    name: str
    folder: str
    status: str
    failures: int


@dataclass(frozen=True)
class _Compared:
    name: str
    status: str
    axes: Mapping[str, Sequence[str]]
    runs: Sequence[VariantRun]
    failures: Sequence[tuple[str, str, str]]


def is_comparison(folder: Path) -> bool:
    """Return whether a folder is that of a comparison, and not of a single run."""
    return (folder / COMPARISON_JSON).is_file()


def write_comparison(folder: Path) -> Path:
    """Write ``comparison.md`` and ``report.html`` of a comparison from its ``comparison.json`` and ``comparison.csv``.

    Every difference is to the variant that has the first label of the last axis and the same labels on the others, on
    the items that both have.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    ConfigError
        The folder holds no comparison that this version can read.
    """
    compared = _read(folder)
    scores = read_scores(folder / COMPARISON_CSV, list(compared.axes))
    sections = [_section(name, scores[name], compared.axes) for name in scores]
    atomic_write(folder / COMPARISON_TABLE, "\n".join(_markdown(compared, sections)) + "\n")
    page = folder / "report.html"
    atomic_write(page, _render(compared, sections).encode("utf-8", "replace"))
    return page


def _read(folder: Path) -> _Compared:
    path = folder / COMPARISON_JSON
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != _FORMAT:
            raise ConfigError("a comparison of another version", where=path, got=document["format"], expected=_FORMAT)
        axes = {str(axis): [str(label) for label in labels] for axis, labels in document["axes"].items()}
        runs, failures = [], []
        for name, run in document["variants"].items():
            runs.append(VariantRun(name, str(run["folder"]), str(run["status"]), len(run["failures"])))
            failures += [(str(stage), f"{name}: {item}", str(reason)) for stage, item, reason in run["failures"]]
        return _Compared(str(document["name"]), str(document["status"]), axes, runs, failures)
    except OSError as error:
        raise ConfigError("the comparison cannot be read", where=path, got=error.strerror) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("this is not a comparison", where=path, got=repr(error)) from None


def _variants(axes: Mapping[str, Sequence[str]]) -> Iterator[Labels]:
    from itertools import product

    yield from product(*axes.values())


def _section(
    name: str, scores: Mapping[Labels, Mapping[tuple[str, str], float]], axes: Mapping[str, Sequence[str]]
) -> MetricSection:
    metric = column(name)
    found = {labels: distribution(scores.get(labels, {})) for labels in _variants(axes)}
    digits = ".2f" if metric.unit == "dB" else _digits([each.mean for each in found.values()])
    first = list(axes.values())[-1][0]
    lines = []
    for labels, one in found.items():
        reference = (*labels[:-1], first)
        compared = None if labels == reference else difference(scores.get(labels, {}), scores.get(reference, {}))
        lines.append(_line(metric, labels, one, first, compared, digits))
    return MetricSection(metric, lines, _picture(metric, found, axes))


def _line(
    metric: Column, labels: Labels, one: Distribution, first: str, compared: Difference | None, digits: str
) -> Line:
    change = ""
    if compared is not None and (compared.low > 0 or compared.high < 0):
        change = "better" if (compared.mean > 0) == (metric.better == "higher") else "worse"
    return Line(
        labels=labels,
        count=len(one.values),
        items=one.items,
        mean=_number(one.mean, digits),
        interval=_range(one.low, one.high, digits),
        median=_number(one.median, digits),
        quartiles=_range(one.q25, one.q75, digits),
        difference=_NOTHING if compared is None else _number(compared.mean, "+" + digits),
        difference_interval=_NOTHING if compared is None else _range(compared.low, compared.high, "+" + digits),
        reference=None if compared is None else first,
        change=change,
    )


def _picture(metric: Column, found: Mapping[Labels, Distribution], axes: Mapping[str, Sequence[str]]) -> Picture | None:
    if not any(one.values for one in found.values()):
        return None
    places = list(dict.fromkeys(" ".join(labels[:-1]) for labels in found))
    colours = list(list(axes.values())[-1])
    values = {(" ".join(labels[:-1]), labels[-1]): one.values for labels, one in found.items()}
    alt = f"Violin plots of {metric.label}: {', '.join(colours)}" + (f", at {', '.join(places)}" if any(places) else "")
    unit = f"{metric.label} ({metric.unit})" if metric.unit else metric.label
    return draw_violins(values, places, colours, unit, alt)


def _digits(values: Sequence[float]) -> str:
    """Return how numbers without a unit are written, by the largest of them."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=1.0)
    return ".2f" if largest >= 1 else ".3f" if largest >= 0.01 else ".2e"


def _number(value: float, digits: str) -> str:
    return format(value, digits) if math.isfinite(value) else _NOTHING


def _range(low: float, high: float, digits: str) -> str:
    return f"{low:{digits}} to {high:{digits}}" if math.isfinite(low) and math.isfinite(high) else _NOTHING


def _markdown(compared: _Compared, sections: Sequence[MetricSection]) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    yield f"# {compared.name}"
    for section in sections:
        unit = f" ({section.metric.unit})" if section.metric.unit else ""
        yield ""
        yield f"## {section.metric.label}{unit}, {section.metric.better} is better"
        yield ""
        headings = [*compared.axes, "n", "mean", "95 % interval", "median", "quartiles", "difference", "95 % interval"]
        yield f"| {' | '.join(headings)} |"
        yield f"|{'---|' * len(headings)}"
        for line in section.lines:
            told = f"{line.difference} to {line.reference}" if line.reference else line.difference
            cells = [*line.labels, str(line.count), line.mean, line.interval, line.median, line.quartiles, told]
            yield f"| {' | '.join([*cells, line.difference_interval])} |"


def _render(compared: _Compared, sections: Sequence[MetricSection]) -> str:
    return render_page("comparison.html.j2", compared=compared, sections=sections)
