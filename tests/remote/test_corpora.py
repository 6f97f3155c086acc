"""Patterns, folders and manifests on object stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from inmf_flow.corpus import Manifest, ManifestError, find_recordings, read_manifest, write_manifest
from inmf_flow.errors import ConfigError
from inmf_flow.files import atomic_write
from inmf_flow.remote import RemotePath

NAMES = ("mix/a.flac", "mix/b.flac", "mix/.hidden.flac", "mix/sub/a.flac", "mix/notes.txt")


@pytest.fixture
def corpus(moto_place: RemotePath) -> RemotePath:
    for name in NAMES:
        atomic_write(moto_place / name, name)
    return moto_place


def _found(entry: object) -> dict[str, str]:
    return {each.item: each.file for each in find_recordings([entry], "corpus.mixtures")}  # type: ignore[list-item]


@pytest.mark.parametrize("entry", ["mix/*.flac", "mix/**/*.flac", "mix", "mix/*", "mix/b.flac", "mix/none.flac"])
def test_what_is_found_is_named_as_in_a_folder(corpus: RemotePath, tmp_path: Path, entry: str) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    local = {item: path.removeprefix(f"{tmp_path}/") for item, path in _found(tmp_path / entry).items()}
    for spelling in (corpus / entry, f"{corpus}/{entry}"):
        assert {item: path.removeprefix(f"{corpus}/") for item, path in _found(spelling).items()} == local


def test_a_pattern_without_a_match_and_a_bucket_that_is_not_there_are_errors_of_the_key(corpus: RemotePath) -> None:
    with pytest.raises(ConfigError, match=r"corpus\.mixtures: no audio file matches"):
        _found(corpus / "mix/*.ogg")
    with pytest.raises(ConfigError, match=r"corpus\.mixtures: there is no such bucket"):
        _found("s3://nobody-has-this/*.wav")


def test_a_manifest_there_names_what_is_beside_it(corpus: RemotePath) -> None:
    rows = ['{"audio": "a.flac", "speaker": "Ada"}', '{"audio": "sub/a.flac", "start": 1, "stop": 2.5}']
    atomic_write(corpus / "mix/list.jsonl", "\n".join([*rows, f'{{"audio": "{corpus}/mix/b.flac"}}']))
    found = read_manifest(corpus / "mix/list.jsonl")
    assert [each.file.removeprefix(f"{corpus}/") for each in found] == ["mix/a.flac", "mix/sub/a.flac", "mix/b.flac"]
    assert found[0].metadata == {"speaker": "Ada"}
    assert (found[1].start, found[1].stop) == (1, 2.5)
    write_manifest(corpus / "mix/again.csv", found)
    assert [each.file for each in read_manifest(corpus / "mix/again.csv")] == [each.file for each in found]


def test_rows_stay_below_the_manifest_unless_they_may_leave(corpus: RemotePath) -> None:
    rows = ["audio", "../other/z.wav", "s3://other/x.wav", "/etc/x.wav", "sub/../../../../x.wav", "s3://"]
    atomic_write(corpus / "mix/list.csv", "\n".join(rows))
    with pytest.raises(ManifestError) as caught:
        read_manifest(corpus / "mix/list.csv")
    assert len(caught.value.problems) == 5
    assert "goes up by '..' and leads out of the root" in caught.value.problems[0]
    assert "is an object of a store and leads out of the root" in caught.value.problems[1]
    atomic_write(corpus / "mix/list.csv", "\n".join(rows[:-1]))
    outside = [each.file for each in read_manifest(corpus / "mix/list.csv", allow_outside=True)]
    assert outside == [f"{corpus}/other/z.wav", "s3://other/x.wav", "/etc/x.wav", "s3://corpora/x.wav"]


def test_rows_of_a_local_manifest_lead_to_a_store_where_that_is_allowed(corpus: RemotePath, tmp_path: Path) -> None:
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(f'{{"audio": "{corpus}/mix/a.flac"}}\n')
    with pytest.raises(ManifestError, match="is an object of a store and leads out of the root"):
        read_manifest(manifest)
    with pytest.raises(ManifestError, match="leads out of the root"):
        read_manifest(manifest, root=f"{corpus}/mi")
    for found in (read_manifest(manifest, root=corpus / "mix"), find_recordings([Manifest(manifest, None, True)], "x")):
        assert [each.file for each in found] == [f"{corpus}/mix/a.flac"]
