from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_quick_run_measures_every_size(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    outcome = subprocess.run(
        [sys.executable, "benchmarks/dictionary_size.py", "--quick", "--out", str(out)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    scores = json.loads(out.read_text())["dictionary_size"]["scores"]
    assert [one["size"] for one in scores] == ["0.05 min", "0.1 min", "own"]
    assert all(one["divergence"] > 0 for one in scores)
    assert "| 0.1 min | 1 |" in outcome.stdout


def test_no_corpus_holds_a_speaker_of_its_scene(load_benchmark, tmp_path: Path) -> None:
    sizes = load_benchmark("dictionary_size")
    folder = tmp_path / "set"
    pairs = [
        ("a", "f", "x", "m"),
        ("b", "f", "y", "m"),
        ("a", "f", "y", "m"),
        ("a", "f", "b", "f"),
        ("c", "f", "x", "m"),
    ]
    for number, (one, one_sex, other, other_sex) in enumerate(pairs, 20):
        (folder / f"{number:03d}").mkdir(parents=True)
        sources = [{"speaker": one, "sex": one_sex}, {"speaker": other, "sex": other_sex}]
        (folder / f"{number:03d}" / "meta.json").write_text(json.dumps({"sources": sources}))
    recordings, scenes = sizes.read_set(folder)
    assert [scene.name for scene in scenes] == ["020", "021", "022", "024"]
    for scene in scenes:
        for sex in "fm":
            found = sizes.corpus(recordings, scene, sex, seed=0)
            assert {one.sex for one in found} == {sex}
            assert not {one.speaker for one in found} & scene.speakers
            # One recording of each speaker comes before a second of any.
            speakers = [one.speaker for one in found]
            assert len(set(speakers[: len(set(speakers))])) == len(set(speakers))
