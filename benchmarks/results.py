"""Benchmark results: one JSON file that every benchmark adds to, the bars they are held to, and a table."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results.json"


@dataclass(frozen=True)
class Bar:
    """What a case is held to: at least, or at most, so much."""

    title: str
    bar: float
    aim: float
    at_least: bool = True

    def met(self, figure: float | None) -> bool:
        """Return whether a figure meets the bar; None is a figure that could not be had."""
        if figure is None:
            return False
        return figure >= self.bar if self.at_least else figure <= self.bar


BARS = {
    "notes-hat": Bar("(a) two notes, K=2, hat: opponent's time over ours", 1000, 3000),
    "notes-network": Bar("(a) two notes, K=2, network: opponent's time over ours", 50, 150),
    "speech-hat": Bar("(b) speech, K=20, hat: opponent's time over ours", 250, 500),
    "speech-network": Bar("(b) speech, K=20, network: opponent's time over ours", 10, 30),
    "frozen-hat": Bar("templates frozen at 2000, hat: divergence over fitted matrix NMF", 1.06, 1.03, False),
    "frozen-network": Bar("templates frozen at 2000, network: divergence over fitted matrix NMF", 1.06, 1.03, False),
    "scikit-learn": Bar("plain STFT, matrix: scikit-learn's time over ours", 1, 3),
    "torchnmf": Bar("plain STFT, matrix: torchnmf's time over ours", 1, 3),
    "floor-hat": Bar("(b) MU iteration, hat: time over the arithmetic floor", 2.5, 1.5, False),
    "floor-matrix": Bar("(b) MU iteration, matrix: time over the arithmetic floor", 2.5, 1.5, False),
    "gpu-batch": Bar("(b) 256 clips in one batch, 120 iterations: clips a second", 1000, 5000),
}


@dataclass
class Entry:
    """One measured figure; ``detail`` has what it was made of."""

    case: str
    clip: str
    figure: float | None
    bar: float
    aim: float
    met: bool
    detail: dict[str, Any] = field(default_factory=dict)


def entry(case: str, clip: str, figure: float | None, **detail: Any) -> Entry:
    """Return an entry with its case's bar; figures that are not finite become None."""
    if figure is not None and not math.isfinite(figure):
        figure = None
    bar = BARS[case]
    rounded = None if figure is None else float(f"{figure:.4g}")
    return Entry(case, clip, rounded, bar.bar, bar.aim, bar.met(figure), _plain(detail))


def save(entries: Iterable[Entry], path: Path = RESULTS, *, clear: Iterable[str] = ()) -> None:
    """Write entries into a results file; those there of the same case and clip, or of a case to clear, are dropped."""
    new = {(one.case, one.clip): asdict(one) for one in entries}
    old = json.loads(path.read_text())["entries"] if path.exists() else []
    dropped = set(clear)
    kept = [one for one in old if one["case"] not in dropped and (one["case"], one["clip"]) not in new]
    order = list(BARS)
    rows = sorted([*kept, *new.values()], key=lambda one: (order.index(one["case"]), one["clip"]))
    document = {"format": 1, "machine": machine(), "entries": rows}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, path)


def table(entries: Iterable[Entry]) -> str:
    """Return the figures as a Markdown table, a row for each clip."""
    lines = ["| case | clip | figure | bar | aim | met |", "|---|---|---:|---:|---:|---|"]
    for one in entries:
        bar = BARS[one.case]
        sign = "≥" if bar.at_least else "≤"
        figure = "none" if one.figure is None else f"{one.figure:.4g}"
        limits = f"{sign} {one.bar:g} | {sign} {one.aim:g}"
        lines.append(f"| {bar.title} | {one.clip} | {figure} | {limits} | {'yes' if one.met else 'no'} |")
    return "\n".join(lines)


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


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: short numbers, and None in place of infinities."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
