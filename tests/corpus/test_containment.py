"""A manifest names only files below its root, whatever its paths and the links there are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow.corpus import Manifest, ManifestError, find_recordings, read_manifest
from inmf_flow.errors import ConfigError


@pytest.fixture(name="corpus")
def corpus_fixture(tmp_path: Path) -> Path:
    """A folder of lists and audio beside a folder that is none of its business, with links between them."""
    corpus = tmp_path / "corpus"
    for name in ("corpus/lists", "corpus/audio/sub", "secret/sub", "corpus-2"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("corpus/audio/a.wav", "corpus/audio/sub/b.wav", "secret/s.wav", "secret/sub/t.wav", "corpus-2/n.wav"):
        (tmp_path / name).touch()
    (corpus / "audio" / "inner").symlink_to("sub")
    (corpus / "audio" / "link.wav").symlink_to("sub/b.wav")
    (corpus / "audio" / "out.wav").symlink_to(tmp_path / "secret" / "s.wav")
    (corpus / "audio" / "out").symlink_to("../../secret")
    (corpus / "audio" / "twice.wav").symlink_to("out.wav")
    (corpus / "audio" / "dead.wav").symlink_to("../../secret/none.wav")
    (corpus / "audio" / "deep").symlink_to("sub/../out/sub")
    (corpus / "audio" / "loop").symlink_to("loop")
    (corpus / "up").symlink_to("..")
    return corpus


def listed(manifest: Path, *paths: str) -> Path:
    manifest.write_text("".join(json.dumps({"audio": path, "item": str(n)}) + "\n" for n, path in enumerate(paths)))
    return manifest


@pytest.mark.parametrize(
    "path",
    [
        "audio/a.wav",
        "./audio//a.wav",
        "audio/sub/../a.wav",
        "audio/inner/b.wav",
        "audio/inner/../a.wav",
        "audio/link.wav",
        "audio/none.wav",
        "none/none.wav",
        "up/corpus/audio/a.wav",
        "../corpus/audio/a.wav",
        "audio/..a.wav",
        "audio/a..wav",
    ],
)
def test_paths_that_stay_below_the_root_are_taken(corpus: Path, path: str) -> None:
    (recording,) = read_manifest(listed(corpus / "list.jsonl", path))
    assert recording.path.resolve().is_relative_to(corpus.resolve())


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("../secret/s.wav", "goes up by '..'"),
        ("audio/../../secret/s.wav", "goes up by '..'"),
        ("../corpus-2/n.wav", "goes up by '..'"),
        ("..", "goes up by '..'"),
        ("/etc/passwd", "is an absolute path"),
        ("//etc/passwd", "is an absolute path"),
        ("audio/out.wav", "is or passes a symbolic link"),
        ("audio/twice.wav", "is or passes a symbolic link"),
        ("audio/dead.wav", "is or passes a symbolic link"),
        ("audio/out/s.wav", "is or passes a symbolic link"),
        ("audio/out/none.wav", "is or passes a symbolic link"),
        ("audio/deep/t.wav", "is or passes a symbolic link"),
        ("audio/inner/../../../secret/s.wav", "goes up by '..'"),
        ("up/secret/s.wav", "is or passes a symbolic link"),
        # As text this stays; as the file system goes, it is /../secret's parent.
        ("audio/out/../s.wav", "is or passes a symbolic link"),
    ],
)
def test_paths_that_lead_out_are_refused_unless_that_is_allowed(corpus: Path, path: str, way: str) -> None:
    manifest = listed(corpus / "list.jsonl", "audio/a.wav", path)
    with pytest.raises(ManifestError) as caught:
        read_manifest(manifest)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{manifest}:2: audio {path!r} {way}")
    assert f"leads out of the root '{corpus.resolve()}': set 'root', or 'allow_outside: true'" in problem
    assert len(read_manifest(manifest, allow_outside=True)) == 2


def test_a_root_of_its_own_bounds_paths_that_start_from_the_manifest(corpus: Path) -> None:
    manifest = listed(corpus / "lists" / "list.jsonl", "../audio/a.wav", str(corpus / "audio" / "sub" / "b.wav"))
    assert len(read_manifest(manifest, root=corpus)) == 2
    assert len(read_manifest(manifest, root="/")) == 2
    with pytest.raises(ManifestError, match="2: audio") as caught:
        read_manifest(listed(manifest, "../audio/a.wav", "list.wav"), root=corpus / "audio")
    assert len(caught.value.problems) == 1
    with pytest.raises(ConfigError, match="the root of a manifest is not a folder"):
        read_manifest(manifest, root=corpus / "none")


def test_roots_and_manifests_behind_links_are_where_they_lead(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(corpus)
    manifest = listed(corpus / "list.jsonl", "audio/a.wav", str(corpus / "audio" / "a.wav"))
    assert len(read_manifest(tmp_path / "alias" / "list.jsonl")) == 2
    assert len(read_manifest(manifest, root=tmp_path / "alias")) == 2


def test_a_manifest_in_the_working_folder_is_contained_too(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    listed(Path("list.jsonl"), "audio/a.wav")
    assert [str(recording.path) for recording in read_manifest("list.jsonl")] == ["audio/a.wav"]
    listed(Path("list.jsonl"), "../secret/s.wav")
    with pytest.raises(ManifestError, match="leads out of the root"):
        find_recordings(["list.jsonl"], "corpus.mixtures")


def test_allowing_outside_still_refuses_what_is_no_path(corpus: Path) -> None:
    manifest = listed(corpus / "list.jsonl", "gs://bucket/a.wav", "a\0b.wav", "sub\\a.wav")
    with pytest.raises(ManifestError) as caught:
        find_recordings([Manifest(manifest, allow_outside=True)], "corpus.mixtures")
    assert len(caught.value.problems) == 3


_STEP = st.sampled_from(
    ["audio", "sub", "inner", "out", "up", "deep", "loop", "corpus", "secret", "..", ".", "", "a.wav", "link.wav"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.lists(_STEP, min_size=1, max_size=8), st.booleans())
def test_no_path_of_steps_leads_out(corpus: Path, steps: list[str], absolute: bool) -> None:
    path = "/".join([str(corpus)] * absolute + steps)
    try:
        recordings = read_manifest(listed(corpus / "list.jsonl", path))
    except ManifestError:
        # Refused: it is empty, or the file system says that it leads out.
        real = os.path.realpath(corpus / path)
        assert not path.strip() or not f"{real}/".startswith(f"{corpus.resolve()}/")
    else:
        assert f"{os.path.realpath(recordings[0].path)}/".startswith(f"{corpus.resolve()}/")
