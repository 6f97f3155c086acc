"""Paths, folders and patterns name the files that users mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inmf_flow.corpus import find_files
from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK

Tree = Callable[..., Path]


@pytest.fixture(name="tree")
def tree_fixture(tmp_path: Path) -> Tree:
    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def found(folder: Path, *patterns: str) -> list[str]:
    paths = find_files([folder / pattern if pattern else folder for pattern in patterns], "corpus.mixtures")
    return [path.relative_to(folder).as_posix() for path in paths]


def test_recordings_of_this_repository_are_found(audio_dir: Path) -> None:
    assert {path.name for path in find_files([audio_dir / "speech"], "x")} >= {"male_test.flac", "female_test.flac"}
    assert [path.name for path in find_files([f"{audio_dir}/**/male_t*.flac"], "x")] == [
        "male_test.flac",
        "male_train.flac",
    ]


def test_a_plain_path_is_kept_even_when_nothing_is_there(tree: Tree) -> None:
    assert found(tree("a.wav"), "missing.wav", "a.wav", "no/such/folder/b.wav") == [
        "missing.wav",
        "a.wav",
        "no/such/folder/b.wav",
    ]


def test_a_plain_path_that_no_file_can_have_is_kept_too(tree: Tree) -> None:
    name = "x" * 300 + ".wav"
    assert found(tree(), name) == [name]


def test_a_plain_path_may_have_any_suffix(tree: Tree) -> None:
    assert found(tree("notes.txt", "a"), "notes.txt", "a") == ["notes.txt", "a"]


def test_a_folder_means_all_audio_below_it(tree: Tree) -> None:
    folder = tree("b/c/2.flac", "b/1.wav", "a.OGG", "notes.txt", "b/cover.jpg", "noext", "folder.wav/3.mp3")
    assert found(folder, "") == ["a.OGG", "b/1.wav", "b/c/2.flac", "folder.wav/3.mp3"]


def test_hidden_and_temporary_files_are_passed_over(tree: Tree) -> None:
    folder = tree(
        "a.wav",
        ".b.wav",
        "._a.wav",
        ".trash/c.wav",
        "x/.cache/y/d.wav",
        f"{TEMPORARY_MARK}0123-e.wav",
        f"{TEMPORARY_MARK}0123-part/f.wav",
    )
    assert found(folder, "") == ["a.wav"]
    assert found(folder, "*") == ["a.wav"]
    assert found(folder, "*.wav") == ["a.wav"]
    assert found(folder, "**/*.wav") == ["a.wav"]


def test_hidden_files_are_found_when_they_are_meant(tree: Tree) -> None:
    folder = tree(".secret/a.wav", ".b.wav", f"{TEMPORARY_MARK}0123-e.wav")
    assert found(folder, ".secret") == [".secret/a.wav"]
    assert found(folder, ".secret/*.wav") == [".secret/a.wav"]
    assert found(folder, ".b.wav") == [".b.wav"]
    assert found(folder, ".*.wav") == [".b.wav"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["a1.wav", "a2.wav"]),
        ("a?.wav", ["a1.wav", "a2.wav"]),
        ("a[2-9].wav", ["a2.wav"]),
        ("a[!2].wav", ["a1.wav"]),
        ("*", ["a1.wav", "a2.wav", "b.flac"]),
        ("*.*", ["a1.wav", "a2.wav", "b.flac"]),
        ("*.[wf]*", ["a1.wav", "a2.wav", "b.flac"]),
        ("*/c.wav", ["x/c.wav"]),
        ("**/c.wav", ["x/c.wav", "x/y/c.wav"]),
        ("**", ["a1.wav", "a2.wav", "b.flac", "x/c.wav", "x/y/c.wav"]),
        # A suffix that is written out is meant, audio or not.
        ("*.txt", ["n.txt"]),
    ],
)
def test_patterns(tree: Tree, pattern: str, expected: list[str]) -> None:
    folder = tree("a1.wav", "a2.wav", "b.flac", "n.txt", "x/c.wav", "x/y/c.wav", "folder.wav/readme")
    assert found(folder, pattern) == expected


def test_brackets_in_the_names_of_files_are_taken_at_their_word(tree: Tree) -> None:
    folder = tree("song [live].wav", "song l.wav", "what?.wav", "whats.wav")
    assert found(folder, "song [live].wav") == ["song [live].wav"]
    assert found(folder, "what?.wav") == ["what?.wav"]
    # Nothing of that name: now it is a pattern.
    assert found(folder, "song [xl].wav") == ["song l.wav"]


def test_brackets_in_the_names_of_folders_are_taken_at_their_word(tree: Tree) -> None:
    folder = tree("take [1]/a.wav", "take [1]/b.wav", "take 1/c.wav", "take [1]/*x/d.wav", "take [1]/yx/e.wav")
    assert found(folder, "take [1]/*.wav") == ["take [1]/a.wav", "take [1]/b.wav"]
    assert found(folder, "take [1]") == ["take [1]/*x/d.wav", "take [1]/a.wav", "take [1]/b.wav", "take [1]/yx/e.wav"]
    assert found(folder, "take [1]/*x/*.wav") == ["take [1]/*x/d.wav"]
    assert found(folder, "take [1]/**/[de].wav") == ["take [1]/*x/d.wav", "take [1]/yx/e.wav"]
    assert found(folder, "take ?/*.wav") == ["take 1/c.wav"]


def test_relative_patterns_are_of_the_working_folder(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree("x[1]/a.wav", "x[1]/b.wav"))
    assert find_files(["x[1]/*.wav"], "AUDIO") == [Path("x[1]/a.wav"), Path("x[1]/b.wav")]
    assert find_files(["*/a.wav", "./x[1]/a.wav"], "AUDIO") == [Path("x[1]/a.wav")]


def test_each_file_is_named_once_in_the_order_of_the_patterns(tree: Tree) -> None:
    folder = tree("c.wav", "a.wav", "b.wav")
    assert found(folder, "c.wav", "*.wav", "", "a.wav") == ["c.wav", "a.wav", "b.wav"]


def test_links_to_files_are_files(tree: Tree) -> None:
    folder = tree("store/a.wav")
    (folder / "links").mkdir()
    os.symlink(folder / "store" / "a.wav", folder / "links" / "b.wav")
    os.symlink(folder / "nowhere.wav", folder / "links" / "dead.wav")
    assert found(folder, "links") == ["links/b.wav"]
    assert found(folder, "links/*.wav") == ["links/b.wav"]


@pytest.mark.parametrize("pattern", ["*.flac", "none/*.wav", "empty", "**/x*.wav", "take [12].wav"])
def test_a_pattern_or_folder_without_audio_is_an_error_that_names_it(tree: Tree, pattern: str) -> None:
    folder = tree("a.wav", "empty/notes.txt")
    with pytest.raises(ConfigError, match=r"^corpus\.mixtures: no audio file matches") as caught:
        found(folder, "a.wav", pattern)
    assert caught.value.got == repr(str(folder / pattern))
