"""The page on corpora shows what is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inmf_flow.corpus import ManifestError, Recording, read_manifest

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(name="page", scope="module")
def page_fixture(repository: Path) -> list[tuple[str, str]]:
    """The language and the text of every block of the page."""
    return _FENCE.findall((repository / "docs" / "corpora.md").read_text(encoding="utf-8"))


def test_the_two_examples_of_a_manifest_list_the_same(page: list[tuple[str, str]], tmp_path: Path) -> None:
    (lines,) = (text for kind, text in page if kind == "json")
    (rows,) = (text for kind, text in page if text.startswith("audio,"))
    (tmp_path / "x.jsonl").write_text(lines)
    (tmp_path / "x.csv").write_text(rows)
    monday, tuesday = tmp_path / "talks" / "monday.flac", tmp_path / "talks" / "tuesday.flac"
    assert read_manifest(tmp_path / "x.jsonl") == [
        Recording("monday", monday, metadata={"speaker": "Ada", "age": 36}),
        Recording("tuesday@00012500-00080000", tuesday, 12.5, 80.0),
    ]
    assert read_manifest(tmp_path / "x.csv") == [
        Recording("monday", monday, metadata={"speaker": "Ada"}),
        Recording("tuesday@00012500-00080000", tuesday, 12.5, 80.0),
    ]


def test_faults_are_worded_as_the_page_has_them(
    page: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = (text for kind, text in page if text.startswith("list.jsonl:"))
    monkeypatch.chdir(tmp_path)
    good = '{"audio": "a.wav"}\n'
    lines = [
        good,
        '{"audio": "../secret.wav"}\n',
        good,
        '{"audio": "a.wav", "start": 80, "stop": 12.5, "tags": ["x"]}\n',
        good,
        good,
        '{"audio": "a.wav", "Start": 1}\n',
    ]
    Path("list.jsonl").write_text("".join(lines))
    with pytest.raises(ManifestError) as caught:
        read_manifest("list.jsonl")
    assert str(caught.value).replace(str(tmp_path.resolve()), "/data/mix") == shown.strip()


def test_the_example_in_python_runs(page: list[tuple[str, str]], tmp_path: Path, speech: dict[str, Path]) -> None:
    (script,) = (text for kind, text in page if kind == "python")
    shutil.copy(speech["mixture"], tmp_path / "mixture.flac")
    (tmp_path / "list.jsonl").write_text(
        '{"audio": "mixture.flac", "who": "both"}\n{"audio": "none.wav"}\n{"audio": "mixture.flac", "stop": 1}\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[0] == "mixture {'who': 'both'} (1, 64000)"
    assert "none none.wav: there is no such audio file" in printed
    assert printed[-1] == "mixture@00000000-00001000 {} (1, 16000)"
