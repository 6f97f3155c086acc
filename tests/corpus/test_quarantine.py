"""What could not be used is listed with the reason, the same for the same failures, and read back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow.corpus import Quarantined, Recording, probe, read_quarantine, write_quarantine
from inmf_flow.errors import ArgumentError

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["a\r", '"', "a,b", "\udcff.wav", ""])
_ROWS = st.builds(
    Quarantined,
    _TEXT,
    _TEXT,
    _TEXT,
    _TEXT,
    st.none() | st.integers(0),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(_ROWS, max_size=5), st.randoms(use_true_random=False))
def test_rows_are_read_back_in_one_order_whatever_the_order_they_came_in(
    tmp_path: Path, rows: list[Quarantined], shuffle: random.Random
) -> None:
    path = tmp_path / "quarantine.csv"
    write_quarantine(path, rows)
    content = path.read_bytes()
    back = read_quarantine(path)
    assert set(back) == set(rows)
    assert len(back) == len(set(rows))
    again = [*rows, *rows]
    shuffle.shuffle(again)
    write_quarantine(path, again)
    assert path.read_bytes() == content


def test_rows_are_sorted_and_say_what_the_file_was(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"xyz")
    rows = [
        Quarantined.of(Recording("b", tmp_path / "b.wav"), "separate", "not\naudio,  at all"),
        Quarantined.of(Recording("a", tmp_path / "none.wav"), "separate", "there is no such file"),
    ]
    write_quarantine(tmp_path / "quarantine.csv", rows)
    a, b = read_quarantine(tmp_path / "quarantine.csv")
    assert (a.item, a.size, a.mtime) == ("a", None, None)
    assert (b.item, b.reason, b.size) == ("b", "not audio, at all", 3)
    assert b.mtime == (tmp_path / "b.wav").stat().st_mtime
    assert (tmp_path / "quarantine.csv").read_text().startswith("item,path,stage,reason,size,mtime\na,")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.csv"
    write_quarantine(path, [Quarantined("a", "a.wav", "separate", "bad")])
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_quarantine(path, [Quarantined("b", "\ud800.wav", "separate", "bad")])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "this is not a table of quarantined recordings; got an empty file"),
        ("item,path\n", "this is not a table of quarantined recordings"),
        ("item,path,stage,reason,size,mtime\na,b,c\n", r"csv:2: a row of the quarantine is wrong"),
        ("item,path,stage,reason,size,mtime\na,b,c,d,many,\n", r"csv:2: a row of the quarantine is wrong"),
        ('item,path,stage,reason,size,mtime\na,"b\n', "this is not a table of quarantined recordings"),
    ],
)
def test_another_table_is_refused(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "q.csv").write_text(content)
    with pytest.raises(ArgumentError, match=what):
        read_quarantine(tmp_path / "q.csv")
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_quarantine(tmp_path / "none.csv")


def test_recordings_that_can_be_used_are_found_so(speech: dict[str, Path]) -> None:
    assert probe(Recording("a", speech["mixture"])) is None
    assert probe(Recording("a", speech["mixture"], 1.0, 2.0)) is None


def test_recordings_that_cannot_be_used_have_a_reason(tmp_path: Path, speech: dict[str, Path]) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "cut.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    cases: list[tuple[str | Path, tuple[float, ...], str]] = [
        ("empty.wav", (), "the audio file is empty"),
        ("text.wav", (), "the file cannot be read as audio"),
        ("cut.wav", (), "the file cannot be read as audio"),
        ("folder.wav", (), "a folder is not an audio file"),
        ("none.wav", (), "there is no such audio file"),
        ("nul\0.wav", (), "there is no such audio file"),
        ("loop.wav", (), "cannot be reached"),
        ("x" * 300, (), "cannot be reached"),
        (speech["mixture"], (3600.0,), "the segment holds no audio"),
        (speech["mixture"], (0.0, 3600.0), "the segment ends after the audio"),
    ]
    for path, limits, reason in cases:
        start, stop = (*limits, None, None)[:2]
        found = probe(Recording("a", tmp_path / path, start, stop))
        assert found is not None
        assert reason in found
