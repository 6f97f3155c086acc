"""Benchmark results: one JSON file that every benchmark adds to, the bars they are held to, and a table.

What transforms cost has no bar: it is a section of its own, which transform_table.py knows.

Called as a program this puts the table of results.json into docs/performance.md.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results.json"
PAGE = RESULTS.parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclass(frozen=True)
class Bar:
    """What a case is held to: at least, or at most, so much."""

    title: str
    bar: float
    aim: float
    at_least: bool = True

    def met(self, figure: float | None) -> bool:
        """Return whether a figure meets the bar; None is a figure that could not be had."""
        return self._is_within(figure, self.bar)

    def verdict(self, figure: float | None) -> str:
        """Return ``"aim"``, ``"bar"`` or ``"no"``: the best that a figure meets."""
        return "aim" if self._is_within(figure, self.aim) else "bar" if self.met(figure) else "no"

    def worst_first(self, figure: float | None) -> float:
        """Return a key that sorts figures from the worst to the best."""
        if figure is None:
            return -math.inf
        return figure if self.at_least else -figure

    def _is_within(self, figure: float | None, limit: float) -> bool:
        if figure is None:
            return False
        return figure >= limit if self.at_least else figure <= limit


BARS = {
    "notes-hat": Bar("(a) two notes, K=2, `hat`: opponent's time over ours", 1000, 3000),
    "notes-network": Bar("(a) two notes, K=2, `network`: opponent's time over ours", 50, 150),
    "speech-hat": Bar("(b) speech, K=20, `hat`: opponent's time over ours", 250, 500),
    "speech-network": Bar("(b) speech, K=20, `network`: opponent's time over ours", 10, 30),
    "frozen-hat": Bar("(b) templates frozen at 2000, `hat`: divergence over that of matrix NMF", 1.06, 1.03, False),
    "frozen-network": Bar(
        "(b) templates frozen at 2000, `network`: divergence over that of matrix NMF", 1.06, 1.03, False
    ),
    "scikit-learn": Bar("plain STFT, matrix: scikit-learn's time over ours", 1, 3),
    "torchnmf": Bar("plain STFT, matrix: torchnmf's time over ours", 1, 3),
    "floor-hat": Bar("(b) one iteration, `hat`: time over the arithmetic floor", 2.5, 1.5, False),
    "floor-matrix": Bar("(b) one iteration, `matrix`: time over the arithmetic floor", 2.5, 1.5, False),
    "gpu-batch": Bar("(b) 256 clips in one batch on a GPU, 120 iterations: clips a second", 1000, 5000),
    "memory": Bar("one hour of audio: peak memory over that of five minutes", 1.3, 1.1, False),
}


@dataclass
class Entry:
    """One measured figure; ``detail`` has what it was made of."""

    case: str
    clip: str
    figure: float | None
    met: bool
    machine: dict[str, Any] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class Summary:
    """What a case comes to over its clips; None where a figure could not be had for most clips, or for the worst."""

    case: str
    figures: int
    median: float | None
    worst: float | None
    worst_clip: str
    bar: float
    aim: float
    met: str


def entry(case: str, clip: str, figure: float | None, **detail: Any) -> Entry:
    """Return an entry held to its case's bar; figures that are not finite become None."""
    if figure is not None and not math.isfinite(figure):
        figure = None
    rounded = None if figure is None else float(f"{figure:.4g}")
    return Entry(case, clip, rounded, BARS[case].met(figure), machine(), _plain(detail))


def load(path: Path = RESULTS) -> list[Entry]:
    """Read a results file's entries; none where there is no file."""
    return [Entry(**one) for one in _document(path)["entries"]]


def save(entries: Iterable[Entry], path: Path = RESULTS, *, clear: Iterable[str] = ()) -> None:
    """Write entries into a results file; those there of the same case and clip, or of a case to clear, are dropped."""
    new = {(one.case, one.clip): one for one in entries}
    dropped = set(clear)
    kept = [one for one in load(path) if one.case not in dropped and (one.case, one.clip) not in new]
    order = list(BARS)
    rows = sorted([*kept, *new.values()], key=lambda one: (order.index(one.case), one.clip))
    summary = [asdict(one) for one in summarize(rows)]
    _write(path, {**_document(path), "summary": summary, "entries": [asdict(one) for one in rows]})


def load_section(name: str, path: Path = RESULTS) -> Any:
    """Read another part of a results file, as it was written; None where there is none."""
    return _document(path).get(name)


