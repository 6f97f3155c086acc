"""The built-in plugins use no private door: what they import, third parties may import too."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import TypeGuard

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
    """Each use of inmf_flow as (module, name); the name is None for a module alone.

    Found are both forms of import, modules named by text, and attributes of modules. Relative imports stay in the
    plugin's own package: Python lets none leave it.
    """
    found: list[tuple[str, str | None]] = []
    bound: dict[str, str] = {}
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
            bound.update(
                (alias.asname or _top(alias.name), alias.name if alias.asname else _top(alias.name))
                for alias in node.names
            )
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [(node.module, alias.name) for alias in node.names]
            bound.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _last(node.func) in ("import_module", "__import__"):
            found += [(text.value, None) for text in node.args if _is_text(text)]
    for node in nodes:
        path = _dotted(node, bound) if isinstance(node, ast.Attribute) else None
        if path is not None and _top(path) == "inmf_flow":
            found.append(_split(path))
    return [(module, name) for module, name in found if _top(module) == "inmf_flow"]


def _top(module: str) -> str:
    return module.partition(".")[0]


def _last(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _dotted(node: ast.expr, bound: dict[str, str]) -> str | None:
    """The full name of an attribute of something imported: of ``p.blocks`` after ``import inmf_flow.points as p``."""
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    inner = _dotted(node.value, bound) if isinstance(node, ast.Attribute) else None
    return inner and f"{inner}.{node.attr}"


def _split(path: str) -> tuple[str, str | None]:
    """Which module a full name is of, and what of it."""
    module, *names = path.split(".")
    while names and _is_module(f"{module}.{names[0]}"):
        module = f"{module}.{names.pop(0)}"
    return module, names[0] if names else None


def _is_module(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:
        return False


def faults_of(source: str) -> list[str]:
    faults = []
    for module, name in imports_of(source):
        text = module if name is None else f"{module}.{name}"
        if module not in PUBLIC_MODULES:
            faults.append(f"{text}: {module} is not a public module")
        elif name is not None and name.startswith("_"):
            faults.append(f"{text}: a private name")
        elif name is not None and text not in PUBLIC_MODULES:
            public = getattr(importlib.import_module(module), "__all__", None)
            if public is not None and name not in public:
                faults.append(f"{text}: not in {module}.__all__")
    return sorted(set(faults))


def test_there_are_plugins_to_look_at() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_plugin_imports_public_names_only(path: Path) -> None:
    assert faults_of(path.read_text()) == []


def test_what_the_generator_writes_imports_public_names_only(tmp_path: Path) -> None:
    from inmf_flow.plugins import new_plugin

    written = sorted(new_plugin("my-own", tmp_path).folder.rglob("*.py"))
    assert len(written) == 3
    assert {path.name: faults_of(path.read_text()) for path in written if imports_of(path.read_text())} == {
        "__init__.py": [],
        "transform.py": [],
        "test_conformance.py": [],
    }


@pytest.mark.parametrize(
    ("source", "door"),
    [
        ("from inmf_flow.points.blocks import GridBlock", "inmf_flow.points.blocks.GridBlock"),
        ("from inmf_flow.errors import _rebuild", "inmf_flow.errors._rebuild"),
        ("def late():\n    import inmf_flow.plugins.manager", "inmf_flow.plugins.manager"),
        ("from inmf_flow.points import blocks", "inmf_flow.points.blocks"),
        ("from inmf_flow import pipeline", "inmf_flow.pipeline"),
        ("import inmf_flow.points\ninmf_flow.points.blocks.GridBlock", "inmf_flow.points.blocks.GridBlock"),
        ("import inmf_flow.points as p\nprint(p.blocks)", "inmf_flow.points.blocks"),
        ("from inmf_flow import points as p\np.cells.cell_widths()", "inmf_flow.points.cells.cell_widths"),
        ("import inmf_flow\ninmf_flow.errors._rebuild()", "inmf_flow.errors._rebuild"),
        ("from importlib import import_module\nimport_module('inmf_flow.pipeline.run')", "inmf_flow.pipeline.run"),
        ("import importlib\nimportlib.import_module('inmf_flow.store.store')", "inmf_flow.store.store"),
        ("__import__('inmf_flow.cli')", "inmf_flow.cli"),
    ],
)
def test_private_doors_are_noticed(source: str, door: str) -> None:
    assert door in [fault.split(":")[0] for fault in faults_of(source)]


@pytest.mark.parametrize(
    "source",
    [
        "from inmf_flow.points import GridBlock\nGridBlock.build([], [], [[]])",
        "import inmf_flow\ninmf_flow.points.GridBlock",
        "from inmf_flow import get_transform, points as p\np.PointSet.from_grid",
        "from .transform import Stft\nimport numpy.fft._pocketfft",
    ],
)
def test_public_doors_are_open(source: str) -> None:
    assert faults_of(source) == []
