"""The kinds of values that a pipeline file has, each with its check and its JSON Schema.

A check that fails says what it expected; `wording` adds the place, the key and what was got.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NoReturn, TypeGuard

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from inmf_flow.corpus import is_manifest
from inmf_flow.errors import InmfError
from inmf_flow.names import NAME_RULE, is_name
from inmf_flow.pipeline.config.problems import nearest, one_of, spell
from inmf_flow.registry import parse_spec

MASKS = ("default", "paper", "binary", "divergence")
# What separation takes: powers beyond it leave single precision.
_MAX_EXPONENT = 100

# Marks in the paths of pydantic's errors: which kind of entry was read. No text of a pipeline holds a null byte.
TEXT_ENTRY, MANIFEST_ENTRY = "\0text", "\0manifest"

MAX_TRANSFORMS = 64
MAX_NAMES = 256

EXPECTED = "inmf_expected"
"""The type of errors that carry what was expected in their context."""

_SCHEDULER = re.compile(r"local|(?:tcp|tls)://\S+|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_TEXT = {"type": "string", "minLength": 1}
_NUMBER_OF_MASK = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": _MAX_EXPONENT}


class Section(BaseModel):
    """Base of everything in a pipeline: unknown keys are errors, and nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Choice(Section):
    """Something chosen by name with its options: ``{stft: {n_fft: 2000}}``."""

    name: str
    options: dict[str, Any] = {}

    @property
    def spec(self) -> str:
        """The choice as ``name:key=value,...``, for options that are single values."""
        values = {key: value if isinstance(value, str) else spell(value) for key, value in self.options.items()}
        return self.name + ":" * bool(values) + ",".join(f"{key}={value}" for key, value in values.items())

    def as_json(self) -> dict[str, Any]:
        """Return the choice as a pipeline file has it."""
        return {self.name: self.options}


def fail(expected: str, near: str = "") -> NoReturn:
    """Refuse a value inside a validator."""
    context = {"expected": expected, "near": near}
    raise PydanticCustomError(EXPECTED, "must be {expected}{near}", context)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is an int or a float; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: str) -> str:
    if "\0" in value or not value.strip():
        fail("text that is not empty")
    return value


def _name(value: str) -> str:
    if not is_name(value):
        fail(NAME_RULE)
    return value


def _listed(value: object) -> object:
    """Let one value stand for a list of one; a list becomes a tuple."""
    if isinstance(value, str | os.PathLike):
        return (os.fspath(value),)
    if isinstance(value, Mapping | ManifestEntry):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _manifest(value: str) -> str:
    if not is_manifest(_text(value)):
        fail("the path of a manifest, which ends in .jsonl or .csv")
    return value


def _entry(value: object) -> str:
    return MANIFEST_ENTRY if isinstance(value, Mapping | ManifestEntry) else TEXT_ENTRY


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        fail("a list without repetitions")
    return values


def parse_choice(value: object, kind: str) -> Choice:
    """Read ``name``, ``name:key=value,...``, ``{name: null}`` or ``{name: {options}}``."""
    shape = f"one {kind} with its options, such as {{name: {{option: value}}}}, or its name"
    if isinstance(value, Choice):
        return value
    if isinstance(value, str):
        try:
            name, options = parse_spec(value)
        except InmfError as error:
            fail(f"{shape} ({error.what})")
        return Choice(name=name, options=options)
    if not isinstance(value, dict) or len(value) != 1:
        fail(shape)
    name, given = next(iter(value.items()))
    if not isinstance(name, str) or not isinstance(given, dict | None):
        fail(shape)
    return Choice(name=name, options=dict(given or {}))


def spec_pattern(names: Iterable[str]) -> str:
    """Return the regular expression of ``NAME[:key=value,...]`` for JSON Schema."""
    return f"^({'|'.join(re.escape(name) for name in names)})(:.*)?$"


