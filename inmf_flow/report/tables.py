"""The page's numbers: metrics by source and by item, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from inmf_flow.report.collect import Item, Run

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow

T = TypeVar("T")

PAGE = 100
NOTHING = "–"
_LABELS = {"si_sdr": "SI-SDR", "sdr": "SDR", "sir": "SIR", "sar": "SAR", "stoi": "STOI"}
_MEANINGS = {
    "si_sdr": "scale-invariant signal-to-distortion ratio: nearness to the reference, whatever the level",
    "sdr": "signal-to-distortion ratio (BSS Eval): interference and artefacts together",
    "sir": "signal-to-interference ratio (BSS Eval): how much of the other sources is left",
    "sar": "signal-to-artefacts ratio (BSS Eval): how little the separation itself has damaged",
    "stoi": "short-time objective intelligibility, from 0 to 1",
    "divergence": "mean divergence of a mixture's points from what its dictionaries make of them, at unit energy",
}
# Of what no metric computes, but the separation itself.
_LOWER = ("divergence",)


@dataclass(frozen=True)
class Column:
    """A metric as the page names it; ``better`` is "higher" or "lower"."""

    name: str
    label: str
    unit: str
    better: str
    meaning: str

    @property
    def heading(self) -> str:
        """The metric with its unit, such as ``SI-SDR (dB)``."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True)
class Cell:
    """A value, its improvement over doing nothing, and whether that is for the better; text, ready to print."""

    value: str
    improvement: str
    change: str


@dataclass(frozen=True)
class SourceLine:
    """One item's and source's metrics, a cell for each column."""

    source: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ItemLine:
    """One item in the table of all items; ``anchor`` leads to its section, if it has one."""

    name: str
    status: str
    reason: str | None
    anchor: str | None
    sources: tuple[SourceLine, ...]


@dataclass(frozen=True)
class SummaryLine:
    """One source's and metric's distribution over the items, as text; ``change`` says whether it got better."""

    metric: Column
    count: int
    mean: str
    median: str
    quartiles: str
    improvement: str
    change: str
    interval: str
    bound: str


def columns(summary: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the metrics that a summary has, in the order of their first row."""
    names = [str(entry["metric"]) for entry in summary]
    # The last entries, over all sources, have each once.
    return [column(name) for name in names[len(names) - len(set(names)) :]]


def column(name: str) -> Column:
    """Return how a metric is shown, whether or not what computes it is installed."""
    unit, higher = "", name not in _LOWER
    try:
        from inmf_flow.registry import metrics

        metric: Any = metrics.get(name)
        unit, higher = str(metric.unit or ""), bool(metric.higher_is_better)
    except Exception:  # A metric of a plugin that is not installed here: its numbers can be shown all the same.
        pass
    return Column(name, _LABELS.get(name, name), unit, "higher" if higher else "lower", _MEANINGS.get(name, ""))


def summary(
    entries: Sequence[Mapping[str, Any]], metrics: Sequence[Column], bounds: Sequence[Mapping[str, Any]] = ()
) -> list[tuple[str | None, list[SummaryLine]]]:
    """Return each source's lines, a line for each metric; those over all sources come last, under None, if several."""
    groups: dict[str | None, list[SummaryLine]] = {}
    by_name = {metric.name: metric for metric in metrics}
    # The last entries, one for each metric, are those over all sources: a source may itself be called "all".
    overall = len(entries) - len(by_name)
    above = _bounds(bounds)
    for number, entry in enumerate(entries):
        metric = by_name[str(entry["metric"])]
        improvement = _value(entry.get("mean_improvement"))
        quartiles = [_format(entry.get(key)) for key in ("q25", "q75")]
        interval = [_format(entry.get(key)) for key in ("mean_low", "mean_high")]
        line = SummaryLine(
            metric=metric,
            count=int(_value(entry.get("n")) or 0),
            mean=_format(entry.get("mean")),
            median=_format(entry.get("median")),
            quartiles=NOTHING if NOTHING in quartiles else " to ".join(quartiles),
            improvement=_signed(improvement),
            change=_change(improvement),
            interval=NOTHING if NOTHING in interval else " to ".join(interval),
            bound=", ".join(above.get((str(entry["source"]), metric.name), ())),
        )
        groups.setdefault(str(entry["source"]) if number < overall else None, []).append(line)
    if len(groups) == 2:
        del groups[None]
    return list(groups.items())


def _bounds(entries: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Return the mean of each upper bound with its name, by source and metric."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        key = str(entry["source"]), str(entry["metric"])
        found.setdefault(key, []).append(f"{_format(entry.get('mean'))} ({entry['oracle']})")
    return found


def item_lines(run: Run, metrics: Sequence[Column], anchors: dict[str, str]) -> list[ItemLine]:
    """Return a line for every item of the run, and for those that only ``metrics.csv`` knows."""
    rows = run.rows_of()
    lines = [_item_line(item.name, item, rows.pop(item.name, []), metrics, anchors) for item in run.items]
    return lines + [_item_line(name, None, left, metrics, anchors) for name, left in rows.items()]


def _item_line(
    name: str, item: Item | None, rows: Sequence[MetricRow], metrics: Sequence[Column], anchors: dict[str, str]
) -> ItemLine:
    return ItemLine(
        name=name,
        status=item.status if item else "not in run.json",
        reason=item.reason if item else None,
        anchor=anchors.get(name),
        sources=tuple(source_lines(rows, metrics, item.source_names if item else ())),
    )


def source_lines(rows: Iterable[MetricRow], metrics: Sequence[Column], names: Iterable[str] = ()) -> list[SourceLine]:
    """Return an item's metrics, a line for each source; sources without a metric come after those with one."""
    table: dict[str, dict[str, MetricRow]] = {}
    for row in rows:
        if not row.oracle:
            table.setdefault(row.source, {})[row.metric] = row
    for name in names:
        table.setdefault(name, {})
    return [SourceLine(name, tuple(_cell(found.get(m.name), m) for m in metrics)) for name, found in table.items()]


def _cell(row: MetricRow | None, metric: Column) -> Cell:
    if row is None:
        return Cell(NOTHING, "", "")
    improvement = _value(row.improvement)
    return Cell(_format(row.value), "" if improvement is None else _signed(improvement), _change(improvement))


def pages(lines: Sequence[T], size: int = PAGE) -> Iterator[tuple[int, int, Sequence[T]]]:
    """Cut a long table into pages: the number of the first line and of the last one, from 1, and the lines."""
    for start in range(0, len(lines), size):
        part = lines[start : start + size]
        yield start + 1, start + len(part), part


def duration(seconds: float | None) -> str:
    """Write a length of time: ``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _value(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _format(value: object) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    number = _value(value)
    return NOTHING if number is None else f"{number:.2f}".replace("-", "−")


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.2f}".replace("-", "−")


def _change(improvement: float | None) -> str:
    # An improvement is positive where it is for the better, also for metrics whose low values are good.
    if improvement is None or abs(improvement) < 0.005:
        return ""
    return "better" if improvement > 0 else "worse"
