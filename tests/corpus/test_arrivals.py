"""Which files of a folder are there, and which of them are whole, by a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.corpus.arrivals import Arrivals, look


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_file_is_whole_when_it_has_stayed_the_same_for_long_enough(clock: Clock) -> None:
    arrivals = Arrivals(2.0, clock=clock)
    assert arrivals.take({"a.wav": (10, 1)}) == []
    clock.now += 1.9
    assert arrivals.take({"a.wav": (10, 1)}) == []
    clock.now += 0.1
    assert arrivals.take({"a.wav": (10, 1)}) == ["a.wav"]
    clock.now += 9
    assert arrivals.take({"a.wav": (10, 1)}) == []


@pytest.mark.parametrize("change", [(11, 1), (10, 2)])
def test_growing_or_being_written_over_begins_the_wait_anew(change: tuple[int, int], clock: Clock) -> None:
    arrivals = Arrivals(2.0, clock=clock)
    arrivals.take({"a.wav": (10, 1)})
    clock.now += 5
    assert arrivals.take({"a.wav": change}) == []
    assert arrivals.waiting == 1
    clock.now += 2
    assert arrivals.take({"a.wav": change}) == ["a.wav"]
    assert arrivals.waiting == 0


def test_the_time_of_change_may_be_of_another_clock(clock: Clock) -> None:
    arrivals = Arrivals(2.0, clock=clock)
    future = {"a.wav": (10, 10**19), "b.wav": (10, -5)}
    arrivals.take(future)
    clock.now += 2
    assert arrivals.take(future) == ["a.wav", "b.wav"]


def test_what_was_taken_in_an_earlier_process_is_not_taken_again_unless_it_changed(clock: Clock) -> None:
    arrivals = Arrivals(2.0, {"a.wav": (10, 1), "b.wav": (10, 1)}, clock)
    seen = {"a.wav": (10, 1), "b.wav": (12, 7)}
    arrivals.take(seen)
    clock.now += 2
    assert arrivals.take(seen) == ["b.wav"]


def test_what_goes_and_comes_again_is_waited_for_anew(clock: Clock) -> None:
    arrivals = Arrivals(2.0, clock=clock)
    arrivals.take({"a.wav": (10, 1)})
    clock.now += 1
    arrivals.take({})
    clock.now += 1
    assert arrivals.take({"a.wav": (10, 1)}) == []
    clock.now += 2
    assert arrivals.take({"a.wav": (10, 1)}) == ["a.wav"]


def test_without_a_settling_time_two_equal_looks_are_needed(clock: Clock) -> None:
    arrivals = Arrivals(0.0, clock=clock)
    assert arrivals.take({"a.wav": (10, 1)}) == []
    assert arrivals.take({"a.wav": (20, 1)}) == []
    assert arrivals.take({"a.wav": (20, 1)}) == ["a.wav"]


_LOOKS = st.lists(
    st.tuples(st.floats(0.1, 5.0), st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), max_size=3)), max_size=30
)


@given(_LOOKS)
def test_whatever_happens_each_content_is_taken_once_and_only_when_it_has_settled(
    looks: list[tuple[float, dict[str, int]]],
) -> None:
    clock = Clock()
    arrivals = Arrivals(2.0, clock=clock)
    same_since: dict[str, tuple[int, float]] = {}
    taken: dict[str, int] = {}
    for seconds, sizes in looks:
        clock.now += seconds
        for path in [*same_since]:
            if path not in sizes:
                del same_since[path]
        for path, size in sizes.items():
            if same_since.get(path, (0, 0.0))[0] != size:
                same_since[path] = size, clock.now
        found = arrivals.take({path: (size, 1) for path, size in sizes.items()})
        settled = {path for path, (_, since) in same_since.items() if clock.now - since >= 2.0}
        # What comes back as it was taken is no arrival.
        assert set(found) == {path for path in settled if taken.get(path) != sizes[path]}
        assert len(set(found)) == len(found)
        taken.update((path, sizes[path]) for path in found)


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Path]:
    def fill(*names: str) -> Path:
        for name in names:
            path = tmp_path / "incoming" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"sound")
        return tmp_path / "incoming"

    return fill


def test_files_of_all_depths_are_found_and_nothing_unfinished(fill: Callable[..., Path]) -> None:
    folder = fill(
        *("b.wav", "sub/deeper/a.FLAC", "notes.txt", ".c.wav", ".c.wav.Xq81Zt", "d.wav.part", "d.wav~", "~e.wav.tmp"),
        *("f.wav.crdownload", "g.wav.filepart", "h.partial", ".hidden/i.wav", "download.part/j.wav", "k.part.wav"),
    )
    (folder / "empty.wav").touch()
    (folder / "broken.wav").symlink_to("nowhere.wav")
    os.mkfifo(folder / "pipe.wav")
    found = look(folder)
    assert [Path(path).relative_to(folder).as_posix() for path in found] == ["b.wav", "k.part.wav", "sub/deeper/a.FLAC"]
    status = (folder / "b.wav").stat()
    assert found[str(folder / "b.wav")] == (status.st_size, status.st_mtime_ns)


def test_a_pattern_names_some_of_the_files(fill: Callable[..., Path]) -> None:
    folder = fill("one/mixture.wav", "one/voice.wav", "two/mixture.wav", "two/.mixture.wav")
    found = look(folder / "*" / "mixture.wav")
    assert [Path(path).parent.name for path in found] == ["one", "two"]


def test_a_folder_or_a_pattern_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert look(tmp_path / "later") == {}
    assert look(tmp_path / "later" / "*.wav") == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_read_is_no_empty_folder(fill: Callable[..., Path]) -> None:
    folder = fill("a.wav")
    folder.chmod(0)
    try:
        with pytest.raises(PermissionError):
            look(folder)
    finally:
        folder.chmod(0o700)
