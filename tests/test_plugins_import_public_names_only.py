"""The built-in plugins use no private door: what they import, third parties may import too."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
PUBLIC_MODULES = {
    "inmf_flow",
    "inmf_flow.audio",
    "inmf_flow.errors",
    "inmf_flow.evaluate",
    "inmf_flow.factorize",
    "inmf_flow.hookspecs",
    "inmf_flow.plugins",
    "inmf_flow.points",
    "inmf_flow.registry",
    "inmf_flow.separation",
    "inmf_flow.store",
    "inmf_flow.testing",
    "inmf_flow.transform",
}
FILES = sorted(PLUGINS.rglob("*.py"))


def imports_of(source: str) -> list[tuple[str, str | None]]:
    """Each import of inmf_flow as (module, name); the name is None for ``import module``."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == "inmf_flow"]


def faults_of(source: str) -> list[str]:
    faults = []
    for module, name in imports_of(source):
        text = module if name is None else f"{module}.{name}"
        if module not in PUBLIC_MODULES:
            faults.append(f"{text}: {module} is not a public module")
        elif name is not None and name.startswith("_"):
            faults.append(f"{text}: a private name")
        elif name is not None and module != "inmf_flow":
            public = getattr(importlib.import_module(module), "__all__", None)
            if public is not None and name not in public:
                faults.append(f"{text}: not in {module}.__all__")
    return faults


def test_there_are_plugins_to_look_at() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_plugin_imports_public_names_only(path: Path) -> None:
    assert faults_of(path.read_text()) == []


def test_private_doors_are_noticed() -> None:
    source = (
        "from inmf_flow.points.blocks import GridBlock\n"
        "from inmf_flow.errors import _rebuild\n"
        "def late():\n"
        "    import inmf_flow.plugins.manager\n"
        "    from inmf_flow.points import blocks\n"
        "from inmf_flow.points import GridBlock\n"
    )
    assert [fault.split(":")[0] for fault in faults_of(source)] == [
        "inmf_flow.points.blocks.GridBlock",
        "inmf_flow.errors._rebuild",
        "inmf_flow.plugins.manager",
        "inmf_flow.points.blocks",
    ]
