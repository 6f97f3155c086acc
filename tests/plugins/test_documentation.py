"""docs/plugins.md: what it shows is what is written, and every hook has a heading and a test."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inmf_flow import hookspecs
from inmf_flow.plugins import scaffold
from inmf_flow.testing import TransformConformance

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "inmf_flow_spec")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading(hook: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"\n### `{hook}({arguments})`\n" in PAGE


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook: str) -> None:
    sources = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    assert any(f"def test_hook_{hook}_" in source for source in sources)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_typed_and_documented(hook: str) -> None:
    spec = getattr(hookspecs, hook)
    types = typing.get_type_hints(spec)
    assert types.pop("return") is type(None)
    parameters = set(inspect.signature(spec).parameters)
    assert set(types) == parameters
    for parameter in parameters:
        assert f"\n    {parameter}\n        " in spec.__doc__


def test_the_hooks_are_those_that_the_loader_knows() -> None:
    assert {*hookspecs.REGISTER_HOOKS.values(), *hookspecs.LIFECYCLE_HOOKS} == set(HOOKS)


TEMPLATE = Path(scaffold.__file__).with_name("template")
PIECES = re.findall(r'^```\w+ title="(my_transform/[^"]+|tests/[^"]+|pyproject.toml)"\n(.*?)^```$', PAGE, re.M | re.S)


def test_the_page_shows_pieces_of_the_whole_template() -> None:
    assert {name for name, _ in PIECES} == {
        "pyproject.toml",
        "my_transform/__init__.py",
        "my_transform/transform.py",
        "tests/test_conformance.py",
    }


@pytest.mark.parametrize(("name", "piece"), PIECES)
def test_what_the_page_shows_is_what_is_written(name: str, piece: str) -> None:
    assert piece in (TEMPLATE / name).read_text(encoding="utf-8")


def test_functions_that_the_page_speaks_of_are_in_the_template() -> None:
    source = (TEMPLATE / "my_transform" / "transform.py").read_text(encoding="utf-8")
    steps = PAGE[PAGE.index("### Make it yours") : PAGE.index("### Prove it")]
    named = set(re.findall(r"`(_\w+)`", PAGE[: PAGE.index("### Prove it")]))
    assert {"_spectra", "_frames", "_scale"} <= named
    assert {f"def {name}(" in source for name in named} == {True}
    assert "class MyTransformConfig" in source
    assert "`MyTransformConfig`" in steps


def test_the_command_of_the_page_prints_what_the_page_shows(inmf: Callable[..., Any], tmp_path: Path) -> None:
    printed = inmf("plugins", "new", "my-transform", cwd=tmp_path).out
    assert f"```console\n$ inmf plugins new my-transform\n{printed}```\n" in PAGE
    top = {path.name for path in (tmp_path / "my-transform").rglob("*") if path.is_file()}
    table = PAGE[PAGE.index("| File | What it is |") : PAGE.index("### What makes it a plugin")]
    assert {
        name.rpartition("/")[2] for name in re.findall(r"`([\w./]+)`", table) if "." in name or name == "LICENSE"
    } == top


def test_every_attribute_of_the_conformance_class_is_in_the_table() -> None:
    own = {name for name in TransformConformance.__annotations__ if name not in ("transform", "options")}
    table = PAGE[PAGE.index("| Attribute | Default |") : PAGE.index("### Use it")]
    listed = dict(re.findall(r"^\| `(\w+)` \| `?([\w.]+)`? \|", table, re.MULTILINE))
    assert listed == {name: str(getattr(TransformConformance, name)) for name in own}


def test_the_listed_metric_is_registered_and_scores() -> None:
    np = pytest.importorskip("numpy")
    source = next(code for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if "worst_sample" in code)
    namespace: dict[str, Any] = {}
    exec(compile(source, "docs/plugins.md", "exec"), namespace)
    registered: list[Any] = []
    namespace["register_metrics"](registered.append)
    (metric,) = registered
    assert metric.name == "worst_sample"
    assert metric.function(np.zeros((2, 5)), np.eye(2, 5), 8000).tolist() == [1, 1]
