"""What cannot work ends with exit code 2 and one clear message, before anything is done."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inmf_flow import run_pipeline
from inmf_flow.errors import ConfigError


def _one_line(done: Any, *words: str) -> None:
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("inmf: ")
    for word in words:
        assert word in line


def test_all_patterns_that_match_nothing_at_once(fresh: Any) -> None:
    unmatched = ["sources.male.audio=he/*.wav", "sources.female.audio=she/*.wav", "corpus.mixtures=[no/*, mixtures/*]"]
    done = fresh.run(*[word for setting in unmatched for word in ("--set", setting)], code=2)
    _one_line(
        done, "no audio file matches 3 patterns", "sources.male.audio", "he/*", "she/*", "corpus.mixtures", "no/*"
    )
    assert not fresh.output.exists()


def test_several_mixtures_with_the_same_references(fresh: Any) -> None:
    shared = ["--set", "evaluate.references=references/one/{source}.wav"]
    done = fresh.run(*shared, code=2)
    _one_line(done, "evaluate.references", "3 mixtures", "'{item}' in it")
    assert not fresh.output.exists()
    fresh.run(*shared, "--set", "corpus.mixtures=mixtures/one.flac")


def test_a_file_system_without_locks_is_not_taken_for_another_run(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(stream: object, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(ConfigError, match="gives no locks"):
        run_pipeline(fresh.file)


@pytest.mark.parametrize("where", ["sources.male.audio", "corpus.mixtures"])
@pytest.mark.parametrize("pattern", ["nowhere/*.wav", "male/*.aiff", "hollow"])
def test_a_pattern_that_matches_nothing(fresh: Any, where: str, pattern: str) -> None:
    (fresh.folder / "hollow").mkdir()
    done = fresh.run("--set", f"{where}={pattern}", code=2)
    _one_line(done, "no audio file matches", where, pattern)
    assert not fresh.output.exists()


def test_every_fault_of_a_pipeline_file_at_once(fresh: Any) -> None:
    text = fresh.file.read_text().replace("components: 4", "component: 4").replace("n_fft: 512", "n_fft: -1")
    fresh.file.write_text(text + "name: again\nmixtures: x\n")
    done = fresh.run(code=2)
    assert done.out == ""
    assert done.err.count("pipeline.yaml:") == 5
    for word in ("component", "n_fft", "name", "mixtures"):
        assert word in done.err
    assert not fresh.output.exists()


def test_a_pipeline_file_that_is_not_there(fresh: Any, inmf: Callable[..., Any]) -> None:
    for path in (fresh.folder / "nothing.yaml", fresh.folder):
        done = inmf("run", path)
        assert done.code == 2
        assert str(path) in done.err
        assert done.out == ""


@pytest.mark.parametrize("setting", ["fit.max_iter=none of these", "no.such.key=1", "nonsense", "fit.max_iter=[1"])
def test_a_setting_that_cannot_be(fresh: Any, setting: str) -> None:
    done = fresh.run("--set", setting, code=2)
    assert "--set" in done.err
    assert not fresh.output.exists()


@pytest.mark.parametrize("dry", [True, False])
def test_an_output_that_is_a_file(fresh: Any, dry: bool) -> None:
    (fresh.folder / "taken").write_text("mine")
    arguments = ["--output", fresh.folder / "taken", *(["--dry-run"] if dry else [])]
    _one_line(fresh.run(*arguments, code=2), "not a folder", "taken")
    assert (fresh.folder / "taken").read_text() == "mine"


@pytest.mark.parametrize("place", ["/proc/nothing/run", "pipeline.yaml/run", "dangling"])
def test_an_output_that_cannot_be_written(fresh: Any, place: str) -> None:
    (fresh.folder / "dangling").symlink_to("/proc/nothing/run")
    _one_line(fresh.run("--output", fresh.folder / place, code=2), "cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_an_output_that_is_closed_to_us(fresh: Any) -> None:
    closed = fresh.folder / "closed"
    closed.mkdir(mode=0o500)
    _one_line(fresh.run("--output", closed / "run", code=2), "cannot be written")


@pytest.mark.full
def test_a_model_file_that_cannot_be_used(fresh: Any, without_pictures: Any) -> None:
    good = (without_pictures.output / "models/male.safetensors").read_bytes()
    header = good.index(b"inmf_flow")
    (fresh.folder / "given.safetensors").write_bytes(good[: header + 20] + b"\x00\xff" + good[header + 22 :])
    done = fresh.run("--set", "sources.male={model: given.safetensors}", code=2)
    _one_line(done, "given.safetensors")
    assert not (fresh.output / "points.zarr").exists()


@pytest.mark.full
def test_models_that_do_not_go_together(fresh: Any, without_pictures: Any) -> None:
    shutil.copy(without_pictures.output / "models/male.safetensors", fresh.folder / "given.safetensors")
    done = fresh.run("--set", "sources.male={model: given.safetensors}", "--set", "fit.power=1.0", code=2)
    assert done.out == ""
    assert "inmf: the models were fitted with different values of power; got male: 0.5, female: 1.0" in done.err


@pytest.mark.full
def test_a_model_that_was_given_is_used_as_it_is(fresh: Any, without_pictures: Any) -> None:
    shutil.copy(without_pictures.output / "models/male.safetensors", fresh.folder / "given.safetensors")
    fresh.run("--set", "sources.male={model: given.safetensors}")
    assert fresh.done() == {"analyze": 2, "fit": 2, "separate": 3, "evaluate": 3, "report": 1}
    (file,) = fresh.document()["sources"]["male"]["files"]
    assert (fresh.output / file).resolve() == (fresh.folder / "given.safetensors").resolve()
    theirs, ours = without_pictures.results(), fresh.results()
    assert {n: d for n, d in ours.items() if n.startswith(("models", "separated"))} == {
        n: d for n, d in theirs.items() if n.startswith(("models", "separated"))
    }
    assert "nothing to do" in fresh.run("--set", "sources.male={model: given.safetensors}").out


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://10.1.2.3:8786", ("TLS", "tls://10.1.2.3:8786")),
        ("tcp://scheduler.example:8786", ("TLS",)),
        ("ftp://127.0.0.1:1", ("not a scheduler's address",)),
        ("nowhere", ("scheduler",)),
        ("no_such_module:make", ("no_such_module", "package.module:factory")),
        ("os:no_such_function", ("no_such_function", "package.module:factory")),
        ("os:getcwd", ("package.module:factory",)),
        ("os:getpid", ("package.module:factory",)),
    ],
)
def test_a_scheduler_that_cannot_be(fresh: Any, inmf: Callable[..., Any], address: str, words: tuple[str, ...]) -> None:
    done = inmf("run", fresh.file, "--scheduler", address)
    assert done.code == 2
    _one_line(done, *words)


def test_a_scheduler_in_the_file_is_checked_there(fresh: Any, inmf: Callable[..., Any]) -> None:
    done = inmf("run", fresh.file, "--set", "cluster.scheduler=nowhere")
    assert done.code == 2
    assert "cluster.scheduler" in done.err
    assert not fresh.output.exists()


def test_a_folder_of_something_else_is_not_touched(fresh: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "points.zarr").mkdir(parents=True)
    (mine / "points.zarr" / "thesis.txt").write_text("two years of work")
    (mine / "models").write_text("a file")
    done = fresh.run("--output", mine, code=1)
    assert "holds something else" in done.out
    assert (mine / "points.zarr" / "thesis.txt").read_text() == "two years of work"
    assert (mine / "models").read_text() == "a file"
