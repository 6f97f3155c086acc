"""Names of recordings are safe as folders, unique on every file system, and the same in any order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inmf_flow.corpus import name_recordings

# Few letters, so that names meet often, and all that is hard: case, folding to two letters, dots, brackets, numbers.
PART = st.one_of(
    st.text("aAbß-_2. [", min_size=1, max_size=5),
    st.text(min_size=1, max_size=300),
    st.sampled_from(["a-a", "A-A.wav", "a-2", "ss", "語" * 84, "..wav", "\udcff"]),
).filter(lambda part: "/" not in part and "\0" not in part and part not in (".", ".."))
PATHS = st.lists(st.lists(PART, min_size=1, max_size=3).map(lambda parts: Path("/", *parts)), max_size=8)


def named(*paths: str) -> list[str]:
    return [recording.item for recording in name_recordings(map(Path, paths))]


@given(PATHS)
@example([Path("x/d/a.wav"), Path("y/D/A.wav"), Path("z/d-a.wav-2.wav")])
@example([Path("x/a.wav"), Path("y/x-a.wav"), Path("z/a.wav"), Path("x/y/x-a.wav")])
def test_names_are_unique_whatever_the_case(paths: list[Path]) -> None:
    recordings = name_recordings(paths)
    assert [recording.path for recording in recordings] == paths
    assert len({recording.item.casefold() for recording in recordings}) == len(paths)


@given(PATHS)
def test_names_are_safe_as_those_of_folders(paths: list[Path]) -> None:
    for recording in name_recordings(paths):
        name = recording.item
        assert name
        assert len(name.encode()) <= 210
        assert name not in (".", "..")
        assert name == name.strip(" .")
        assert not set(name) & set("/\\:*?\"<>|[]{}$`~&;!#%'\0\n\r\t")


@given(PATHS, st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order(paths: list[Path], random: object) -> None:
    paths = list(dict.fromkeys(paths))
    shuffled = paths.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {r.path: r.item for r in name_recordings(paths)} == {r.path: r.item for r in name_recordings(shuffled)}


@given(st.lists(st.text("abcÄ é", min_size=1, max_size=6).map(str.strip).filter(bool), unique_by=str.casefold))
def test_stems_that_differ_are_kept(stems: list[str]) -> None:
    assert named(*(f"/data/{stem}.wav" for stem in stems)) == stems


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x/a.wav", "y/a.wav", "y/b.wav"], ["x-a", "y-a", "b"]),
        (["x/a.wav", "x/a.flac"], ["a-2", "a"]),
        (["x/a.wav", "y/A.wav"], ["x-a", "y-A"]),
        (["1/x/a.wav", "2/x/a.wav", "3/x/a.wav"], ["a", "a-2", "a-3"]),
        (["2/x/a.wav", "1/x/a.wav"], ["a-2", "a"]),
        (["x/a.b.wav"], ["a.b"]),
        (["x/Grüße 語 (1), v+2=@.wav"], ["Grüße 語 (1), v+2=@"]),
        (["x/a[1]*?:|.wav"], ["a_1_____"]),
        (["x/ .wav"], ["unnamed"]),
        ([], []),
    ],
)
def test_examples(paths: list[str], expected: list[str]) -> None:
    assert named(*paths) == expected


def test_the_longest_names_that_meet_can_still_be_folders(tmp_path: Path) -> None:
    longest = "x" * 240
    for name in named(f"1/{longest}/{longest}.wav", f"2/{longest}/{longest}.wav", f"3/{longest}.wav"):
        (tmp_path / name).mkdir()
    assert len(list(tmp_path.iterdir())) == 3
