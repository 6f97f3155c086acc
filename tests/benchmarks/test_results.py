from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def results(load_benchmark) -> ModuleType:
    return load_benchmark("results")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "performance.md"
    path.write_text("# Performance\n\n<!-- results: begin -->\nold\n<!-- results: end -->\n\nProse.\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("figure", "verdict"), [(999, "no"), (1000, "bar"), (2999, "bar"), (3000, "aim"), (None, "no")]
)
def test_at_least(results, figure, verdict) -> None:
    assert results.BARS["notes-hat"].verdict(figure) == verdict


@pytest.mark.parametrize(("figure", "verdict"), [(1.07, "no"), (1.06, "bar"), (1.03, "aim"), (None, "no")])
def test_at_most(results, figure, verdict) -> None:
    assert results.BARS["frozen-hat"].verdict(figure) == verdict


def test_a_case_is_summed_up_by_its_median_and_its_worst_clip(results) -> None:
    fast = [results.entry("speech-hat", name, figure) for name, figure in [("a", 300.0), ("b", 700.0), ("c", 200.0)]]
    small = [results.entry("memory", name, figure) for name, figure in [("a", 1.0), ("b", 1.5), ("c", 1.2)]]
    speech, memory = results.summarize(small + fast)
    assert (speech.median, speech.worst, speech.worst_clip, speech.met) == (300.0, 200.0, "c", "bar")
    assert (memory.median, memory.worst, memory.worst_clip, memory.met) == (1.2, 1.5, "b", "bar")


def test_clips_that_never_got_there_count_as_the_worst(results) -> None:
    figures = [None, math.inf, 900.0, 800.0]
    (one,) = results.summarize(results.entry("speech-hat", str(n), figure) for n, figure in enumerate(figures))
    assert (one.median, one.worst, one.met, one.figures) == (None, None, "no", 4)


def test_new_figures_replace_those_of_the_same_clip_and_leave_others(results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.save([results.entry("torchnmf", "b", 1.0), results.entry("notes-hat", "a", 1.0)], path)
    results.save([results.entry("torchnmf", "b", 2.0), results.entry("torchnmf", "c", 4.0)], path)
    assert [(one.case, one.clip, one.figure) for one in results.load(path)] == [
        ("notes-hat", "a", 1.0),
        ("torchnmf", "b", 2.0),
        ("torchnmf", "c", 4.0),
    ]
    summary = json.loads(path.read_text())["summary"]
    assert [(one["case"], one["median"]) for one in summary] == [("notes-hat", 1.0), ("torchnmf", 3.0)]


def test_a_cleared_case_keeps_no_figure_of_other_clips(results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.save([results.entry("torchnmf", "old", 1.0), results.entry("memory", "old", 1.0)], path)
    results.save([results.entry("torchnmf", "new", 2.0)], path, clear={"torchnmf"})
    assert [(one.case, one.clip) for one in results.load(path)] == [("torchnmf", "new"), ("memory", "old")]


def test_details_that_json_cannot_hold_become_none(results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.save([results.entry("notes-hat", "a", math.nan, seconds=[0.123456, math.inf])], path)
    (one,) = results.load(path)
    assert one.figure is None
    assert one.detail == {"seconds": [0.1235, None]}


def test_the_table_has_a_row_for_every_case_measured_or_not(results) -> None:
    rows = results.table([results.entry("notes-hat", "a", 2345.6)]).splitlines()
    assert (
        rows[2]
        == "| (a) two notes, K=2, `hat`: opponent's time over ours | 2,346 | 2,346 | 1 | ≥ 1000 | ≥ 3000 | bar |"
    )
    assert sum("not measured" in row for row in rows) == len(results.BARS) - 1
    assert rows[-1].startswith("Measured on ")


def test_figures_of_several_machines_are_told_apart(results) -> None:
    gpu = results.entry("gpu-batch", "random", 4000.0, device="Big GPU")
    text = results.table([results.entry("notes-hat", "a", 1.0), gpu])
    assert [line for line in text.splitlines() if line.startswith("Measured on Big GPU") and "gpu-batch" in line]
    assert [line for line in text.splitlines() if line.startswith("Measured on") and line.endswith(": notes-hat.")]


def test_the_table_goes_between_the_markers_and_nowhere_else(results, page: Path) -> None:
    results.write_table([results.entry("notes-hat", "a", 5000.0)], page)
    text = page.read_text("utf-8")
    assert text.startswith("# Performance\n\n<!-- results: begin -->\n\n| case |")
    assert text.endswith("<!-- results: end -->\n\nProse.\n")
    assert "old" not in text
    results.write_table([results.entry("notes-hat", "a", 5000.0)], page)
    assert page.read_text("utf-8") == text


@pytest.mark.parametrize("text", ["no markers", "<!-- results: end --> <!-- results: begin -->"])
def test_a_page_without_its_markers_is_refused_and_left_alone(results, page: Path, text: str) -> None:
    page.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="results: begin"):
        results.write_table([], page)
    assert page.read_text("utf-8") == text


def test_the_documentation_shows_what_was_measured(results, tmp_path: Path) -> None:
    fresh = tmp_path / "performance.md"
    fresh.write_text(results.PAGE.read_text("utf-8"), "utf-8")
    results.write_table(results.load(), fresh)
    assert fresh.read_text("utf-8") == results.PAGE.read_text("utf-8")
