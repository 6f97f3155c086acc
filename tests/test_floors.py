"""Each part of the package uses only those below it, and the built-in plugins use no private door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGIN_FILES = sorted((ROOT / "plugins").rglob("*.py"))
# The lowest floors and the contracts made for plugins; nothing that runs pipelines or draws pages.
OPEN_TO_PLUGINS = {"audio", "errors", "hookspecs", "plugins", "points", "testing", "transform"}


def test_each_floor_uses_only_those_below_it() -> None:
    outcome = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_built_in_plugins_import_only_public_names(path: Path) -> None:
    for module, name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        package, *inside = module.split(".")
        if package != "inmf_flow":
            continue
        part = inside[0] if inside else name
        assert not any(word.startswith("_") for word in (*inside, name)), f"{path}: {module}.{name} is private"
        if inside:
            assert part in OPEN_TO_PLUGINS, f"{path}: {module} is not for plugins"


def _imports(tree: ast.AST) -> list[tuple[str, str]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return found
