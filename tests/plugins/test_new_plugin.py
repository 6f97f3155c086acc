"""``inmf plugins new``: a whole distribution under any usable name, and nothing at all under another."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import inmf_flow
from inmf_flow.errors import ArgumentError, InmfError, OutputError
from inmf_flow.pipeline.config import load_pipeline
from inmf_flow.plugins import NewPlugin, new_plugin, register_plugin, scaffold, unregister_plugin

TEMPLATE = Path(scaffold.__file__).with_name("template")
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,12}[A-Za-z0-9]", fullmatch=True)


def imported(new: NewPlugin) -> ModuleType:
    """The plugin's package, imported from where it was written."""
    sys.path.insert(0, str(new.folder))
    try:
        return importlib.import_module(new.package)
    finally:
        sys.path.remove(str(new.folder))


def test_every_file_of_the_template_is_written() -> None:
    found = {path.relative_to(TEMPLATE) for path in TEMPLATE.rglob("*") if path.is_file()}
    caches = {path for path in found if path.parts[0].startswith(".") or "__pycache__" in path.parts}
    assert {path.as_posix() for path in found - caches} == set(scaffold._FILES)


def test_names_follow_from_the_name(tmp_path: Path) -> None:
    new = new_plugin("gamma-Tone_2", tmp_path / "made" / "here", author='Jane "Jay" \\ Müller')
    assert new.folder == tmp_path / "made" / "here" / "gamma-Tone_2"
    assert (new.distribution, new.package, new.transform) == ("gamma-Tone_2", "gamma_tone_2", "gamma_tone_2")
    assert new.class_name == "GammaTone2"
    written = sorted(path.relative_to(new.folder).as_posix() for path in new.folder.rglob("*") if path.is_file())
    assert written == sorted(new.files)
    assert written == [
        ".github/workflows/tests.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "gamma_tone_2/__init__.py",
        "gamma_tone_2/transform.py",
        "pipeline.yaml",
        "pyproject.toml",
        "tests/test_conformance.py",
    ]
    for name in new.files:
        text = (new.folder / name).read_text(encoding="utf-8").lower()
        assert "my-transform" not in text
        assert "my_transform" not in text
        assert "mytransform" not in text
    project = tomllib.loads((new.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "gamma-Tone_2"
    assert project["entry-points"]["inmf_flow"] == {"gamma_tone_2": "gamma_tone_2"}
    assert project["authors"] == [{"name": 'Jane "Jay" \\ Müller'}]
    assert f"inmf-flow>={inmf_flow.__version__}" in project["dependencies"]
    assert 'Jane "Jay" \\ Müller\n' in (new.folder / "LICENSE").read_text(encoding="utf-8")
    workflow = yaml.safe_load((new.folder / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    assert {"run": "python -m pytest"} in workflow["jobs"]["tests"]["steps"]


def test_the_name_that_the_help_gives_can_be_used(tmp_path: Path) -> None:
    new = new_plugin("my-transform", tmp_path)
    assert (new.package, new.class_name) == ("my_transform", "MyTransform")


def test_what_was_written_works_in_this_process(tmp_path: Path) -> None:
    new = new_plugin("written-here", tmp_path)
    package = imported(new)
    record = register_plugin(package, "written-here")
    try:
        assert (record.status, record.provides) == ("ok", {"transform": ["written_here"]})
        transform = inmf_flow.get_transform("written_here:frame=0.01")
        audio = np.random.default_rng(0).normal(0, 0.1, 1001)
        assert np.allclose(transform.synthesize(transform.analyze(audio, 8000)), audio)
        pipeline = load_pipeline(new.folder / "pipeline.yaml")
        assert pipeline.transforms["mine"].name == "written_here"
        with pytest.raises(ArgumentError, match="a transform 'written_here' is installed"):
            new_plugin("written_here", tmp_path)
    finally:
        unregister_plugin("written-here")


@given(name=NAMES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_gives_python_that_compiles_and_names_that_agree(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        new = new_plugin(name, tmp_path_factory.mktemp("any"))
    except ArgumentError:
        assume(False)
    source = (new.folder / new.package / "transform.py").read_text(encoding="utf-8")
    classes = {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    assert classes == {new.class_name, f"{new.class_name}Config", "_Origin"}
    project = tomllib.loads((new.folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["inmf_flow"] == {new.transform: new.package}
    assert new.package.isidentifier()


@pytest.mark.parametrize("name", ["", "1st", "-a", "a-", "a b", "a/b", "../a", "a.b", "ä", "a" * 61, "a\n"])
def test_a_bad_name_is_refused_with_the_rule(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no name for a plugin.*expected a letter, then letters, digits"):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("stft", "a transform 'stft' is installed"),
        ("numpy", "a distribution of that name is installed"),
        ("PyYAML", "a distribution of that name is installed"),
        ("inmf-flow", "a distribution of that name is installed"),
        ("yaml", "a package 'yaml' is installed"),
        ("class", "it is a word of Python's own"),
        ("none", "it is a word of Python's own"),
        ("json", "the package 'json' would be in the way"),
        ("tests", "the package 'tests' would be in the way"),
        ("dist", "the package 'dist' would be in the way"),
        ("span", "a class 'Span' would be in the way"),
        ("transform", "a class 'Transform' would be in the way"),
    ],
)
def test_a_name_that_is_taken_is_refused_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"the name cannot be used: {reason}"):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("author", [" ", "two\nlines", "a\0b"])
def test_an_author_of_more_than_one_line_is_refused(author: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--author: the author is not one line of text"):
        new_plugin("gammatone", tmp_path, author)


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "gammatone").symlink_to("nowhere")
    with pytest.raises(ArgumentError, match="something of that name already"):
        new_plugin("gammatone", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gammatone"]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write_text = Path.write_text

    def full(self: Path, *arguments: Any, **options: Any) -> int:
        written.append(self.name)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return write_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"gammatone: the plugin cannot be written; got No space left on device"):
        new_plugin("gammatone", tmp_path)
    assert len(written) == 4
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InmfError, match="the plugin cannot be written"):
        new_plugin("gammatone", tmp_path / "file")


def test_the_command_writes_it_and_says_what_to_do_next(inmf: Callable[..., Any], tmp_path: Path) -> None:
    done = inmf("plugins", "new", "gammatone", "--output", "my plugins", cwd=tmp_path)
    assert done.code == 0
    assert (tmp_path / "my plugins" / "gammatone" / "pyproject.toml").is_file()
    assert "9 files, with the transform gammatone" in done.out
    assert "pip install -e 'my plugins/gammatone[test]'\n" in done.out
    again = inmf("plugins", "new", "gammatone", "--output", "my plugins", cwd=tmp_path)
    assert again.code == 2
    assert "something of that name already" in again.err


def test_what_was_written_is_formatted_and_lint_free(tmp_path: Path) -> None:
    new = new_plugin("gammatone", tmp_path)
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(new.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["short-frames", "transform-conformance", "test-a"])
def test_names_that_would_hide_the_templates_tests_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="the name cannot be used"):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())
