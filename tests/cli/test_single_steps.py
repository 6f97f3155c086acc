"""`inmf fit`, `separate`, `evaluate` and `report`: the steps of a pipeline one at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.cli import main
from inmf_flow.errors import PointsError, TransformError
from inmf_flow.transform import get_transform

Program = Callable[..., Any]
_STFT = type(get_transform("stft"))


@pytest.fixture(scope="module")
def voices(corpus: Any, first_run: Any) -> dict[str, Path]:
    """Models that a run has fitted."""
    return {name: first_run[0].output / "models" / f"{name}.safetensors" for name in ("male", "female")}


@pytest.fixture
def inside(capsys: pytest.CaptureFixture[str]) -> Program:
    """The program in this process, which has the heavy libraries already."""

    def call(*arguments: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=printed.out, err=printed.err)

    return call


def _models(voices: dict[str, Path]) -> list[str]:
    return [text for name, path in voices.items() for text in ("--model", f"{name}={path}")]


def _refused(done: Any, *words: str, code: int = 2) -> None:
    assert done.code == code
    (line,) = done.err.splitlines()
    assert line.startswith("inmf: ")
    for word in words:
        assert word in line


def test_fit_learns_a_model_from_files_and_folders(corpus: Any, inmf: Program, inside: Program, tmp_path: Path) -> None:
    model = tmp_path / "new" / "voice.safetensors"
    spec = ["--transform", "stft:n_fft=512", "--components", 3, "--max-iter", 10]
    done = inmf("fit", corpus.folder / "male", *spec, "-o", model)
    assert done.code == 0, done.err
    (line,) = done.out.splitlines()
    assert line.startswith(f"{model}: 3 templates up to 8000 Hz from 2 files, divergence ")
    from inmf_flow import INMF

    loaded = INMF.load(model)
    assert loaded.n_components == 3
    assert loaded.provenance["files"] == ["a.wav", "b.wav"]
    again = tmp_path / "again.safetensors"
    inside("fit", corpus.folder / "male/a.wav", corpus.folder / "male/b.wav", *spec, "-o", again)
    assert again.read_bytes() == model.read_bytes()


def test_fit_leaves_out_what_it_cannot_read(corpus: Any, inside: Program, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no")
    spec = ["--transform", "stft:n_fft=512", "--components", 2, "--max-iter", 5]
    done = inside("fit", corpus.folder / "male/a.wav", tmp_path / "text.wav", *spec, "-o", tmp_path / "m.safetensors")
    assert done.code == 1
    assert f"inmf: left out: {tmp_path}/text.wav: the file cannot be read as audio" in done.err
    assert "from 1 files" in done.out
    done = inside("fit", tmp_path / "text.wav", tmp_path / "gone.wav", *spec, "-o", tmp_path / "n.safetensors")
    assert done.code == 1
    assert "none of the files could be used" in done.err
    assert not (tmp_path / "n.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--transform", "stfd"], ("stfd", "stft")),
        (["--transform", "stft:n_fft=minus"], ("n_fft",)),
        (["--transform", "stft:no_such=1"], ("no_such",)),
        (["--field", "hats"], ("hats",)),
        (["--beta-loss", "kulback"], ("kulback",)),
        (["--power", "0"], ("power",)),
    ],
)
def test_fit_refuses_what_cannot_be(
    corpus: Any, inside: Program, tmp_path: Path, arguments: list[str], words: tuple[str, ...]
) -> None:
    model = tmp_path / "m.safetensors"
    done = inside("fit", corpus.folder / "male/a.wav", "-o", model, *arguments)
    _refused(done, *words)
    assert not model.exists()


def test_fit_needs_files_and_a_place(corpus: Any, inside: Program, tmp_path: Path) -> None:
    _refused(inside("fit", tmp_path / "*.wav", "-o", tmp_path / "m.safetensors"), "no audio file matches")
    _refused(inside("fit", corpus.folder / "male", "-o", tmp_path), "the model file is a folder")
    assert inside("fit", corpus.folder / "male").code == 2
    assert inside("fit", "-o", tmp_path / "m.safetensors").code == 2


def test_separate_writes_what_a_run_writes(first_run: Any, voices: Any, inmf: Program, tmp_path: Path) -> None:
    project = first_run[0]
    options = ["--transform", "stft:n_fft=512", "--max-iter", 15, "--sample-rate", 16000]
    done = inmf("separate", project.folder / "mixtures", *_models(voices), *options, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.wav"))
    assert written == [f"{item}/{source}.wav" for item in ("one", "two", "wide") for source in ("female", "male")]
    assert sorted(done.out.splitlines()) == [str(tmp_path / "out" / name) for name in written]
    for name in written:
        assert (tmp_path / "out" / name).read_bytes() == (project.output / "separated" / name).read_bytes()


def test_separate_does_the_others_when_one_is_bad(corpus: Any, voices: Any, inmf: Program, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no")
    mixtures = [tmp_path / "text.wav", corpus.folder / "mixtures/one.flac", tmp_path / "gone.wav"]
    done = inmf("separate", *mixtures, *_models(voices), "-o", tmp_path / "out", "--wiener", 2)
    assert done.code == 1
    assert len(done.err.splitlines()) == 2
    assert f"inmf: failed: {tmp_path}/text.wav: " in done.err
    assert f"inmf: failed: {tmp_path}/gone.wav: there is no such audio file" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]
    mixture, _ = soundfile.read(corpus.folder / "mixtures/one.flac")
    total = sum(soundfile.read(path)[0] for path in (tmp_path / "out/one").iterdir())
    np.testing.assert_allclose(total, mixture, atol=1e-6)


def _breaking_on(path: Path, error: Exception) -> Any:
    """Return STFT's analysis, raising an error for the recording of so many samples."""
    analyze = _STFT.analyze
    samples = soundfile.info(path).frames

    def broken(self: Any, audio: Any, *arguments: Any, **options: Any) -> Any:
        if np.shape(audio)[-1] == samples:
            raise error
        return analyze(self, audio, *arguments, **options)

    return broken


