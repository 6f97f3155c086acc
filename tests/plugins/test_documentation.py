"""docs/plugins.md: its example works as written, and every hook has a heading and a test."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import tomllib
import typing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from inmf_flow import hookspecs
from inmf_flow.testing import TransformConformance

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "inmf_flow_spec")]


def listing(title: str) -> str:
    found = re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no listing {title}"
    return found[1]


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


def _example() -> Any:
    # A real module, since pickling looks a class up by its module's name.
    spec = importlib.util.spec_from_loader("inmf_block_dft", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["inmf_block_dft"] = module
    exec(compile(listing("inmf_block_dft.py"), "docs/plugins.md", "exec"), module.__dict__)
    return module


EXAMPLE = _example()


class TestExampleOfThePage(TransformConformance):
    transform = EXAMPLE.BlockDft


class TestExampleWithSmallBlocks(TransformConformance):
    transform = EXAMPLE.BlockDft
    options: ClassVar = {"size": 64}


def test_the_listed_tests_are_these() -> None:
    assert "class TestBlockDft(TransformConformance):\n    transform = BlockDft\n" in listing("test_block_dft.py")


def test_the_listed_project_is_found_once_installed(site: Any) -> None:
    project = tomllib.loads(listing("pyproject.toml"))["project"]
    site.install(project["name"], project["entry-points"]["inmf_flow"], version=project["version"])
    (site.folder / "inmf_block_dft.py").write_text(listing("inmf_block_dft.py"))
    record = site.records()["inmf-block-dft:block_dft"]
    assert record["status"] == "ok"
    assert record["provides"] == {"transform": ["block_dft"]}


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
