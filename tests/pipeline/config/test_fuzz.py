"""Whatever a file or a command line holds, the only error is `PipelineFileError`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow.pipeline.config import PipelineFileError, load_pipeline, pipeline_from_mapping
from inmf_flow.pipeline.config.loader import parse_text

_SHARED = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_MARKS = "ab:?-[]{},&*!|>'\"%@`#~\n\t\\\0\ufeff\x85 "
_WORDS = [
    "<<",
    "no",
    "1e3",
    "0x",
    ".nan",
    "---",
    "...",
    "\\U",
    "&a",
    "*a",
    "!!int",
    "!!float",
    "\n  ",
    ": ",
    "- ",
]
_PIECES = st.sampled_from([*_MARKS, *_WORDS, "name: ", "fit: ", "sources: ", "transforms: ", "toy: ", "{a: 1}"])
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=3))
_SECTIONS = (
    "corpus",
    "transforms",
    "sources",
    "fit",
    "separate",
    "evaluate",
    "report",
    "cluster",
    "store",
    "name",
)
_OPTIONS = (
    "t",
    "toy",
    "n_fft",
    "s",
    "audio",
    "model",
    "components",
    "field",
    "analyze",
    "mask",
    "wiener",
    "metrics",
)
_KEYS = st.one_of(st.sampled_from(_SECTIONS + _OPTIONS), st.text(max_size=5), st.integers())
_DATA = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=5)),
    max_leaves=20,
)


def only_our_error(file: Path, content: bytes, overrides: list[str] | None = None) -> None:
    file.write_bytes(content)
    try:
        load_pipeline(file, overrides or [])
    except PipelineFileError as error:
        caught = error
    else:
        return
    assert caught.problems
    assert len(str(caught).split("\n")) == len(caught.problems)
    assert all(problem.line is None or problem.line >= 1 for problem in caught.problems)


@_SHARED
@given(text=st.lists(_PIECES, max_size=60).map("".join))
def test_yaml_like_text(tmp_path: Path, text: str) -> None:
    only_our_error(tmp_path / "p.yaml", text.encode())


@_SHARED
@given(content=st.binary(max_size=200))
def test_bytes(tmp_path: Path, content: bytes) -> None:
    only_our_error(tmp_path / "p.yaml", content)


@_SHARED
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 12), st.one_of(_PIECES, st.text(max_size=3))),
        min_size=1,
        max_size=4,
    )
)
def test_mutated_valid_files(tmp_path: Path, valid: str, edits: list[tuple[int, int, str]]) -> None:
    text = valid
    for start, length, piece in edits:
        start %= len(text) + 1
        text = text[:start] + piece + text[start + length :]
    only_our_error(tmp_path / "p.yaml", text.encode("utf-8", "surrogatepass"))


@_SHARED
@given(data=st.dictionaries(_KEYS, _DATA, max_size=8))
def test_mappings(data: dict[Any, Any]) -> None:
    with contextlib.suppress(PipelineFileError):
        pipeline_from_mapping(data)


@_SHARED
@given(path=st.lists(_KEYS.map(str), min_size=1, max_size=4), value=_DATA)
def test_valid_data_with_one_value_replaced(valid: str, path: list[str], value: Any) -> None:
    data = parse_text(valid, "t").data
    target = data
    for part in path[:-1]:
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[path[-1]] = value
    with contextlib.suppress(PipelineFileError):
        pipeline = pipeline_from_mapping(data)
        again = pipeline_from_mapping(pipeline.as_json())
        assert json.dumps(again.as_json()) == json.dumps(pipeline.as_json())


@_SHARED
@given(key=st.lists(_KEYS.map(str), max_size=5).map(".".join), value=st.lists(_PIECES, max_size=6).map("".join))
def test_overrides(tmp_path: Path, valid: str, key: str, value: str) -> None:
    only_our_error(tmp_path / "p.yaml", valid.encode(), [f"{key}={value}"])
