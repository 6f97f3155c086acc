"""Pipelines over manifests: names, segments and metadata reach the results, and bad recordings the quarantine."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.corpus import read_quarantine

_MODELS = 'sources: {male: {model: "models/male.safetensors"}, female: {model: "models/female.safetensors"}}'


def items_of(project: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.output / "items.jsonl").read_text().splitlines()]


def with_models(project: Any, corpus: str, references: str = "references/{item}/{source}.wav") -> Any:
    """Let a finished project separate other mixtures with the models that it has."""
    shutil.copytree(project.output / "models", project.folder / "models")
    project.without_results()
    project.file.write_text(
        f"name: voices\ncorpus: {corpus}\ntransforms: {{fine: {{stft: {{n_fft: 512}}}}}}\n{_MODELS}\n"
        f"separate: {{max_iter: 5}}\nreport: {{items: 0}}\n"
        f'evaluate: {{references: "{references}", metrics: [si_sdr]}}\n'
    )
    return project


@pytest.fixture(name="long")
def long_fixture(project: Any, speech: dict[str, Path]) -> Any:
    """A project with one recording of 3.3 s at another rate than analysis, cut into segments of a second."""
    import soxr

    voices = {
        source: soxr.resample(soundfile.read(speech[f"{source}_test"], frames=52_800, dtype="float32")[0], 16000, 22050)
        for source in ("male", "female")
    }
    for source, voice in voices.items():
        (project.folder / "references" / "long").mkdir(exist_ok=True)
        soundfile.write(project.folder / f"references/long/{source}.wav", voice, 22050, subtype="FLOAT")
    soundfile.write(project.folder / "long.wav", sum(voices.values()), 22050, subtype="FLOAT")
    os.utime(project.folder / "long.wav", (1e9, 1e9))
    return with_models(project, "{mixtures: long.wav, sample_rate: 16000, segments: {seconds: 1}}")


def test_metadata_reaches_the_results_and_bad_recordings_the_quarantine(fresh: Any) -> None:
    (fresh.folder / "bad.flac").write_bytes((fresh.folder / "mixtures/one.flac").read_bytes()[:3000])
    (fresh.folder / "mixtures.csv").write_text(
        'audio,item,place\nmixtures/two.flac,two,"Köln, Dom"\nmixtures/wide.wav,wide,\nbad.flac,,Ulm\nnone.wav,,\n'
    )
    (fresh.folder / "male" / "list.jsonl").write_text(
        '{"audio": "b.wav", "age": 36, "item": "second"}\n{"audio": "a.wav", "start": 0.1, "stop": 1.1}\n'
    )
    for path in fresh.folder.rglob("*.*"):
        # Digests of files that may still be changing are taken again.
        os.utime(path, (time.time() - 3600,) * 2)
    settings = ["--set", "corpus.mixtures=mixtures.csv", "--set", "sources.male.audio={manifest: male/list.jsonl}"]
    done = fresh.run(*settings, code=1)
    assert "bad" in done.out
    assert fresh.document()["counts"]["separate"] == {"done": 2, "reused": 0, "failed": 2}
    assert {path.parent.name for path in (fresh.output / "separated").rglob("*.wav")} == {"two", "wide"}
    items = items_of(fresh)
    assert [(each["item"], each["source"]) for each in items] == [
        ("male/second", "male"),
        ("male/a@00000100-00001100", "male"),
        ("female/a", "female"),
        ("female/b", "female"),
        ("two", None),
        ("wide", None),
        ("bad", None),
        ("none", None),
    ]
    assert items[0]["metadata"] == {"age": 36}
    assert items[1] == {
        "item": "male/a@00000100-00001100",
        "source": "male",
        "path": "../../male/a.wav",
        "start": 0.1,
        "stop": 1.1,
        "metadata": {},
    }
    assert fresh.document()["items"]["two"]["metadata"] == {"place": "Köln, Dom"}
    assert fresh.document()["sources"]["male"]["files"] == ["../../male/b.wav", "../../male/a.wav"]
    quarantine = read_quarantine(fresh.output / "quarantine.csv")
    assert [(row.item, row.stage, row.size) for row in quarantine] == [
        ("bad", "separate", 3000),
        ("none", "separate", None),
    ]
    assert "no such audio file" in quarantine[1].reason

    before = fresh.stamps()
    assert "nothing new" in fresh.run(*settings, code=1).out
    assert {name for name, stamp in fresh.stamps().items() if before.get(name) != stamp} == set()

    # Another place of a recording computes nothing, and is in the results all the same; a file that is mended leaves.
    shutil.copy(fresh.folder / "mixtures/one.flac", fresh.folder / "bad.flac")
    text = (fresh.folder / "mixtures.csv").read_text()
    (fresh.folder / "mixtures.csv").write_text(text.replace("Köln, Dom", "Bonn").replace("none.wav,,\n", ""))
    shutil.copytree(fresh.folder / "references/one", fresh.folder / "references/bad")
    fresh.run(*settings)
    assert fresh.done() == {"separate": 1, "evaluate": 1, "report": 1}
    assert fresh.document()["items"]["two"]["metadata"] == {"place": "Bonn"}
    assert items_of(fresh)[4]["metadata"] == {"place": "Bonn"}
    assert not (fresh.output / "quarantine.csv").exists()


def test_metadata_alone_computes_nothing_and_is_written(project: Any) -> None:
    listed = '{{"audio": "mixtures/one.flac", "take": {}}}\n'
    (project.folder / "list.jsonl").write_text(listed.format(1))
    settings = ("--set", "corpus.mixtures=list.jsonl")
    project.run(*settings)
    # The item has the name and the content that it had.
    assert project.done() == {"report": 1}
    before = project.results()
    (project.folder / "list.jsonl").write_text(listed.format(2))
    assert "nothing to do" in project.run(*settings).out
    assert project.document()["items"]["one"]["metadata"] == {"take": 2}
    assert project.document()["status"] == "done"
    assert items_of(project)[-1]["metadata"] == {"take": 2}
    assert project.results() == before


def test_segments_are_items_and_together_the_file(long: Any) -> None:
    long.run()
    names = ["00000000-00001000", "00001000-00002000", "00002000-00002650", "00002650-00003300"]
    names = [f"long@{name}" for name in names]
    assert sorted(path.name for path in (long.output / "separated").iterdir()) == names
    assert long.done()["separate"] == long.done()["evaluate"] == 4
    mixture = soundfile.read(long.folder / "long.wav", dtype="float32")[0]
    estimates = {
        source: np.concatenate(
            [soundfile.read(long.output / f"separated/{name}/{source}.wav", dtype="float32")[0] for name in names]
        )
        for source in ("male", "female")
    }
    assert all(len(estimate) == len(mixture) for estimate in estimates.values())
    assert np.abs(sum(estimates.values()) - mixture).max() < 1e-5
    # Each is scored against its part of the references: against another part it would be far below 0 dB.
    rows = (long.output / "metrics.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == set(names)
    for source, estimate in estimates.items():
        truth = soundfile.read(long.folder / f"references/long/{source}.wav", dtype="float32")[0]
        assert np.corrcoef(truth, estimate)[0, 1] > 0.5
    assert min(float(row.split(",")[3]) for row in rows) > -20
    before = long.stamps()
    assert "nothing to do" in long.run().out
    assert long.stamps() == before
    # One is lost, and made again as it was.
    kept = long.results()
    (long.output / f"separated/{names[1]}/male.wav").unlink()
    long.run()
    assert long.done()["separate"] == 1
    assert long.results() == kept


@pytest.mark.full
def test_a_changed_line_does_its_own_segment_again(long: Any) -> None:
    early, late = '"item": "early", "stop": 1.3', '"item": "late", "start": 2'
    lines = [f'{{"audio": "long.wav", {which}}}\n' for which in (early, late)]
    (long.folder / "list.jsonl").write_text("".join(lines))
    shutil.copytree(long.folder / "references/long", long.folder / "references/late")
    shutil.copytree(long.folder / "references/long", long.folder / "references/early")
    settings = ("--set", "corpus={mixtures: list.jsonl}")
    long.run(*settings)
    before = long.files()
    (long.folder / "list.jsonl").write_text(lines[0].replace("1.3", "1.4") + lines[1])
    done = long.run("--why", *settings)
    assert "early: changed: segment" in done.out
    assert long.done() == {"separate": 1, "evaluate": 1, "report": 1}
    after = long.files()
    assert after["separated/late/male.wav"] == before["separated/late/male.wav"]
    assert len(after["separated/early/male.wav"]) - len(before["separated/early/male.wav"]) == 4 * 2205
    assert {name: item["start"] for name, item in long.document()["items"].items()} == {"early": None, "late": 2.0}


@pytest.mark.parametrize(
    "way", ["link.wav", *(pytest.param(way, marks=pytest.mark.full) for way in ("../../outside.wav", "{outside}"))]
)
def test_what_leads_out_of_the_root_is_refused(fresh: Any, tmp_path: Path, inmf: Any, way: str) -> None:
    outside = tmp_path / "outside.wav"
    shutil.copy(fresh.folder / "mixtures/wide.wav", outside)
    (fresh.folder / "lists").mkdir()
    (fresh.folder / "lists" / "link.wav").symlink_to(outside)
    audio = way.replace("{outside}", str(outside))
    (fresh.folder / "lists/list.jsonl").write_text(f'{{"audio": "{audio}", "item": "wide"}}\n')
    setting = "corpus.mixtures={manifest: lists/list.jsonl%s}"
    done = inmf("run", fresh.file, "--set", setting % "", cwd=fresh.folder)
    assert done.code == 2
    assert "lists/list.jsonl:1: audio" in done.err
    assert "leads out of the root" in done.err
    assert not fresh.output.exists()
    assert inmf("validate", fresh.file, "--set", setting % "").code == 2
    assert inmf("validate", fresh.file, "--set", setting % ", allow_outside: true").code == 0
    assert inmf("validate", fresh.file, "--set", setting % f", root: {tmp_path}").code == 0


def test_all_faults_of_a_corpus_are_said_at_once(fresh: Any, inmf: Any) -> None:
    (fresh.folder / "one.csv").write_text("audio\nhttp://x.org/a.wav\n")
    (fresh.folder / "two.jsonl").write_text('{"audio": "a.wav", "start": -1}\n{}\n')
    done = inmf(
        "run",
        fresh.file,
        *("--set", "corpus.mixtures=[one.csv, 'nothing/*.wav']"),
        *("--set", "sources.male.audio=two.jsonl"),
        *("--set", "sources.female.audio=gone.csv"),
    )
    assert done.code == 2
    said = done.err.replace(f"{fresh.folder}/", "")
    assert "one.csv:2: audio 'http://x.org/a.wav' is a URL" in said
    assert "corpus.mixtures: no audio file matches; got 'nothing/*.wav'" in said
    assert "two.jsonl:1: start is -1.0, expected" in said
    assert "two.jsonl:2: 'audio' is missing" in said
    assert "sources.female.audio: there is no such manifest" in said


@pytest.mark.parametrize(
    "settings",
    [["store=none"], pytest.param(["store=none", "fit.learn=passes", "fit.passes=2"], marks=pytest.mark.full)],
)
def test_models_are_learned_from_segments(fresh: Any, settings: list[str]) -> None:
    lines = ['{"audio": "a.wav", "stop": 0.6}\n', '{"audio": "a.wav", "start": 0.6}\n', '{"audio": "b.wav"}\n']
    (fresh.folder / "male/list.jsonl").write_text("".join(lines))
    given = [*settings, "sources.male.audio=male/list.jsonl", "corpus.mixtures=mixtures/one.flac"]
    options = [part for setting in given for part in ("--set", setting)]
    fresh.run(*options)
    first = fresh.files()["models/male.safetensors"]
    entry = json.loads((fresh.output / "ledger/fit/000000.json").read_text())["items"]["male"]
    assert entry["extra"]["items"] == ["male/a@00000000-00000600", "male/a@00000600-end", "male/b"]
    (fresh.folder / "male/list.jsonl").write_text("".join(lines).replace("0.6", "0.5"))
    fresh.run(*options)
    assert fresh.done()["fit"] == 1
    assert fresh.files()["models/male.safetensors"] != first


def test_long_training_audio_is_cut_too_but_does_not_overlap(fresh: Any) -> None:
    from inmf_flow.pipeline import check_corpus, load_pipeline
    from inmf_flow.pipeline.plan import Planner

    overrides = ["corpus.segments={seconds: 1, overlap: 0.5}", "sources.male.audio=male/a.wav"]
    mixtures, training = check_corpus(load_pipeline(fresh.file, overrides))
    assert [(r.start, r.stop) for r in training["male"]] == [(None, 0.6), (0.6, None)]
    assert [r.item for r in mixtures] == ["one", "two", "wide@00000000-00001000", "wide@00000500-00001100"]
    plan = Planner(load_pipeline(fresh.file, overrides), fresh.output)
    works = {work.item: work for work in plan.analyze().todo}
    whole = (fresh.folder / "male/a.wav").stat().st_size
    assert works["male/a@00000000-00000600"].size == pytest.approx(whole / 2, rel=0.01)
    # What was known of whole files before there were segments still holds.
    assert set(works["female/b"].inputs) == {"audio", "transforms", "software"}
    assert set(works["male/a@00000000-00000600"].inputs) == {"audio", "transforms", "software", "segment"}


def test_metadata_is_no_input(project: Any) -> None:
    from inmf_flow.pipeline import load_pipeline
    from inmf_flow.pipeline.plan import Planner

    plain = Planner(load_pipeline(project.file), project.output).separate({}).todo
    (project.folder / "list.jsonl").write_text(
        "".join(f'{{"audio": "mixtures/{name}", "mood": "grave"}}\n' for name in ("one.flac", "two.flac", "wide.wav"))
    )
    listed = load_pipeline(project.file, ["corpus.mixtures=list.jsonl"])
    assert [(w.item, w.inputs) for w in Planner(listed, project.output).separate({}).todo] == [
        (w.item, w.inputs) for w in plain
    ]
