"""The page itself: a template filled with what the run's folder holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inmf_flow.errors import ArgumentError
from inmf_flow.files import atomic_write
from inmf_flow.report import tables
from inmf_flow.report.collect import Item, Run, Source, read_run
from inmf_flow.report.panels import ItemPanels, SourcePictures, item_panels, seconds_for, source_pictures
from inmf_flow.report.sound import MAX_SECONDS
from inmf_flow.report.template import as_yaml, render_page

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class ItemSection:
    """An item that is shown with pictures and players."""

    anchor: str
    item: Item
    shown: ItemPanels
    metrics: Sequence[tables.SourceLine]


@dataclass(frozen=True)
class SourceSection:
    """A source, with its pictures unless there are too many sources."""

    anchor: str
    source: Source
    pictures: SourcePictures | None


def write_report(run_dir: Path, max_items: int = 20) -> Path:
    """Write a run's ``report.html``: one file that needs no other file and no network.

    Whatever is missing from the folder is named on the page. The file appears whole or not at all.

    Parameters
    ----------
    run_dir
        The folder that a run wrote.
    max_items
        How many items, and how many sources, get pictures and players; the others are in the tables only.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    ConfigError
        The folder holds no ``run.json`` that this version can read.
    ArgumentError
        ``max_items`` is negative.
    """
    if max_items < 0:
        raise ArgumentError("max_items is negative", got=max_items, expected="0 or more")
    run = read_run(run_dir)
    path = run.folder / REPORT_NAME
    # A lone surrogate in a name has no UTF-8 form.
    atomic_write(path, render(run, max_items).encode("utf-8", "replace"))
    return path


def render(run: Run, max_items: int = 20) -> str:
    """Return the page of a run as HTML."""
    return render_page("report.html.j2", **_content(run, max_items))


def _content(run: Run, max_items: int) -> dict[str, Any]:
    metrics = tables.columns(run.summary)
    # An item that failed before it was separated has nothing to show but its reason.
    showable = [item for item in run.items if item.outputs or not item.failed]
    shown = showable[:max_items]
    anchors = {item.name: f"item-{number}" for number, item in enumerate(shown, 1)}
    seconds = seconds_for(shown)
    rows = run.rows_of()
    lines = tables.item_lines(run, metrics, anchors)
    summary = tables.summary(run.summary, metrics, run.bounds)
    return {
        "run": run,
        "tiles": _tiles(run, summary),
        "summary": summary,
        "has_bounds": bool(run.bounds),
        "metrics": metrics,
        "failure_pages": list(tables.pages(run.failures)),
        "lines": lines,
        "line_pages": list(tables.pages(lines)),
        "shown": _item_sections(shown, anchors, rows, metrics, seconds),
        # Those that only the table of metrics knows are among the lines.
        "n_items": max(run.n_items, len(lines)),
        "n_shown": len(shown),
        "n_showable": len(showable),
        "max_items": max_items,
        "excerpt": seconds,
        "max_excerpt": MAX_SECONDS,
        "sources": list(_source_sections(run, max_items)),
        "pipeline": as_yaml(run.pipeline),
        "duration": tables.duration,
    }


def _item_sections(
    items: Iterable[Item],
    anchors: Mapping[str, str],
    rows: Mapping[str, Sequence[Any]],
    metrics: Sequence[tables.Column],
    seconds: float,
) -> Iterator[ItemSection]:
    # One at a time while the template runs: an item's pictures and sounds are needed only once.
    for item in items:
        lines = tables.source_lines(rows.get(item.name, ()), metrics, item.source_names)
        yield ItemSection(anchors[item.name], item, item_panels(item, seconds), lines)


def _source_sections(run: Run, limit: int) -> Iterator[SourceSection]:
    for number, source in enumerate(run.sources):
        pictures = source_pictures(source, ordered=not run.numbers_components) if number < limit else None
        yield SourceSection(f"source-{number + 1}", source, pictures)


def _tiles(run: Run, summary: Sequence[tuple[str | None, Sequence[tables.SummaryLine]]]) -> list[tuple[str, str, str]]:
    """Return the few figures that a reader wants first: value, what it is, and a remark."""
    items = f"{run.n_items} in all" + (f", {run.n_failed} failed" if run.n_failed else "")
    tiles = [(f"{run.n_done:,}", "item separated" if run.n_done == 1 else "items separated", items)]
    if summary:
        line = summary[-1][1][0]
        unit = f" {line.metric.unit}" if line.metric.unit else ""
        tiles.append((line.mean + unit, f"mean {line.metric.label}", f"{line.metric.better} is better"))
        if line.improvement != tables.NOTHING:
            tiles.append((line.improvement + unit, f"{line.metric.label} improvement", "over the untouched mixture"))
    if run.total_seconds is not None:
        tiles.append((tables.duration(run.total_seconds), "whole run", "wall-clock time"))
    return tiles
