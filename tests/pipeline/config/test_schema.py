from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from inmf_flow import registry
from inmf_flow.pipeline.config import Pipeline, pipeline_schema
from inmf_flow.pipeline.config.loader import parse_text

_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None),
    "boolean": bool,
}  # fmt: skip


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Judge a value by the keywords that our schemas use."""
    if "$ref" in schema:
        return accepts(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    if "type" in schema:
        is_boolean = isinstance(value, bool)
        if not isinstance(value, _TYPES[schema["type"]]) or is_boolean != (schema["type"] == "boolean"):
            return False
    judged = [
        "enum" not in schema or value in schema["enum"],
        "anyOf" not in schema or any(accepts(each, value, root) for each in schema["anyOf"]),
        "oneOf" not in schema or sum(accepts(each, value, root) for each in schema["oneOf"]) == 1,
    ]
    if isinstance(value, str):
        judged += [
            len(value) >= schema.get("minLength", 0),
            bool(re.search(schema.get("pattern", ""), value)),
        ]
    if isinstance(value, int | float):
        judged += [schema.get("minimum", value) <= value <= schema.get("maximum", value)]
        judged += ["exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"]]
        judged += ["exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"]]
    if isinstance(value, list):
        judged += [len(value) >= schema.get("minItems", 0)]
        judged += [accepts(schema.get("items", {}), item, root) for item in value]
    if isinstance(value, dict):
        judged += [
            set(schema.get("required", ())) <= set(value),
            len(value) >= schema.get("minProperties", 0),
        ]
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            judged += [inner is not False and accepts(inner, item, root)]
    return all(judged)


def all_properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                for name, inner in value.items():
                    yield f"{path}.{name}", inner
            yield from all_properties(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for value in schema:
            yield from all_properties(value, path)


def test_it_is_json_of_its_dialect() -> None:
    schema = json.loads(json.dumps(pipeline_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == set(Pipeline.model_fields)
    assert schema["required"] == ["name", "corpus", "transforms", "sources"]
    assert schema["additionalProperties"] is False


def test_every_key_is_described() -> None:
    choices = {"toy", "lossy", "grid", "hat", "matrix", "network", "siren"}
    for path, inner in all_properties(pipeline_schema()):
        assert inner.get("description") or path.rpartition(".")[2] in choices, path


def test_every_reference_leads_somewhere() -> None:
    schema = pipeline_schema()
    references = re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema))
    assert references
    assert set(references) <= set(schema["$defs"])


def test_it_accepts_valid_files_and_their_canonical_form(valid: str, load: Callable[..., Pipeline]) -> None:
    schema = pipeline_schema()
    assert accepts(schema, parse_text(valid, "t").data, schema)
    assert accepts(schema, load(valid).as_json(), schema)
    assert accepts(schema, parse_text(valid.replace("cluster:", "report:\ncluster:"), "t").data, schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name:", "nam:"),
        ("sample_rate: 16000", "sample_rate: fast"),
        ("hop_length: 1000", "hop_lenght: 1000"),
        ("n_fft: 2000", "n_fft: 1"),
        ("toy:n_fft=512", "tooy:n_fft=512"),
        ("{hat: {nodes: 256}}", "hatt"),
        ("wiener: 2", "wiener: 0"),
        ("wiener: 2", "wiener: 100"),
        ("stoi]", "stoy]"),
        ("components: 20", "components: 0"),
        ('audio: "data/alice/*.wav", ', ""),
        ("workers: 2", "workers: two"),
    ],
)
def test_it_refuses_what_the_validation_refuses(
    valid: str, problems: Callable[..., list[str]], old: str, new: str
) -> None:
    text = valid.replace(old, new, 1)
    schema = pipeline_schema()
    assert not accepts(schema, parse_text(text, "t").data, schema)
    assert problems(text)


def test_plugins_with_nested_or_strange_configs_are_in_it() -> None:
    class Inner(BaseModel):
        depth: int = 1

    class Nested(BaseModel):
        inner: Inner = Inner()

    class Strange(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: object = None
        call: Callable[[], int] = lambda: 1

    for name, config in (("nested", Nested), ("strange", Strange)):
        registry.transforms.register(name, type(name, (), {"Config": config}))
    schema = pipeline_schema()
    assert "transform.nested.Inner" in schema["$defs"]
    text = json.dumps(schema["properties"]["transforms"])
    assert "#/$defs/transform.nested.Inner" in text
    assert '"strange"' in text


@pytest.mark.parametrize(
    ("mixtures", "right"),
    [
        ({"manifest": "a.csv"}, True),
        (["a.wav", {"manifest": "a.csv", "root": None}], True),
        ({"root": "x"}, False),
        ([], False),
        ([3], False),
        ({"manifest": "a.csv", "more": 1}, False),
    ],
)
def test_manifests_are_entries_of_a_corpus(mixtures: object, right: bool) -> None:
    schema = pipeline_schema()
    assert accepts(schema["properties"]["corpus"], {"mixtures": mixtures}, schema) == right
