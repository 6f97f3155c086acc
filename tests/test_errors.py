"""Errors say everything in one line, are caught as what they are, and survive the way between processes."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow import errors
from inmf_flow.errors import AudioNotFoundError, InmfError, NotFittedError, UnknownNameError

CLASSES = sorted(
    (cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, InmfError)),
    key=lambda cls: cls.__name__,
)
FIELDS = ("what", "where", "got", "expected", "hint")
TEXT = st.none() | st.text(max_size=8)


def raise_one(cls: type[InmfError]) -> None:
    raise cls("it broke", where="a.wav", got=3, expected=4, hint="Mend it.")


@pytest.mark.parametrize("cls", CLASSES)
@given(where=TEXT, got=TEXT, expected=TEXT, hint=TEXT)
def test_every_class_survives_pickling_and_copying(
    cls: type[InmfError], where: str | None, got: str | None, expected: str | None, hint: str | None
) -> None:
    error = cls("it broke", where=where, got=got, expected=expected, hint=hint)
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(back) is cls
        assert str(back) == str(error)
        assert [getattr(back, name) for name in FIELDS] == ["it broke", where, got, expected, hint]


def test_an_error_of_another_process_arrives_with_all_it_says() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(AudioNotFoundError) as caught:
        pool.submit(raise_one, AudioNotFoundError).result()
    assert str(caught.value) == "a.wav: it broke; got 3; expected 4. Mend it."
    assert caught.value.hint == "Mend it."


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_is_documented_and_caught_as_ours(cls: type[InmfError]) -> None:
    assert inspect.getdoc(cls)
    with pytest.raises(InmfError, match=r"^a\.wav: it broke; got 3; expected 4\. Mend it\.$"):
        raise_one(cls)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ArgumentError", ValueError),
        ("AudioError", ValueError),
        ("AudioNotFoundError", FileNotFoundError),
        ("AudioUnreachableError", OSError),
        ("ClusterError", RuntimeError),
        ("ConfigError", ValueError),
        ("ModelFileError", ValueError),
        ("NotFittedError", AttributeError),
        ("OutputError", OSError),
        ("PluginError", RuntimeError),
        ("PointsError", ValueError),
        ("StoreError", ValueError),
        ("StoreNotFoundError", FileNotFoundError),
        ("TransformError", ValueError),
        ("UnknownNameError", LookupError),
    ],
)
def test_every_class_is_also_the_builtin_that_one_would_catch(name: str, builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="it broke"):
        raise_one(getattr(errors, name))


def test_the_table_above_names_every_class() -> None:
    (mark,) = test_every_class_is_also_the_builtin_that_one_would_catch.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in mark.args[1]} == {cls.__name__ for cls in CLASSES} - {"InmfError"}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "it broke"),
        ({"where": "a.wav"}, "a.wav: it broke"),
        ({"got": 0}, "it broke; got 0"),
        ({"expected": 0.0}, "it broke; expected 0.0"),
        ({"hint": "Mend it."}, "it broke. Mend it."),
        ({"where": "", "got": "", "hint": ""}, "it broke; got "),
    ],
)
def test_a_message_holds_what_is_known_and_nothing_else(keywords: dict[str, object], message: str) -> None:
    error = InmfError("it broke", **keywords)  # type: ignore[arg-type]
    assert str(error) == message
    assert error.args == (message,)


def test_an_error_that_is_also_a_lookup_error_is_not_quoted() -> None:
    assert str(UnknownNameError("no transform named 'x' is installed")) == "no transform named 'x' is installed"


def test_hasattr_understands_what_is_not_fitted() -> None:
    class Model:
        @property
        def n_iter_(self) -> int:
            raise NotFittedError("the model is not fitted")

    assert not hasattr(Model(), "n_iter_")


def test_a_class_with_a_constructor_of_its_own_says_how_it_is_pickled(repository: Path) -> None:
    files = [path for folder in ("inmf_flow", "plugins") for path in (repository / folder).rglob("*.py")]
    found = 0
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            if any(ast.unparse(base).endswith("Error") for base in node.bases):
                methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                assert "__init__" not in methods or "__reduce__" in methods, f"{path}: {node.name}"
                found += 1
    assert found >= len(CLASSES) - 1
