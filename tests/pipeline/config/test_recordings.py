"""Entries of `corpus.mixtures` and `sources.*.audio`, and segments: what they may say, and what is said of faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inmf_flow.pipeline.config import ManifestEntry, Pipeline, pipeline_from_mapping

Load = Callable[..., Pipeline]
Problems = Callable[..., list[str]]

BEGIN = "name: n\ntransforms: {t: toy}\nsources: {s: {audio: a.wav}}\n"


def test_one_entry_or_a_list_of_them(load: Load) -> None:
    corpus = "corpus: {mixtures: %s}\n"
    entry = ManifestEntry(manifest="a.csv", root="data")
    assert load(BEGIN + corpus % "a.jsonl").corpus.mixtures == ("a.jsonl",)
    assert load(BEGIN + corpus % "{manifest: a.csv, root: data}").corpus.mixtures == (entry,)
    several = load(BEGIN + corpus % "[a.wav, {manifest: a.csv, root: data}, b]").corpus.mixtures
    assert several == ("a.wav", entry, "b")


def test_entries_and_segments_read_back_from_json(load: Load, tmp_path: Path) -> None:
    text = BEGIN.replace("a.wav", "[a.wav, {manifest: b.CSV, allow_outside: true}]")
    pipeline = load(text + "corpus: {mixtures: {manifest: a.jsonl}, segments: {seconds: 10, overlap: 5}}\n")
    data = pipeline.as_json()
    assert data["corpus"]["segments"] == {"seconds": 10.0, "overlap": 5.0}
    assert data["sources"]["s"]["audio"] == ["a.wav", {"manifest": "b.CSV", "root": None, "allow_outside": True}]
    assert pipeline_from_mapping(data, tmp_path).as_json() == data


def test_paths_may_be_objects_in_python(load: Load, tmp_path: Path) -> None:
    pipeline = pipeline_from_mapping(
        {
            "name": "n",
            "transforms": {"t": "toy"},
            "sources": {"s": {"audio": tmp_path / "a.csv"}},
            "corpus": {"mixtures": [{"manifest": tmp_path / "a.csv", "root": tmp_path}]},
        }
    )
    assert pipeline.sources["s"].audio == (str(tmp_path / "a.csv"),)
    assert pipeline.corpus.mixtures == (ManifestEntry(manifest=str(tmp_path / "a.csv"), root=str(tmp_path)),)


# Each: what `corpus` is at line 4, and what must be said of it.
@pytest.mark.parametrize(
    ("corpus", "what"),
    [
        (
            "{mixtures: 5}",
            "20: corpus.mixtures must be text, a mapping or a list of these with at least 1 entry, "
            "got 5: put it in quotes",
        ),
        ("{mixtures: [5]}", "21: corpus.mixtures[0] must be text or a mapping, got 5: put it in quotes"),
        ("{mixtures: ['']}", "21: corpus.mixtures[0] must be text that is not empty, got ''"),
        ("{mixtures: {}}", "10: the key 'manifest' is missing in corpus.mixtures, expected text"),
        (
            "{mixtures: {manifst: a.csv}}",
            "21: unknown key 'manifst' in corpus.mixtures, did you mean 'manifest'?",
        ),
        (
            "{mixtures: [a.wav, {manifest: a.csv, rot: x}]}",
            "46: unknown key 'rot' in corpus.mixtures[1], did you mean 'root'?",
        ),
        (
            "{mixtures: {manifest: a.txt}}",
            "31: corpus.mixtures.manifest must be the path of a manifest, which ends in .jsonl or .csv, got 'a.txt'",
        ),
        ("{mixtures: {manifest: 3}}", "31: corpus.mixtures.manifest must be text, got 3: put it in quotes"),
        (
            "{mixtures: {manifest: a.csv, allow_outside: maybe}}",
            "53: corpus.mixtures.allow_outside must be true or false, got 'maybe'",
        ),
        (
            "{mixtures: [a.wav, {manifest: a.csv, root: x, allow_outside: true}]}",
            "28: corpus.mixtures[1]: 'root' has no meaning where 'allow_outside' is true, expected only one of them",
        ),
        ("{mixtures: a, segments: 6}", "33: corpus.segments must be a mapping or null, got 6"),
        ("{mixtures: a, segments: {seconds: 0.5}}", "43: corpus.segments.seconds must be a number at least 1, got 0.5"),
        (
            "{mixtures: a, segments: {overlap: 6}}",
            "23: the key 'seconds' is missing in corpus.segments, expected a number at least 1",
        ),
        (
            "{mixtures: a, segments: {seconds: 10, overlap: 6}}",
            "33: corpus.segments: 'overlap' is 6, expected at most 5, half of 'seconds'",
        ),
    ],
)
def test_faults_are_said_with_their_place(problems: Problems, corpus: str, what: str) -> None:
    assert problems(f"{BEGIN}corpus: {corpus}\n") == [f"p.yaml:4:{what}"]
