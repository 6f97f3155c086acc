"""What the documentation says is so: its Python runs, its pipelines are valid, its tables are complete."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")


def _blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for kind, body in _FENCE.findall(text) if kind == language]


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_python_examples_run(document: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines", ignore=shutil.ignore_patterns("runs"))
    script = tmp_path / "example.py"
    script.write_text("\n".join(_as_script(block) for block in _blocks(document, "python")), encoding="utf-8")
    outcome = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", script.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def _as_script(block: str) -> str:
    # Workers import the script: without a guard every one of them would do all of it.
    return block if "__main__" in block else "if __name__ == '__main__':\n" + _indented(block)


def _indented(block: str) -> str:
    return "".join(f"    {line}\n" for line in ["pass", *block.splitlines()])


@pytest.mark.parametrize("document", ["README.md", "docs/pipeline.md"])
def test_pipelines_are_valid(document: str, tmp_path: Path) -> None:
    from inmf_flow.pipeline.config import load_pipeline

    whole = [block for block in _blocks(document, "yaml") if block.startswith("name:")]
    assert whole
    for number, block in enumerate(whole):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block, encoding="utf-8")
        load_pipeline(path)


def test_every_key_of_a_pipeline_is_in_a_table() -> None:
    from inmf_flow.pipeline.config.models import Pipeline

    schema = Pipeline.model_json_schema()
    text = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
    top, *sections = re.split(r"^### ", text, flags=re.MULTILINE)
    by_heading = {section.split("\n", 1)[0].strip(): section for section in sections}
    assert not _missing(schema, top)
    headings = {"Source": "sources", "Member": "ensemble"}
    for name, definition in schema["$defs"].items():
        if "properties" in definition:
            section = by_heading[headings.get(name, name.lower())]
            assert not _missing(definition, section), name


def _missing(schema: dict[str, Any], text: str) -> list[str]:
    return [key for key in schema["properties"] if f"| `{key}` |" not in text]


def test_the_commands_and_options_of_the_page_are_those_of_the_program() -> None:
    import typer.main

    from inmf_flow.cli import app

    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    known: dict[str, set[str]] = {}
    for words, command in _commands(typer.main.get_command(app), ["inmf"]):
        assert " ".join(words) in text, words
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        known.setdefault(" ".join(words[:2]), set()).update(options - {"--help"})
    for heading, options in known.items():
        section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
        assert set(re.findall(r"`(--[a-z][a-z-]*)", section)) == options, heading


def test_the_parts_of_the_table_are_the_floors() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    floors = [layer.replace("inmf_flow.", "").split(" | ") for layer in contract["layers"]]
    assert [re.findall(r"`(\w+)`", row) for row in rows] == floors


def _commands(command: Any, words: list[str]) -> list[tuple[list[str], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [(words, command)]
    found = []
    for name, child in children.items():
        if not child.hidden:
            found += _commands(child, [*words, name])
    return found


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert not [link for link in _LINK.findall(text) if not (ROOT / link).exists()]
