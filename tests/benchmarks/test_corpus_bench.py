from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.mark.full
def test_a_small_corpus_is_measured_against_the_bare_loop(repository: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "results.json", tmp_path / "page.md"
    page.write_text("before\n<!-- corpora: begin -->\nold\n<!-- corpora: end -->\nafter\n")
    places = [f"--folder={tmp_path / 'corpus'}", f"--scratch={tmp_path}", f"--out={out}", f"--page={page}"]
    outcome = subprocess.run(
        [sys.executable, "benchmarks/corpus.py", "--case=runs", "--clips=3", "--turns=1", *places],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    measured = json.loads(out.read_text())["corpora"]
    assert set(measured) == {"speed", "tax", "scaling"}
    # Of three clips the run is mostly its start: it cannot take less than what it does.
    assert measured["tax"]["figure"] > measured["tax"]["over_program"] > 1
    text = page.read_text()
    assert text.startswith("before")
    assert "over that of a bare loop" in text
    assert "old" not in text


def test_the_corpus_is_the_same_each_time_and_no_two_clips_are_alike(load_benchmark, tmp_path: Path) -> None:
    corpus = load_benchmark("corpus_set")
    seconds = corpus.write_corpus(tmp_path / "a", 6)
    corpus.write_corpus(tmp_path / "b", 6)
    clips = [soundfile.read(path)[0] for path in sorted((tmp_path / "a" / "mixtures").iterdir())]
    again = [soundfile.read(path)[0] for path in sorted((tmp_path / "b" / "mixtures").iterdir())]
    assert all(np.array_equal(one, other) for one, other in zip(clips, again, strict=True))
    assert sum(map(len, clips)) / 16000 == pytest.approx(seconds)
    assert all(3 <= len(clip) / 16000 <= 10 and np.abs(clip).max() > 0.05 for clip in clips)
    assert len({len(clip) for clip in clips}) == len(clips)


def test_figures_of_other_cases_stay_when_one_is_measured_again(load_benchmark, tmp_path: Path) -> None:
    table, path = load_benchmark("corpus_table"), tmp_path / "results.json"
    table.save({"speed": {"figure": 100.0}, "tax": {"figure": 1.1}}, path)
    table.save({"tax": {"figure": 1.3}}, path)
    rows = table.table(table.load(path)).splitlines()
    assert "| separation on two workers, the whole run: times real time | 100 | ≥ 60 | ≥ 150 | bar |" in rows
    assert "| CPU time of the run over that of a bare loop | 1.3 | ≤ 1.2 | ≤ 1.08 | no |" in rows


def test_the_documentation_shows_what_was_measured_of_corpora(load_benchmark, tmp_path: Path) -> None:
    table = load_benchmark("corpus_table")
    fresh = tmp_path / "performance.md"
    fresh.write_text(table.results.PAGE.read_text("utf-8"), "utf-8")
    table.write_table(table.load(), fresh)
    assert fresh.read_text("utf-8") == table.results.PAGE.read_text("utf-8")
