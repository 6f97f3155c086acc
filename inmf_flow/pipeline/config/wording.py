"""pydantic's errors in words for people: what must be, what was got, what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from inmf_flow.pipeline.config.kinds import EXPECTED, MANIFEST_ENTRY, TEXT_ENTRY
from inmf_flow.pipeline.config.problems import Finding, Path, dotted, nearest, spell

MAX_ERRORS = 1000

_Schema = Mapping[str, Any]


def findings_of(
    error: ValidationError,
    model: type[BaseModel],
    data: Any,
    *,
    at: Path = (),
    texts: Mapping[Path, str] | None = None,
) -> list[Finding]:
    """Turn a model's errors into findings, one for each place.

    Parameters
    ----------
    error
        What validating ``data`` with ``model`` raised.
    at
        Where ``data`` lies in the file.
    texts
        Path in the file → a scalar as it was written, where YAML read something else.
    """
    schema = _schema_of(model)
    # Thousands of misspelt keys are not a person's: looking for their nearest matches would take minutes.
    details: list[dict[str, Any]] = [dict(each) for each in error.errors(include_url=False)[:MAX_ERRORS]]
    for each in details:
        each["loc"] = _as_given(each["loc"], data)
    unknown = [str(each["loc"][-1]) for each in details if each["type"] == "extra_forbidden"]
    inner = {each["loc"][:length] for each in details for length in range(len(each["loc"]))}
    found: dict[tuple[Path, bool], Finding] = {}
    for each in details:
        kind, location = each["type"], each["loc"]
        if kind == "missing" and _misspelt(str(location[-1]), unknown, schema, location[:-1]):
            continue
        if kind == "too_short" and location in inner:
            continue  # too short only because its items are wrong
        at_key = kind == "extra_forbidden" or location[-1:] == ("[key]",)
        path = location if kind == "missing" else _in_data(location, data)
        what = _sentence(each, path, at, data, schema, texts or {})
        found.setdefault((path, at_key), Finding((*at, *path), what, at_key))
    return list(found.values())


def _sentence(
    error: Mapping[str, Any], path: Path, at: Path, data: Any, schema: _Schema, texts: Mapping[Path, str]
) -> str:
    full = (*at, *path)
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return _unknown_key(path, at, schema)
    if error["type"] == "missing":
        inside = f" in {dotted(full[:-1])}" if full[:-1] else ""
        expected = _describe_at(schema, path) or "a value"
        return f"the key {spell(path[-1])} is missing{inside}, expected {expected}"
    subject = f"the name {spell(path[-1])}" if error["loc"][-1:] == ("[key]",) else dotted(full) or "the pipeline"
    if error["type"] in ("value_error", "assertion_error"):
        reason = " ".join(str(context.get("error", error["msg"])).split())
        return f"{subject}: {reason}"
    if error["type"] == EXPECTED:
        expected, near = context["expected"], context["near"]
    else:
        value = _value_at(data, path)
        expected = _describe_at(schema, path)
        near = nearest(value, _enum(_at(schema, path))) if isinstance(value, str) else ""
    if not expected:
        return f"{subject}: {error['msg'][:1].lower()}{error['msg'][1:]}{_got(data, path, full, texts)}"
    if error["loc"][-1:] == ("[key]",):
        return f"{subject} is not allowed, expected {expected}"
    return f"{subject} must be {expected}{_got(data, path, full, texts, expected)}{near}"


def _got(data: Any, path: Path, full: Path, texts: Mapping[Path, str], expected: str = "") -> str:
    value = _value_at(data, path)
    written = texts.get(full)
    wants_text = expected.startswith(("text", "a name", "one of", "'"))
    if written is not None and isinstance(value, bool) and written.lower() not in ("true", "false"):
        tail = ": put it in quotes" if wants_text else ""
        return f", got {written}, which YAML reads as {spell(value)}{tail}"
    if wants_text and isinstance(value, bool | int | float):
        return f", got {written or spell(value)}: put it in quotes"
    if written is not None:
        return f", got {written}"
    return f", got {spell(value)}"


def _unknown_key(path: Path, at: Path, schema: _Schema) -> str:
    name, inside = path[-1], dotted((*at, *path[:-1]))
    known = _keys_at(schema, path[:-1])
    near = nearest(name, known)
    where = f" in {inside}" if inside else ""
    expected = f", expected {_one_of(known)}" if known and not near else ""
    return f"unknown key {spell(name)}{where}{expected}{near}"


def _one_of(names: Iterable[object]) -> str:
    quoted = [spell(name) for name in names]
    return quoted[0] if len(quoted) == 1 else "one of " + ", ".join(quoted)


def _misspelt(missing: str, unknown: list[str], schema: _Schema, parent: Path) -> bool:
    """Return whether an unknown key is the missing one, misspelt, so that one message is enough."""
    known = _keys_at(schema, parent)
    return any(f"{missing!r}?" in nearest(name, known) for name in unknown)


def _as_given(location: Path, data: Any) -> Path:
    """Leave out of pydantic's path which kind of entry was read, and the list of one that one entry stands for."""
    path: list[str | int] = []
    for part in location:
        if part in (TEXT_ENTRY, MANIFEST_ENTRY) or (isinstance(part, int) and isinstance(data, Mapping)):
            continue
        path.append(part)
        try:
            data = data[part]
        except (LookupError, TypeError):
            data = None
    return tuple(path)


