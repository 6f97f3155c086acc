"""What corpora are held to, and the table of it in docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import results
from results import Bar

BEGIN, END = "<!-- corpora: begin -->", "<!-- corpora: end -->"
SECTION = "corpora"

BARS = {
    "speed": Bar("separation on two workers, the whole run: times real time", 60, 150),
    "tax": Bar("CPU time of the run over that of a bare loop", 1.20, 1.08, False),
    "scaling": Bar("stage of separation: one worker's time over that of two", 1.8, 1.95),
    "store-write": Bar("points store, writing: MB/s of float32", 100, 200),
    "store-read": Bar("points store, reading: MB/s of float32", 250, 500),
    "store-files": Bar("points store: files an hour of audio", 20, 8, False),
    "memory": Bar("separation of 10 hours: peak memory over that of 10 minutes", 1.2, 1.05, False),
    "driver-time": Bar("driver, simulated tasks, largest corpus: milliseconds an item", 6, 1, False),
    "driver-memory": Bar("driver, simulated tasks, largest corpus: peak memory, MB", 1000, 300, False),
    "second-run": Bar("second run with nothing to do, 10,000 items: seconds", 10, 2, False),
}


def save(figures: dict[str, dict[str, Any]], path: Path = results.RESULTS) -> None:
    """Put figures into a results file; other cases that are there stay.

    Parameters
    ----------
    figures
        From a case to its ``figure`` and what it was made of; the machine is added.
    """
    known = results.load_section(SECTION, path) or {}
    new = {case: {**values, "machine": results.machine()} for case, values in figures.items()}
    merged = {**known, **new}
    results.save_section(SECTION, {case: merged[case] for case in BARS if case in merged}, path)


def load(path: Path = results.RESULTS) -> dict[str, dict[str, Any]]:
    """Read a results file's figures by case."""
    return results.load_section(SECTION, path) or {}


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table, a row for each case, and under it what was measured on."""
    rows = ["| case | figure | bar | aim | met |", "|---|---:|---:|---:|---|"]
    for case, bar in BARS.items():
        sign = "≥" if bar.at_least else "≤"
        limits = f"{sign} {bar.bar:g} | {sign} {bar.aim:g}"
        if case in figures:
            figure = figures[case]["figure"]
            rows.append(f"| {bar.title} | {figure:.3g} | {limits} | {bar.verdict(figure)} |")
        else:
            rows.append(f"| {bar.title} | not measured | {limits} | |")
    places = dict.fromkeys(results.machine_sentence(one["machine"]) for one in figures.values())
    return "\n".join([*rows, "", *(f"Measured on {place}." for place in places)])


def write_table(figures: dict[str, dict[str, Any]], page: Path = results.PAGE) -> None:
    """Put the table between a page's two markers; `ValueError` where it does not have both, in their order."""
    results.write_between(page, BEGIN, END, table(figures))