def save_section(name: str, value: Any, path: Path = RESULTS) -> None:
    """Write another part of a results file, and leave the rest as it is."""
    _write(path, {**_document(path), name: _plain(value)})


def summarize(entries: Iterable[Entry]) -> list[Summary]:
    """Return each measured case's median over its clips and its worst clip, in the order of the bars."""
    by_case: dict[str, list[Entry]] = {}
    for one in entries:
        by_case.setdefault(one.case, []).append(one)
    return [_summary(case, by_case[case]) for case in BARS if case in by_case]


def _summary(case: str, entries: list[Entry]) -> Summary:
    bar = BARS[case]
    keys = [bar.worst_first(one.figure) for one in entries]
    middle = statistics.median(keys)
    median = float(f"{abs(middle):.4g}") if math.isfinite(middle) else None
    worst = entries[keys.index(min(keys))]
    return Summary(case, len(entries), median, worst.figure, worst.clip, bar.bar, bar.aim, bar.verdict(median))


def table(entries: Iterable[Entry]) -> str:
    """Return a Markdown table, a row for each case, and under it what was measured on."""
    entries = list(entries)
    rows = ["| case | median | worst | figures | bar | aim | met |", "|---|---:|---:|---:|---:|---:|---|"]
    measured = {one.case: one for one in summarize(entries)}
    for case, bar in BARS.items():
        sign = "≥" if bar.at_least else "≤"
        limits = f"{sign} {bar.bar:g} | {sign} {bar.aim:g}"
        if case in measured:
            one = measured[case]
            figures = f"{_short(one.median)} | {_short(one.worst)} | {one.figures}"
            rows.append(f"| {bar.title} | {figures} | {limits} | {one.met} |")
        else:
            rows.append(f"| {bar.title} | not measured | | 0 | {limits} | |")
    return "\n".join([*rows, "", *_machines(entries)])


def clip_table(entries: Iterable[Entry]) -> str:
    """Return a Markdown table, a row for each case and clip."""
    rows = ["| case | clip | figure | met |", "|---|---|---:|---|"]
    rows += [
        f"| {one.case} | {one.clip} | {_short(one.figure)} | {BARS[one.case].verdict(one.figure)} |" for one in entries
    ]
    return "\n".join(rows)


def write_table(entries: Iterable[Entry], page: Path = PAGE) -> None:
    """Put the tables between a page's two markers; `ValueError` where it does not have both, in their order."""
    write_between(page, BEGIN, END, table(entries))


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put text between a page's two markers; `ValueError` where it does not have both, in their order."""
    head, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, last, tail = rest.partition(end)
    if not first or not last:
        raise ValueError(f"{page} has no {begin} with {end} after it")
    _replace(page, f"{head}{begin}\n\n{text.rstrip()}\n\n{end}{tail}")


def machine() -> dict[str, Any]:
    """Return what figures depend on besides the code."""
    import numpy as np
    import torch

    model = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        named = [line.split(":", 1)[1].strip() for line in cpu_info.read_text().splitlines() if "model name" in line]
        model = named[0] if named else model
    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    return {"processor": model, "cores": os.cpu_count(), **versions}


def machine_sentence(where: dict[str, Any]) -> str:
    """Return a machine in words: processor, Python and NumPy."""
    return f"{where['processor']} ({where['cores']} cores), Python {where['python']}, NumPy {where['numpy']}"


def _machines(entries: list[Entry]) -> list[str]:
    """Return a sentence for each machine and set of versions, with its cases where there are several."""
    cases: dict[str, list[str]] = {}
    for one in entries:
        text = f"{machine_sentence(one.machine)}, PyTorch {one.machine['torch']}"
        # Where a figure was taken on an accelerator, the processor matters little.
        text = f"{one.detail['device']}, {text}" if one.case.startswith("gpu") else text
        if one.case not in cases.setdefault(text, []):
            cases[text].append(one.case)
    if len(cases) == 1:
        return [f"Measured on {next(iter(cases))}."]
    return [f"Measured on {text}: {', '.join(names)}.\n" for text, names in cases.items()]


def _short(figure: float | None) -> str:
    if figure is None:
        return "none"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _document(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"format": 2, "summary": [], "entries": []}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    _replace(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: short numbers, and None in place of infinities."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


if __name__ == "__main__":
    if not RESULTS.exists():
        raise SystemExit(f"error: there is no {RESULTS.name} yet; benchmarks/fit_speed.py writes it")
    write_table(load())
    print(f"the table is in {PAGE.parent.name}/{PAGE.name}")