def choice_schema(options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON Schema of a choice among names, each with the schema of its options."""
    mappings = [
        {
            "type": "object",
            "properties": {name: {"anyOf": [schema, {"type": "null"}]}},
            "required": [name],
            "additionalProperties": False,
        }
        for name, schema in options.items()
    ]
    short = {"type": "string", "pattern": spec_pattern(options), "description": "NAME or NAME:key=value,..."}
    return {"anyOf": [*mappings, short]}


def _chosen(kind: str) -> Callable[[object], Choice]:
    return lambda value: parse_choice(value, kind)


def _field_spec(value: str) -> str:
    try:
        parse_spec(value)
    except InmfError as error:
        fail(f"'auto', NAME or NAME:key=value,... ({error.what})")
    return value


def _divergence(value: object) -> str | float:
    if isinstance(value, str) and value.strip():
        return value
    if is_number(value) and abs(value) <= 100:
        return float(value)
    fail("the name of a divergence, such as 'kullback-leibler', or the number beta from -100 to 100")


def _mask(value: object) -> str | dict[str, float]:
    expected = f"{one_of(MASKS)}, or {{wiener: e}} with a number e greater than 0 and less than {_MAX_EXPONENT}"
    if isinstance(value, dict) and list(value) == ["wiener"]:
        exponent = value["wiener"]
        if is_number(exponent) and 0 < exponent < _MAX_EXPONENT:
            return {"wiener": float(exponent)}
    elif isinstance(value, str) and value in MASKS:
        return value
    fail(expected, nearest(value, MASKS) if isinstance(value, str) else "")


def _scheduler(value: str) -> str:
    if not _SCHEDULER.fullmatch(value):
        fail("'local', an address such as tcp://127.0.0.1:8786, or package.module:factory")
    return value


def _references(value: str) -> str:
    expected = "a path with {source} in it, and {item} or {folder} where there are several mixtures"
    try:
        parts = list(string.Formatter().parse(_text(value)))
    except ValueError:
        fail(expected)
    fields = [name for _, name, _, _ in parts if name is not None]
    bare = all(not specification and not conversion for _, _, specification, conversion in parts)
    if "source" not in fields or not set(fields) <= {"source", "item", "folder", "file"} or not bare:
        fail(expected)
    return value


_Raw = Annotated[str, Strict()]
_LIST_OF_TEXT = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}

Text = Annotated[_Raw, AfterValidator(_text), WithJsonSchema(_TEXT)]
FilePath = Annotated[Text, BeforeValidator(lambda v: os.fspath(v) if isinstance(v, os.PathLike) else v)]
Name = Annotated[_Raw, AfterValidator(_name), WithJsonSchema(_TEXT)]


class ManifestEntry(Section):
    """A file that lists recordings, and where their paths may lead."""

    manifest: Annotated[FilePath, AfterValidator(_manifest)] = Field(
        description="A .jsonl or .csv file that lists recordings."
    )
    root: FilePath | None = Field(
        default=None, description="The folder that its paths must not leave; null: the manifest's own."
    )
    allow_outside: Annotated[bool, Strict()] = Field(default=False, description="Whether its paths may lead anywhere.")

    @model_validator(mode="after")
    def _is_bounded_or_not(self) -> ManifestEntry:
        if self.allow_outside and self.root is not None:
            raise ValueError("'root' has no meaning where 'allow_outside' is true, expected only one of them")
        return self


_ENTRY_SCHEMAS = [_TEXT, ManifestEntry.model_json_schema()]
_Entry = Annotated[
    Annotated[Text, Tag(TEXT_ENTRY)] | Annotated[ManifestEntry, Tag(MANIFEST_ENTRY)], Discriminator(_entry)
]
Recordings = Annotated[
    tuple[_Entry, ...],
    Field(min_length=1),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [*_ENTRY_SCHEMAS, {"type": "array", "items": {"anyOf": _ENTRY_SCHEMAS}, "minItems": 1}]}),
]
Names = Annotated[
    tuple[Text, ...],
    Field(min_length=1, max_length=MAX_NAMES),
    BeforeValidator(_listed),
    AfterValidator(_unique),
    WithJsonSchema(_LIST_OF_TEXT),
]
Whole = Annotated[int, Strict()]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
_AnyChoice = Annotated[
    Choice, PlainSerializer(Choice.as_json), WithJsonSchema({"type": ["string", "object"]}, mode="validation")
]
TransformChoice = Annotated[_AnyChoice, PlainValidator(_chosen("transform"))]
FieldSpec = Annotated[Text, AfterValidator(_field_spec)]
FieldChoice = Annotated[_AnyChoice, PlainValidator(_chosen("field"))]
Divergence = Annotated[
    str | float,
    PlainValidator(_divergence),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "number", "minimum": -100, "maximum": 100}]}
    ),
]
Mask = Annotated[
    str | dict[str, float],
    PlainValidator(_mask),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(MASKS)},
                {
                    "type": "object",
                    "properties": {
                        "wiener": {
                            "description": "The exponent e of the gains m^(e/power).",
                            **_NUMBER_OF_MASK,
                        }
                    },
                    "required": ["wiener"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
Scheduler = Annotated[_Raw, AfterValidator(_scheduler), WithJsonSchema(_TEXT)]
References = Annotated[_Raw, AfterValidator(_references), WithJsonSchema(_TEXT)]
