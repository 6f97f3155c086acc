"""The page of a segmentation: how right it is, which components decide, and why each segment has its label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow.audio import audio_info
from inmf_flow.errors import ArgumentError, InmfError
from inmf_flow.files import atomic_write
from inmf_flow.report import tables
from inmf_flow.report.figures import Picture
from inmf_flow.report.learned import learned_parts, load_model
from inmf_flow.report.panels import reason_of
from inmf_flow.report.segmentation_figures import draw_relevance, draw_timeline
from inmf_flow.report.sound import PLAYABLE_RATES, Player, excerpt_seconds, player, read_excerpt
from inmf_flow.report.template import as_yaml, render_page
from inmf_flow.segmentation.record import (
    ItemRecord,
    ScoreRecord,
    SegmentationFolder,
    SegmentRecord,
    is_segmentation,
    read_probabilities,
    read_segmentation,
)

__all__ = ["is_segmentation", "write_segmentation_report"]

# Segments of one recording that are explained on the page.
_MOST_SEGMENTS = 200
_MOST_LINES = 1000
# Components named for each segment, and what is too little to be a reason.
_MOST_REASONS, _LEAST_REASON = 3, 0.05


@dataclass(frozen=True)
class SegmentLine:
    """A segment as text, with the components that speak for its label and against it."""

    start: str
    stop: str
    label: str
    probability: str
    speak_for: str
    speak_against: str


@dataclass(frozen=True)
class ItemSection:
    """A recording that is shown; what cannot be shown is among the problems."""

    anchor: str
    name: str
    facts: Sequence[str]
    picture: Picture | None
    player: Player | None
    notes: Sequence[str]
    problems: Sequence[str]
    lines: Sequence[SegmentLine]
    n_lines: int


@dataclass(frozen=True)
class ScoreLine:
    """A row of a table of scores: what it is of, an anchor if there is one, and its figures as text."""

    name: str
    anchor: str | None
    cells: Sequence[str]


def write_segmentation_report(folder: Path, max_items: int = 20) -> Path:
    """Write ``report.html`` of a folder that `inmf segment` wrote: one file that needs no other and no network.

    Parameters
    ----------
    folder
        The folder.
    max_items
        How many recordings get pictures, players and reasons; the others are in the tables only.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    ConfigError
        The folder holds no segmentation that this version can read.
    ArgumentError
        ``max_items`` is negative.
    """
    if max_items < 0:
        raise ArgumentError("max_items is negative", got=max_items, expected="0 or more")
    content = _content(read_segmentation(folder), max_items)
    path = folder / "report.html"
    atomic_write(path, render_page("segmentation.html.j2", **content).encode("utf-8", "replace"))
    return path


def _content(found: SegmentationFolder, max_items: int) -> dict[str, Any]:
    record, scores = found.record, found.scores
    shown = dict(list(record.items.items())[:max_items])
    anchors = {name: f"item-{number}" for number, name in enumerate(shown, 1)}
    seconds = _excerpt(shown.values())
    picture, problem = _components(found)
    return {
        "record": record,
        "tiles": _tiles(found),
        "total": scores.total,
        "class_lines": [] if scores.total is None else _class_lines(scores.total, record.classes),
        "confusion": [] if scores.total is None else _confusion(scores.total, record.classes),
        "failures": list(scores.failures.items())[:_MOST_LINES],
        "n_failures": len(scores.failures),
        "components": picture,
        "components_problem": problem,
        "item_lines": [_item_line(found, name, anchors.get(name)) for name in list(record.items)[:_MOST_LINES]],
        "shown": [_item_section(found, name, item, anchors[name], seconds) for name, item in shown.items()],
        "settings": as_yaml(record.settings),
    }


def _tiles(found: SegmentationFolder) -> list[tuple[str, str, str]]:
    items, total, failures = found.record.items, found.scores.total, found.scores.failures
    remark = f"{len(failures)} failed" if failures else f"{len(found.record.classes)} classes"
    tiles = [(f"{len(items):,}", "recording" if len(items) == 1 else "recordings", remark)]
    tiles.append((tables.duration(sum(item.duration for item in items.values())), "audio", "segmented"))
    if total is not None and total.accuracy is not None:
        tiles.append((f"{100 * total.accuracy:.1f} %", "of frames right", f"of {total.frames:,} whose label is known"))
        known = [value for value in total.f1.values() if value is not None]
        if known:
            tiles.append((f"{np.mean(known):.3f}", "mean F1", "over classes"))
    return tiles


def _class_lines(total: ScoreRecord, classes: Sequence[str]) -> list[ScoreLine]:
    tables_of = (total.precision, total.recall, total.f1)
    return [ScoreLine(name, None, [_number(table.get(name)) for table in tables_of]) for name in classes]


def _confusion(total: ScoreRecord, classes: Sequence[str]) -> list[ScoreLine]:
    """Return the shares of each true class that were decided to be each class; empty where classes may overlap."""
    lines = []
    for name, row in zip(classes, total.confusion, strict=False):
        whole = sum(row)
        cells = [f"{100 * count / whole:.1f} %" if whole else tables.NOTHING for count in row]
        lines.append(ScoreLine(name, None, [*cells, f"{whole:,}"]))
    return lines


def _item_line(found: SegmentationFolder, name: str, anchor: str | None) -> ScoreLine:
    item, scores = found.record.items[name], found.scores.items.get(name)
    accuracy = f"{100 * scores.accuracy:.1f} %" if scores and scores.accuracy is not None else tables.NOTHING
    f1 = [_number(scores.f1.get(each) if scores else None) for each in found.record.classes]
    return ScoreLine(name, anchor, [tables.duration(item.duration), f"{len(item.segments):,}", accuracy, *f1])


def _number(value: float | None) -> str:
    return tables.NOTHING if value is None else f"{value:.3f}"


def _components(found: SegmentationFolder) -> tuple[Picture | None, str | None]:
    """Return the picture of relevance and templates, or why there is none."""
    classes = found.record.classes
    try:
        relevance = np.array([found.scores.relevance[name] for name in classes])
        learned = learned_parts(load_model(found.folder / "dictionary.safetensors"), ordered=False)
        # Side by side those that speak for the same class, the strongest first.
        best = relevance.argmax(0)
        order = np.lexsort((-relevance.max(0), best)).tolist()
        alt = (
            f"Relevance of {len(order)} components for {', '.join(classes)}, and their spectral templates from 0 to "
            f"{learned.top:g} hertz."
        )
        return draw_relevance(relevance, learned.templates, learned.top, classes, order, alt), None
    except Exception as error:  # A damaged dictionary must not cost the reader the rest.
        return None, reason_of(error)


def _excerpt(items: Iterable[ItemRecord]) -> float:
    """Return how many seconds of each recording the page can hold."""
    load = 0.0
    for item in items:
        try:
            info = audio_info(Path(item.audio))
        except (InmfError, OSError):
            continue
        load += min(info.sample_rate, PLAYABLE_RATES[1]) * min(info.channels, 2)
    return excerpt_seconds(load)


def _item_section(found: SegmentationFolder, name: str, item: ItemRecord, anchor: str, seconds: float) -> ItemSection:
    problems: list[str] = []
    notes: list[str] = []
    picture = sound = None
    try:
        picture = _timeline(found, name, item)
    except Exception as error:  # One damaged table must not cost the reader the others.
        problems.append(f"The picture cannot be drawn: {reason_of(error)}")
    try:
        excerpt = read_excerpt(Path(item.audio), seconds)
        if excerpt.cut:
            notes.append(f"the player has the first {excerpt.seconds:.0f} s of {excerpt.total:.1f} s")
        sound = player(excerpt)
        notes += [sound.note] if sound.note else []
    except Exception as error:  # See above.
        problems.append(f"It cannot be played here: {reason_of(error)}")
    scores = found.scores.items.get(name)
    facts = [tables.duration(item.duration), f"{len(item.segments):,} segments"]
    if scores is not None and scores.accuracy is not None:
        facts.append(f"{100 * scores.accuracy:.1f} % of {scores.frames:,} frames right")
    lines = [_segment_line(segment) for segment in item.segments[:_MOST_SEGMENTS]]
    return ItemSection(anchor, name, facts, picture, sound, notes, problems, lines, len(item.segments))


def _timeline(found: SegmentationFolder, name: str, item: ItemRecord) -> Picture:
    classes = found.record.classes
    times, probabilities = read_probabilities(found.folder / "probabilities" / f"{name}.csv", classes)
    number = {label: index for index, label in enumerate(classes)}
    rows = {"decided": [(s.start, s.stop, number[s.label]) for s in item.segments]}
    if item.truth is not None:
        rows["true"] = [(s.start, s.stop, number[s.label]) for s in item.truth if s.label in number]
    alt = f"Probabilities of {', '.join(classes)} over {item.duration:.2f} seconds; below, what was decided"
    alt += " and what is true." if item.truth is not None else "."
    return draw_timeline(times, probabilities, max(item.duration, float(times[-1])), classes, rows, alt)


def _segment_line(segment: SegmentRecord) -> SegmentLine:
    return SegmentLine(
        f"{segment.start:.2f}",
        f"{segment.stop:.2f}",
        segment.label,
        f"{100 * segment.probability:.0f} %",
        _reasons(dict(segment.components), 1),
        _reasons(dict(segment.components), -1),
    )


def _reasons(components: Mapping[int, float], sign: int) -> str:
    reasons = [(number, value) for number, value in components.items() if sign * value >= _LEAST_REASON]
    told = [f"{number} ({value:+.2f})".replace("-", "−") for number, value in reasons[:_MOST_REASONS]]
    return ", ".join(told) or tables.NOTHING
