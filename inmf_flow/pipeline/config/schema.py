"""JSON Schema of pipeline files, with the options of every installed transform, for editors."""

from __future__ import annotations

from typing import Any

from inmf_flow import registry
from inmf_flow.pipeline.config.kinds import choice_schema, spec_pattern
from inmf_flow.pipeline.config.models import Cluster, Fit, Pipeline, Report, Separate

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NULLABLE = {"fit": Fit, "separate": Separate, "report": Report, "cluster": Cluster}


def pipeline_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a pipeline file.

    Transforms, fields, divergences and metrics are those installed here.
    """
    schema = Pipeline.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    options = {name: _options_schema(name, definitions) for name in registry.transforms.names()}
    if options:
        schema["properties"]["transforms"]["additionalProperties"] = choice_schema(options)
    fit = definitions["Fit"]["properties"]
    fields = registry.fields.names()
    del fit["field"]["type"]
    fit["field"] |= choice_schema({name: {"type": "object"} for name in fields}) | {"default": "hat"}
    fit["time_field"]["pattern"] = spec_pattern(["auto", *fields])
    fit["beta_loss"]["anyOf"][0]["enum"] = registry.divergences.names()
    metrics = registry.metrics.names()
    one, several = definitions["Evaluate"]["properties"]["metrics"]["anyOf"]
    one["enum"] = several["items"]["enum"] = metrics
    _exactly_one_of(definitions["Source"], "audio", "model")
    _exactly_one_of(definitions["Corpus"], "mixtures", "watch")
    for key, section in schema["properties"].items():
        # pydantic leaves the description to the section's own, which editors do not show at the key.
        description = Pipeline.model_fields[key].description
        section.setdefault("description", description)
        if key in _NULLABLE:
            section.clear()
            section["description"] = description
            section["anyOf"] = [{"$ref": f"#/$defs/{_NULLABLE[key].__name__}"}, {"type": "null"}]
    return {"$schema": _DIALECT, **schema, "title": "inmf_flow pipeline"}


def _options_schema(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a transform's options; what it refers to joins the definitions, with a prefix."""
    prefix = f"transform.{name}."
    try:
        config: Any = getattr(registry.transforms.get(name), "Config")  # noqa: B009
        schema: dict[str, Any] = config.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    except Exception:  # a plugin's Config may hold types without a JSON Schema; editors then take any options
        return {"type": "object"}
    for inner, definition in schema.pop("$defs", {}).items():
        definitions[prefix + inner] = definition
    return schema


def _exactly_one_of(section: dict[str, Any], *keys: str) -> None:
    section["oneOf"] = [{"required": [key]} for key in keys]
