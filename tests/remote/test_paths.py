"""Paths on object stores answer as paths of this machine do."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from inmf_flow.errors import ArgumentError
from inmf_flow.files import atomic_path, atomic_write, digest_file, remove_tree
from inmf_flow.remote import RemotePath, as_path, join_path, listed

NAMES = [
    "a.wav",
    "b.flac",
    "sub/a.wav",
    "sub/deep/c.wav",
    "sub/deep/d[1].wav",
    "spaces and ü/#e%20?.wav",
    "sub2/.hidden.wav",
]
PATTERNS = [
    "*",
    "*.wav",
    "sub/*",
    "**/*.wav",
    "*/deep/*.wav",
    "sub/**/c.*",
    "s*/[ab].wav",
    "s*/[!b].wav",
    "?.flac",
    "**",
]


def test_names_are_taken_apart_as_those_of_files() -> None:
    path = as_path("s3://bucket/a/b.tar.gz")
    assert (path.name, path.stem, path.suffix, str(path.parent)) == ("b.tar.gz", "b.tar", ".gz", "s3://bucket/a")
    assert path.parts == ("s3://bucket", "a", "b.tar.gz")
    assert path.relative_to("s3://bucket").as_posix() == "a/b.tar.gz"
    assert str(path / "../c") == "s3://bucket/a/c"
    assert str(path.with_name("x")) == str(path.parent / "x") == "s3://bucket/a/x"
    assert path.is_relative_to(as_path("s3://bucket/a"))
    assert not path.is_relative_to(as_path("s3://bucket/a/b"))
    with pytest.raises(ValueError, match="not below"):
        path.relative_to("s3://other/a")


def test_urls_survive_what_path_does_to_slashes_and_local_paths_stay_paths() -> None:
    assert as_path(Path("s3://bucket/a")) == as_path("s3://bucket//a/./") == RemotePath("s3://bucket/a")
    assert type(as_path("a/b")) is type(Path("a/b"))
    assert join_path(Path("/x"), "s3://bucket/a") == RemotePath("s3://bucket/a")
    assert RemotePath("s3://bucket/a") / "/etc" == Path("/etc")
    assert pickle.loads(pickle.dumps(RemotePath("s3://bucket/a"))) == RemotePath("s3://bucket/a")


@pytest.mark.parametrize("url", ["s3://", "s3:///key", "s3://b!d/key"])
def test_a_url_without_a_bucket_is_an_error(url: str) -> None:
    with pytest.raises(ArgumentError, match="names no bucket"):
        as_path(url)


def test_what_only_knows_files_of_this_machine_refuses_them() -> None:
    with pytest.raises(TypeError):
        os.listdir(RemotePath("s3://bucket/a"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_find_what_they_find_in_a_folder(place: RemotePath, tmp_path: Path, pattern: str) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        atomic_write(place / name, name)
    local = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob(pattern) if path.is_file()}
    if pattern == "**":
        # The one difference: for pathlib this names folders alone.
        local = set(NAMES)
    found = [path for path in place.glob(pattern) if path.is_file()]
    assert {path.relative_to(place).as_posix() for path in found} == local
    assert all(path.read_text() == path.relative_to(place).as_posix() for path in found)


def test_folders_are_there_while_they_hold_something(place: RemotePath) -> None:
    assert not place.exists()
    assert list(place.iterdir()) == []
    atomic_write(place / "sub" / "x", "1")
    assert (place.is_dir(), (place / "sub").is_dir(), (place / "sub").is_file()) == (True, True, False)
    assert ((place / "sub" / "x").is_file(), (place / "sub" / "x").is_dir()) == (True, False)
    assert [(path.name, path.is_dir()) for path in place.iterdir()] == [("sub", True)]
    with pytest.raises(OSError, match="not empty"):
        (place / "sub").rmdir()
    (place / "sub" / "x").unlink()
    assert not place.exists()
    with pytest.raises(FileNotFoundError):
        (place / "sub" / "x").unlink()
    (place / "sub" / "x").unlink(missing_ok=True)


def test_removing_a_tree_leaves_its_neighbours(place: RemotePath) -> None:
    for name in ("a/x", "a/y/z", "ab/x"):
        atomic_write(place / name, name)
    remove_tree(place / "a")
    assert [path.relative_to(place).as_posix() for path in place.rglob("*")] == ["ab", "ab/x"]


@pytest.mark.parametrize("size", [0, 1, 9 << 20])
def test_content_comes_back_with_its_size_and_digest(place: RemotePath, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "same").write_bytes(content)
    with atomic_path(place / "object") as temporary:
        temporary.write_bytes(content)
    assert (place / "object").read_bytes() == content
    assert (place / "object").stat().st_size == size
    assert digest_file(place / "object") == digest_file(tmp_path / "same")


def test_a_write_that_breaks_off_leaves_what_was_there(place: RemotePath) -> None:
    atomic_write(place / "object", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(place / "object") as temporary:
        temporary.write_bytes(b"half" * (1 // 0))
    assert (place / "object").read_text() == "old"
    assert len(list(place.rglob("*"))) == 1


def test_a_stamp_tells_contents_of_one_size_and_second_apart(place: RemotePath) -> None:
    stamps = set()
    for content in ("one", "two", "six"):
        atomic_write(place / "object", content)
        stamps.add((place / "object").stat().st_mtime_ns)
    assert len(stamps) == 3


def test_a_missing_bucket_is_said_to_be_missing(server: object) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such bucket at http://127"):
        list(as_path("s3://nobody-has-this/x").iterdir())
    with pytest.raises(FileNotFoundError, match="there is no such bucket"):
        atomic_write("s3://nobody-has-this/x", "1")


def test_refused_credentials_name_the_variables(rclone: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(PermissionError, match=r"refuses access \(SignatureDoesNotMatch\): check the AWS_"):
        as_path("s3://corpora/x").read_bytes()


def test_an_endpoint_without_encryption_has_to_be_allowed(moto: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(OSError, match="set AWS_ALLOW_HTTP=true"):
        as_path("s3://corpora/x").read_bytes()


def test_a_server_that_is_not_there_is_tried_for_as_long_as_is_said(
    moto: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("INMF_S3_PATIENCE", "0.5")
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        as_path("s3://corpora/x").read_bytes()
    monkeypatch.setenv("INMF_S3_PATIENCE", "long")
    with pytest.raises(ArgumentError, match="no number of seconds"):
        as_path("s3://corpora/x").read_bytes()


def test_without_obstore_the_command_to_install_it_is_said_once_it_is_needed() -> None:
    program = (
        "import sys; sys.modules['obstore'] = None\n"
        "from inmf_flow.cli import main\n"
        "main(['store', 'info', 's3://bucket/points.zarr'])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "pip install 'inmf-flow[s3]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_request_is_tried_again_until_the_server_is_back(own_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INMF_S3_PATIENCE", "60")
    path = as_path("s3://corpora/x")
    atomic_write(path, "still there")
    own_server.stop()
    back = threading.Timer(0.5, own_server.start)
    back.start()
    assert path.read_text() == "still there"
    back.join()


def test_many_questions_cost_a_listing(moto: Any, moto_place: RemotePath) -> None:
    paths = [moto_place / f"{number:02d}.wav" for number in range(30)]
    for path in paths[:-1]:
        atomic_write(path, str(path))
    before = moto.requests()
    with listed([Path("/local"), *paths]):
        assert [path.stat().st_size for path in paths[:-1]] == [len(str(path)) for path in paths[:-1]]
        assert not paths[-1].is_file()
        asked = moto.requests() - before
        assert (asked["LIST"], asked["HEAD"]) == (1, 0)
        atomic_write(paths[-1], "new")
        assert paths[-1].stat().st_size == 3
    atomic_write(paths[0], "changed")
    assert paths[0].stat().st_size == 7