def _in_data(location: Path, data: Any) -> Path:
    """Cut off what pydantic adds to a path: the names of a union's branches, ``[key]``, and so on."""
    for length, part in enumerate(location):
        try:
            data = data[part]
        except (LookupError, TypeError):
            return location[:length]
        if isinstance(data, str):
            return location[: length + 1]
    return location


def _value_at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _schema_of(model: type[BaseModel]) -> _Schema:
    try:
        return model.model_json_schema()
    except Exception:  # a plugin's Config may hold types without a JSON Schema; pydantic's own words do then
        return {}


def _at(schema: _Schema, path: Path) -> _Schema | None:
    """Return the schema of what lies at a path, or None where the schema does not say."""
    found: list[_Schema] = [_resolved(schema, schema)]
    for part in path:
        children = [child for each in found for child in _children(each, part)]
        found = [_resolved(child, schema) for child in children]
    return found[0] if found else None


def _keys_at(schema: _Schema, path: Path) -> list[str]:
    """Return the keys that a mapping at a path may have."""
    found = _at(schema, path) or {}
    return [key for each in (found, *found.get("anyOf", ())) for key in each.get("properties", ())]


def _children(schema: _Schema, part: str | int) -> list[_Schema]:
    if isinstance(part, int):
        nested = [schema.get("items")]
    else:
        nested = [schema.get("properties", {}).get(part, schema.get("additionalProperties"))]
    for branch in schema.get("anyOf", ()):
        nested += _children(branch, part)
    return [child for child in nested if isinstance(child, Mapping)]


def _resolved(schema: _Schema, root: _Schema) -> _Schema:
    seen = 0
    while "$ref" in schema and seen < 10:
        schema = root.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {})
        seen += 1
    if "anyOf" in schema:
        return {**schema, "anyOf": [_resolved(branch, root) for branch in schema["anyOf"]]}
    return schema


def _describe_at(schema: _Schema, path: Path) -> str:
    found = _at(schema, path)
    return describe(found) if found else ""


def _enum(schema: _Schema | None) -> list[str]:
    if not schema:
        return []
    names = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    for branch in schema.get("anyOf", ()):
        names += _enum(branch)
    return [name for name in names if isinstance(name, str)]


def describe(schema: _Schema) -> str:
    """Return in words what values a JSON Schema takes; empty where it does not say."""
    if "anyOf" in schema:
        branches = [_alternatives(branch) for branch in schema["anyOf"]]
        return _either(name for names in branches for name in names) if all(branches) else ""
    return _either(_alternatives(schema))


def _alternatives(schema: _Schema) -> list[str]:
    if "anyOf" in schema:
        return [name for branch in schema["anyOf"] for name in _alternatives(branch)]
    if "const" in schema:
        return [spell(schema["const"])]
    if "enum" in schema:
        return [spell(name) for name in schema["enum"]]
    kinds = schema.get("type", "")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return [name for name in (_describe_type(kind, schema) for kind in kinds) if name]


def _either(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    if len(distinct) > 2 and distinct[-1].startswith(items := f"a list of {_either(distinct[:-1])}"):
        distinct[-1] = f"a list of these{distinct[-1].removeprefix(items)}"
    return " or ".join(filter(None, (", ".join(distinct[:-1]), *distinct[-1:])))


def _describe_type(kind: str, schema: _Schema) -> str:
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(schema)
    if kind == "array":
        items = describe(schema["items"]) if isinstance(schema.get("items"), Mapping) else ""
        return "a list" + (f" of {items}" if items else "") + _size(schema, "Items")
    if kind == "object":
        return "a mapping" + _size(schema, "Properties")
    return {"string": "text", "boolean": "true or false", "null": "null"}.get(kind, "")


def _range(schema: _Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    limits = (
        ("minimum", "at least"),
        ("exclusiveMinimum", "greater than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
    )
    words = [f"{word} {schema[key]}" for key, word in limits if schema.get(key) is not None]
    return " " + " and ".join(words) if words else ""


def _size(schema: _Schema, what: str) -> str:
    low = schema.get(f"min{what}")
    return f" with at least {low} {'entry' if low == 1 else 'entries'}" if low else ""
