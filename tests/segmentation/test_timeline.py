from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import ArgumentError
from inmf_flow.segmentation import (
    Segment,
    frame_clock,
    frame_labels,
    frame_segments,
    read_segments,
    without_short_runs,
    write_segments,
)

CLASSES = ["speech", "music"]


@pytest.mark.parametrize("suffix", ["csv", "txt", "rttm"])
def test_segments_survive_a_file_of_each_kind(tmp_path: Path, suffix: str) -> None:
    segments = [Segment(0.0, 1.25, "speech"), Segment(1.0, 2.5, "music"), Segment(2.5, 3.0, "speech")]
    write_segments(tmp_path / f"one take.{suffix}", segments)
    assert read_segments(tmp_path / f"one take.{suffix}") == segments


def test_labels_as_audacity_exports_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0.5\t1.5\tspeech\n\\\t100.0\t200.0\n2\t3\tmusic\n")
    assert read_segments(tmp_path / "a.txt") == [Segment(0.5, 1.5, "speech"), Segment(2, 3, "music")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "start,stop,label\n0,1,speech\n2,1,music\n", "line 3"),
        ("a.csv", "start,stop,label\n0,one,speech\n", "no numbers"),
        ("a.csv", "start,stop\n0,1\n", "no column 'label'"),
        ("a.txt", "0.5 1.5 speech\n", "too few fields"),
        ("a.rttm", "SPEAKER a 1 zero 1 <NA> <NA> x\n", "no line of RTTM"),
        ("a.json", "[]", "not known"),
    ],
)
def test_a_wrong_file_of_labels_is_told_where_it_is_wrong(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ArgumentError, match=said):
        read_segments(tmp_path / name)


def test_a_missing_file_of_labels_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_segments(tmp_path / "none.csv")


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(ArgumentError, match="not among the classes"):
        frame_labels([Segment(0, 1, "noise")], frame_clock(1, 10), CLASSES)


@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=40))
def test_frames_become_segments_and_these_the_same_frames(rows: list[list[bool]]) -> None:
    marked = np.array(rows)
    segments = frame_segments(marked, 20.0, CLASSES)
    assert np.array_equal(frame_labels(segments, frame_clock(len(rows) / 20, 20.0), CLASSES), marked)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 8))
def test_no_decision_is_shorter_than_asked_for(choices: list[int], least: int) -> None:
    marked = np.eye(3, dtype=bool)[choices]
    kept = without_short_runs(marked, least)
    assert (kept.sum(1) == 1).all()
    lengths = np.diff([0, *(np.flatnonzero(np.diff(kept.argmax(1))) + 1), len(kept)])
    assert len(lengths) == 1 or lengths.min() >= least
    # What is long enough already stays.
    if len(np.unique(choices)) == 1 or least == 1:
        assert np.array_equal(kept, marked)


def by_definition(marked: np.ndarray, least: int) -> np.ndarray:
    """`without_short_runs` word by word, looking at everything each time."""
    kept = marked.copy()
    while least > 1:
        edges = np.concatenate([[0], np.flatnonzero((kept[1:] != kept[:-1]).any(1)) + 1, [len(kept)]])
        lengths = np.diff(edges)
        if len(lengths) < 2 or lengths.min() >= least:
            break
        shortest = int(lengths.argmin())
        kept[edges[shortest] : edges[shortest + 1]] = kept[edges[shortest] - 1 if shortest else edges[1]]
    return kept


@given(st.lists(st.integers(0, 7), min_size=1, max_size=80), st.integers(1, 9))
def test_short_runs_go_in_the_order_that_is_promised(choices: list[int], least: int) -> None:
    marked = (np.array(choices)[:, None] >> np.arange(3)) % 2 == 1
    assert np.array_equal(without_short_runs(marked, least), by_definition(marked, least))


def test_hours_of_decisions_that_flicker_are_smoothed() -> None:
    # Ten hours; a way that looks at everything for each run would take minutes.
    marked = np.eye(3, dtype=bool)[np.random.default_rng(0).integers(0, 3, 900_000)]
    kept = without_short_runs(marked, 10)
    assert np.diff(np.flatnonzero((kept[1:] != kept[:-1]).any(1))).min() >= 10
    assert without_short_runs(np.zeros((0, 3), bool), 10).shape == (0, 3)
