"""Files are whole or not there, whoever dies and however many write."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.files import (
    TEMPORARY_MARK,
    atomic_path,
    atomic_write,
    digest_bytes,
    digest_file,
    exclusive_write,
    temporary_name,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"\x00\xff\r\n", "Grüße\n"])
def test_atomic_write_writes_what_it_is_given_and_makes_folders(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    atomic_write(str(path), content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(path.parent) == ["a.txt"]


def test_the_old_content_is_there_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        # A rename, and not a copy, needs the same file system.
        assert temporary.parent == path.parent
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("before", [None, "old"])
def test_an_error_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException], before: str | None) -> None:
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_text(before)

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        write()
    assert names(tmp_path) == ([] if before is None else ["a.txt"])
    assert before is None or path.read_text() == before


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_target_that_is_a_folder_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        atomic_write(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == []


def test_the_first_error_is_heard_where_the_temporary_file_is_gone_too(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            temporary.unlink()
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        write()


def test_a_killed_writer_leaves_the_old_file_and_a_leftover_that_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from inmf_flow.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert [name.startswith(TEMPORARY_MARK) for name in names(tmp_path)] == [True, False]


def test_readers_see_one_whole_content_while_writers_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = [bytes([number]) * 200_000 for number in range(4)]
    atomic_write(path, contents[0])
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    def write(content: bytes) -> None:
        for _ in range(10):
            atomic_write(path, content)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert seen <= set(contents)
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("letter", ["x", "é", "語", "𝄞"])
def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path, letter: str) -> None:
    longest = letter * (255 // len(letter.encode()))
    atomic_write(tmp_path / longest, "content")
    assert names(tmp_path) == [longest]
    (tmp_path / longest).unlink()
    assert exclusive_write(tmp_path / longest, "content")
    assert names(tmp_path) == [longest]


def test_temporary_names_differ_and_are_recognised(tmp_path: Path) -> None:
    found = {temporary_name(tmp_path / "a.wav") for _ in range(1000)}
    assert len(found) == 1000
    for path in found:
        assert path.parent == tmp_path
        assert path.name.startswith(TEMPORARY_MARK)
        # Who chooses a format by the suffix chooses the right one.
        assert path.suffix == ".wav"


def test_exclusive_write_creates_once_and_never_changes(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.json"
    assert exclusive_write(str(path), "first") is True
    assert exclusive_write(path, b"second") is False
    assert path.read_text() == "first"
    assert names(path.parent) == ["a.json"]


def test_exclusive_write_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert exclusive_write(tmp_path / "link", "content") is False
    assert names(tmp_path) == ["link"]


RACE = """
import sys, time
from pathlib import Path
from inmf_flow.files import exclusive_write
folder, me = Path(sys.argv[1]), sys.argv[2]
(folder / f"ready-{me}").touch()
while len(list(folder.glob("ready-*"))) < 4:
    time.sleep(0.001)
for number in range(40):
    if exclusive_write(folder / "out" / str(number), me * 5000):
        print(number)
"""


def test_of_several_processes_exactly_one_creates_each_file(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path), me], stdout=subprocess.PIPE, text=True)
        for me in "abcd"
    ]
    won = {me: run.communicate(timeout=60)[0].split() for me, run in zip("abcd", runs, strict=True)}
    assert [run.returncode for run in runs] == [0] * 4
    assert sorted(number for numbers in won.values() for number in numbers) == sorted(map(str, range(40)))
    for me, numbers in won.items():
        for number in numbers:
            assert (tmp_path / "out" / number).read_text() == me * 5000
    assert len(names(tmp_path / "out")) == 40


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_digests_of_parts_tell_where_one_part_ends(one: list[bytes], other: list[bytes]) -> None:
    assert (digest_bytes(*one) == digest_bytes(*other)) == (one == other)
    assert len(digest_bytes(*one)) == 32


def test_the_same_bytes_cut_elsewhere_have_another_digest() -> None:
    assert len({digest_bytes(b"ab", b"c"), digest_bytes(b"a", b"bc"), digest_bytes(b"abc"), digest_bytes()}) == 4


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_digest_of_a_file_is_that_of_its_whole_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert digest_file(tmp_path / "a") == hashlib.blake2b(content, digest_size=16).hexdigest()
    assert digest_file(str(tmp_path / "a")) == digest_file(tmp_path / "a")


def test_exclusive_write_works_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    assert exclusive_write(tmp_path / "record", b"first")
    assert not exclusive_write(tmp_path / "record", b"second")
    assert (tmp_path / "record").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["record"]
