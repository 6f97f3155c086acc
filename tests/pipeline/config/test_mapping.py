from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inmf_flow.pipeline.config import PipelineFileError, pipeline_from_mapping


def test_a_mapping_may_have_paths_and_tuples(tmp_path: Path) -> None:
    pipeline = pipeline_from_mapping(
        {
            "name": "n",
            "corpus": {"mixtures": (tmp_path / "a.wav", "b.wav")},
            "transforms": {"t": {"toy": {}}},
            "sources": {"s": {"audio": Path("a.wav")}},
        },
        tmp_path,
    )
    assert pipeline.corpus.mixtures == (str(tmp_path / "a.wav"), "b.wav")
    assert pipeline.base == tmp_path


def test_errors_name_the_keys() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = loop["b"] = loop
    data: dict[Any, Any] = {
        "name": object(),
        3: 4,
        "corpus": {"mixtures": b"x"},
        "fit": loop,
        "store": 10**5000,
    }
    with pytest.raises(PipelineFileError) as caught:
        pipeline_from_mapping(data)
    said = str(caught.value)
    for what in (
        "pipeline: a key must be text, got 3",
        "pipeline: name is of type object, expected text",
        "pipeline: corpus.mixtures is of type bytes, expected text",
        "pipeline: fit.a is nested too deep, expected at most 32 levels",
        "pipeline: the key 'sources' is missing, expected a mapping",
    ):
        assert what in said


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_what_is_no_mapping(data: Any) -> None:
    with pytest.raises(PipelineFileError, match="pipeline: expected a mapping of keys"):
        pipeline_from_mapping(data)