@pytest.mark.parametrize("error", [TransformError("too odd"), PointsError("too odd"), OSError(28, "too odd")])
def test_one_file_that_breaks_costs_itself_alone(
    corpus: Any, voices: Any, inside: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    wide = corpus.folder / "mixtures/wide.wav"
    monkeypatch.setattr(_STFT, "analyze", _breaking_on(wide, error))
    done = inside("separate", wide, corpus.folder / "mixtures/one.flac", *_models(voices), "-o", tmp_path / "out")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"inmf: failed: {wide}: ")
    assert "too odd" in done.err
    assert [Path(line).parent.name for line in done.out.splitlines()] == ["one", "one"]
    spec = ["--transform", "stft:n_fft=512", "--components", 2, "--max-iter", 5]
    monkeypatch.setattr(_STFT, "analyze", _breaking_on(corpus.folder / "male/a.wav", error))
    done = inside("fit", corpus.folder / "male", *spec, "-o", tmp_path / "m.safetensors")
    assert done.code == 1
    assert done.err.startswith(f"inmf: left out: {corpus.folder}/male/a.wav: ")
    assert "from 1 files" in done.out


def test_a_transform_that_cannot_invert_is_the_commands_fault(
    corpus: Any, voices: Any, inside: Program, tmp_path: Path
) -> None:
    arguments = ["--transform", "stft:hop_length=2001", "-o", tmp_path / "out"]
    done = inside("separate", corpus.folder / "mixtures", *_models(voices), *arguments)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "male"], ("NAME=MODEL",)),
        (["--model", "male={voice}", "--model", "male={voice}"], ("twice",)),
        (["--model", "../male={voice}"], ("becomes a file's name",)),
        (["--model", "nul\nl={voice}"], ("becomes a file's name",)),
        (["--model", f"{'a' * 121}={{voice}}"], ("at most 120 bytes",)),
        (["--model", "male=gone.safetensors"], ("gone.safetensors", "no such model file")),
        (["--model", "male={mixture}"], ("one.flac", "safetensors")),
        (["--model", "male={voice}", "--transform", "cqtt"], ("cqtt",)),
        (["--model", "male={voice}", "--wiener", "2", "--paper-mask"], ("exclude each other",)),
    ],
)
def test_separate_refuses_what_cannot_be(
    corpus: Any, voices: Any, inside: Program, tmp_path: Path, arguments: list[str], words: tuple[str, ...]
) -> None:
    mixture = corpus.folder / "mixtures/one.flac"
    filled = [text.format(voice=voices["male"], mixture=mixture) for text in arguments]
    _refused(inside("separate", mixture, *filled, "-o", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_evaluate_scores_a_folder(first_run: Any, inmf: Program, tmp_path: Path) -> None:
    project = first_run[0]
    folders = ["--estimates", project.output / "separated", "--references", project.folder / "references"]
    scores = tmp_path / "new" / "scores.json"
    done = inmf("evaluate", *folders, "--metric", "si_sdr", "--json", scores)
    assert done.code == 0, done.err
    table = done.out.splitlines()
    header = ("source", "metric", "items", "mean", "95% interval", "median", "q25", "q75", "mean gain", "95% interval")
    assert table[0].split() == " ".join(header).split()
    assert [line.split()[:3] for line in table[1:]] == [
        [source, "si_sdr", items] for source, items in (("female", "3"), ("male", "3"), ("all", "6"))
    ]
    document = json.loads(scores.read_text())
    assert len(document["rows"]) == 6
    assert document["failures"] == {}
    assert document["missing"] == []
    mean = next(s for s in document["summary"] if (s["source"], s["metric"]) == ("male", "si_sdr"))["mean"]
    ours = [float(x.split(",")[3]) for x in (project.output / "metrics.csv").read_text().splitlines() if ",male," in x]
    # The run scores against the mixture's file, which is rounded to 16 bits; the estimates are the same.
    assert mean == pytest.approx(np.mean(ours), abs=1e-6)


def test_evaluate_records_an_item_that_cannot_be_scored(first_run: Any, inside: Program, tmp_path: Path) -> None:
    estimates = tmp_path / "estimates"
    shutil.copytree(first_run[0].output / "separated", estimates)
    (estimates / "two" / "male.wav").write_text("no")
    shutil.copytree(estimates / "one", estimates / "stranger")
    folders = ["--estimates", estimates, "--references", first_run[0].folder / "references"]
    done = inside("evaluate", *folders, "--metric", "si_sdr", "--json", tmp_path / "scores.json")
    assert done.code == 1
    assert sorted(line.split(":")[2].strip() for line in done.err.splitlines()) == ["stranger", "two"]
    assert set(json.loads((tmp_path / "scores.json").read_text())["failures"]) == {"stranger", "two"}
    assert "all" in done.out


def test_evaluate_names_items_without_estimates(first_run: Any, inside: Program, tmp_path: Path) -> None:
    project, scores = first_run[0], tmp_path / "scores.json"
    references = tmp_path / "references"
    shutil.copytree(project.folder / "references", references)
    for number in range(7):
        shutil.copytree(references / "one", references / f"more-{number}")
    folders = ["--estimates", project.output / "separated", "--references", references]
    done = inside("evaluate", *folders, "--metric", "si_sdr", "--json", scores)
    assert done.code == 1
    names = ", ".join(f"more-{number}" for number in range(5))
    assert done.err == f"inmf: 7 items with references have no estimates: {names}, ...\n"
    document = json.loads(scores.read_text())
    assert document["missing"] == [f"more-{number}" for number in range(7)]
    assert document["failures"] == {}
    assert len(document["rows"]) == 6


def test_evaluate_refuses_what_cannot_be(first_run: Any, inside: Program, tmp_path: Path) -> None:
    separated, references = first_run[0].output / "separated", first_run[0].folder / "references"
    _refused(inside("evaluate", "--estimates", tmp_path / "no", "--references", references), "folder of estimates")
    _refused(inside("evaluate", "--estimates", separated, "--references", tmp_path / "no"), "folder of references")
    _refused(inside("evaluate", "--estimates", tmp_path, "--references", references), "there are no estimates")
    wrong = inside("evaluate", "--estimates", separated, "--references", references, "--metric", "sdi")
    _refused(wrong, "sdi")
    assert inside("evaluate", "--estimates", separated).code == 2


def test_report_is_written_again_from_the_folder(first_run: Any, inmf: Program, tmp_path: Path) -> None:
    project = first_run[0].copy(tmp_path / "project")
    page = project.output / "report.html"
    page.unlink()
    done = inmf("report", project.output, "--items", 0)
    assert done.code == 0, done.err
    assert done.out == f"{page}\n"
    assert "<audio" not in page.read_text()


def test_report_refuses_what_is_no_run(inside: Program, tmp_path: Path) -> None:
    _refused(inside("report", tmp_path / "gone"), "gone")
    _refused(inside("report", tmp_path), str(tmp_path))
    (tmp_path / "run.json").write_text("[")
    _refused(inside("report", tmp_path), "run.json")


def test_fit_learns_from_a_runs_store_without_its_audio(
    project: Any, inside: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project.output / "points.zarr"
    for path in (project.folder / "male").iterdir():
        path.unlink()
    options = ["--components", 3, "--max-iter", 10]
    done = inside("fit", store, "--items", "male/*", *options, "-o", tmp_path / "m.safetensors")
    assert done.code == 0, done.err
    assert " from 2 items, divergence " in done.out
    from inmf_flow import INMF

    loaded = INMF.load(tmp_path / "m.safetensors")
    assert (loaded.n_components, loaded.provenance["items"]) == (3, ["male/a", "male/b"])
    other = inside("fit", store, "--items", "male/*", "--field", "matrix", *options, "-o", tmp_path / "n.safetensors")
    assert other.code == 0
    assert INMF.load(tmp_path / "n.safetensors").field == "matrix"


def test_fit_says_what_cannot_be_asked_of_a_store(project: Any, corpus: Any, inside: Program, tmp_path: Path) -> None:
    store, model = project.output / "points.zarr", tmp_path / "m.safetensors"
    _refused(inside("fit", store, "--transform", "stft", "-o", model), "stored points are analysed already")
    _refused(inside("fit", store, corpus.folder / "male/a.wav", "-o", model), "cannot be mixed")
    _refused(inside("fit", store, "--items", "nobody/*", "-o", model), "no stored item matches")
    _refused(inside("fit", corpus.folder / "male", "--items", "a*", "-o", model), "only points stores have items")
    assert not model.exists()
