"""YAML of a pipeline as plain data, with the line of every key and value, and safe to feed with anything.

Only text, numbers, booleans, null, lists and mappings come out. Size, nesting and expansion are bounded
before memory is spent on them. What can be pointed at without giving up on the file (duplicate keys, tags) is
collected, so that the user sees it together with what validation finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml

from inmf_flow.pipeline.config.problems import Finding, Path, PipelineFileError, Problem, spell

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_ALIASES = 100

Position = tuple[int, int]
"""Line and column, from 1."""

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_PLAIN_TAGS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_MAX_NUMBER_LENGTH = 64  # a number of more digits stays text; converting a million digits would take minutes


class _Loader(yaml.SafeLoader):
    """A composer of nodes that stops at bounds; its `resolve` knows the numbers of YAML 1.2 (``1e-3``)."""

    def __init__(self, text: str) -> None:
        self.nodes = 0
        self.aliases = 0
        self.depth = 0
        super().__init__(text)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self.nodes += 1
        self.aliases += isinstance(event, yaml.AliasEvent)
        if self.nodes > MAX_NODES:
            raise _Refused(event.start_mark, _too_many(), "Use glob patterns for many files")
        if self.aliases > MAX_ALIASES:
            raise _Refused(event.start_mark, f"more than {MAX_ALIASES} aliases (*name)")
        if self.depth >= MAX_DEPTH:
            raise _Refused(event.start_mark, _too_deep())
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


# Dates, base-60 numbers (1:30 = 90) and octal ones (010 = 8) of YAML 1.1 stay text: nobody means them here.
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", [*"yYnNtTfFoO"]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", [*"-+0123456789"]),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        [*"-+0123456789."],
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})\Z"), _first)


class _Refused(yaml.MarkedYAMLError):
    """Something that YAML allows and we do not."""

    def __init__(self, mark: Any, what: str, hint: str = "") -> None:
        super().__init__(problem=what + (f". {hint}" if hint else ""), problem_mark=mark)


def _too_many() -> str:
    return f"more than {MAX_NODES} values (aliases count each time they are used)"


def _too_deep() -> str:
    return f"nested more than {MAX_DEPTH} levels deep"


@dataclass
class Places:
    """Where keys and values of the data come from.

    Parameters
    ----------
    file
        The name that messages begin with.
    keys, values
        Path → position of the key, and of its value.
    texts
        Path → a scalar as it was written, where that differs from what was read (``no`` → False).
    overrides
        Path → ``--set a.b`` for what the command line put there.
    """

    file: str
    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    overrides: dict[Path, str] = field(default_factory=dict)

    def problem(self, finding: Finding) -> Problem:
        """Give a finding the nearest place that is known: its own, or the key that it lies under."""
        path = finding.path
        for length in range(len(path), -1, -1):
            prefix = path[:length]
            if prefix in self.overrides:
                return Problem(self.overrides[prefix], None, None, finding.what)
            tables = [self.keys, self.values]
            if length == len(path) and not finding.at_key:
                tables.reverse()
            for table in tables:
                if prefix in table:
                    return Problem(self.file, *table[prefix], finding.what)
        return Problem(self.file, None, None, finding.what)

    def override(self, path: Path, label: str) -> None:
        """Note that what lies at a path, and under it, comes from the command line."""
        for table in (self.keys, self.values, self.texts, self.overrides):
            for known in [known for known in table if known[: len(path)] == path]:
                del table[known]
        self.overrides[path] = label


@dataclass
class Document:
    """A file read: its data, where each piece lies, and what was wrong but did not stop the reading."""

    data: Any
    places: Places
    problems: list[Problem]


def read_document(path: FilePath | str) -> Document:
    """Read a pipeline file into plain data.

    Raises
    ------
    PipelineFileError
        The file is missing, too big, not UTF-8, not one YAML document, or not a mapping.
    """
    label = str(path)
    try:
        with FilePath(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        _stop(label, None, f"the pipeline file cannot be read, got {reason!r}, expected a YAML file")
    if len(content) > MAX_BYTES:
        _stop(label, None, f"the pipeline file is too big, expected at most {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, start = before.count(b"\n") + 1, before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8", "replace")) + 1
        _stop(label, (line, column), f"not UTF-8 text, got byte 0x{content[error.start]:02x}")
    document = parse_text(text, label)
    if not isinstance(document.data, dict):
        what = "the file is empty" if document.data is None else "the top of the file is not a mapping"
        _stop(label, document.places.values.get((), (1, 1)), f"{what}, expected keys such as 'name: ...'")
    return document


def parse_text(text: str, label: str) -> Document:
    """Parse one YAML document into plain data.

    Raises
    ------
    PipelineFileError
        The text is not YAML, holds several documents, or is too deep or too large.
    """
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        builder = _Builder(label)
        data = builder.build(node, (), 0) if node is not None else None
    except yaml.reader.ReaderError as error:
        _stop(label, _position_in(text, error.position), f"not YAML: {error.reason}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _stop(label, (mark.line + 1, mark.column + 1) if mark else None, _syntax(error))
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML passes on what chr() and int() raise for "\UFFFFFFFF" and for a directive of 5000 digits.
        mark = loader.get_mark() if loader is not None else None
        _stop(
            label,
            (mark.line + 1, mark.column + 1) if mark else None,
            "not valid YAML: a number or an escape is out of range",
        )
    return Document(data, builder.places, list(dict.fromkeys(builder.problems)))


def _stop(label: str, position: Position | None, what: str) -> NoReturn:
    line, column = position or (None, None)
    raise PipelineFileError([Problem(label, line, column, " ".join(what.split()))]) from None


def _position_in(text: str, index: int) -> Position:
    before = text[:index]
    return before.count("\n") + 1, index - before.rfind("\n")


def _syntax(error: yaml.MarkedYAMLError) -> str:
    if isinstance(error, _Refused):
        return str(error.problem)
    if error.context == "expected a single document in the stream":
        return "a second YAML document begins here, expected one document in the file"
    parts = [str(part) for part in (error.context, error.problem) if part]
    text = "not valid YAML: " + ", ".join(parts).replace("'<stream end>'", "the end")
    if r"'\t'" in text:
        text += "; indent with spaces, not with tabs"
    if "found undefined alias" in text or "scanning an alias" in text:
        text += "; put text that begins with * in quotes"
    return text


class _Builder:
    """Turns composed nodes into plain data, noting positions and problems on the way."""

    def __init__(self, label: str) -> None:
        self.places = Places(label)
        self.problems: list[Problem] = []
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: Any, path: Path, depth: int) -> Any:
        """Return a node's data; nodes reached through aliases are built, and counted, again."""
        self._spend(node, depth)
        self.places.values[path] = _mark(node)
        self._check_tag(node)
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node)
            if isinstance(value, bool | int | float):
                self.places.texts[path] = node.value
            return value
        with_children: Any
        with self._entered(node):
            if isinstance(node, yaml.SequenceNode):
                children = enumerate(node.value)
                with_children = [self.build(child, (*path, index), depth + 1) for index, child in children]
            else:
                with_children = {}
                for key, (key_node, value_node) in self._entries(node, depth).items():
                    self.places.keys[*path, key] = _mark(key_node)
                    with_children[key] = self.build(value_node, (*path, key), depth + 1)
        return with_children

    def _entered(self, node: Any) -> _Entered:
        if id(node) in self._open:
            raise _Refused(node.start_mark, "an alias refers to something that contains it")
        return _Entered(self._open, id(node))

    def _spend(self, node: Any, depth: int) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise _Refused(node.start_mark, _too_many())
        if depth > MAX_DEPTH:
            raise _Refused(node.start_mark, _too_deep())

    def _entries(self, node: Any, depth: int) -> dict[str, tuple[Any, Any]]:
        """Return key → (key node, value node), what ``<<`` brings in first."""
        own: dict[str, tuple[Any, Any]] = {}
        inherited: dict[str, tuple[Any, Any]] = {}
        merged = False
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                if merged:
                    self._note(key_node, "duplicate key '<<', expected one with a list: '<<: [*a, *b]'")
                merged = True
                for source in self._merge_sources(value_node):
                    self._spend(source, depth + 1)
                    with self._entered(source):
                        for key, entry in self._entries(source, depth + 1).items():
                            self._spend(entry[0], depth + 1)
                            inherited.setdefault(key, entry)
                continue
            name = self._key(key_node)
            if name is None:
                continue
            if name in own:
                first = own[name][0].start_mark.line + 1
                self._note(key_node, f"duplicate key {spell(name)}, first given in line {first}")
                continue
            own[name] = (key_node, value_node)
        return inherited | own

    def _merge_sources(self, node: Any) -> Iterator[Any]:
        candidates = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for candidate in candidates:
            if isinstance(candidate, yaml.MappingNode):
                yield candidate
            else:
                self._note(candidate, "'<<' takes the alias of a mapping or a list of them")

    def _key(self, node: Any) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._note(node, "a key is not text, got a list or a mapping, expected a name")
            return None
        self._check_tag(node)
        value = self._scalar(node)
        if isinstance(value, str):
            return value
        self._note(
            node,
            f"YAML reads the key {node.value or 'null'} as {spell(value)}, expected text: put it in quotes",
        )
        return None

    def _check_tag(self, node: Any) -> None:
        kinds = {yaml.MappingNode: {_TAG + "map"}, yaml.SequenceNode: {_TAG + "seq"}}
        allowed = kinds.get(type(node), _PLAIN_TAGS - {_TAG + "map", _TAG + "seq"} | {_MERGE})
        if node.tag not in allowed:
            tag = node.tag.replace(_TAG, "!!")
            self._note(node, f"the tag {spell(tag)} is not allowed, expected plain values without tags")

    def _scalar(self, node: Any) -> Any:
        text: str = node.value
        lowered = text.lower()
        if node.tag == _TAG + "null":
            return None
        if node.tag == _TAG + "bool" and lowered in _TRUE | _FALSE:
            return lowered in _TRUE
        number = _number(text, node.tag)
        if number is not None:
            return number
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            self._note(node, "the text holds half a surrogate pair, expected whole characters")
            return text.encode("utf-8", "replace").decode()
        return text

    def _note(self, node: Any, what: str) -> None:
        self.problems.append(Problem(self.places.file, *_mark(node), what))


class _Entered:
    """Marks a node as being built, so that an alias back to it is seen."""

    def __init__(self, open_nodes: set[int], node: int) -> None:
        self._nodes, self._node = open_nodes, node

    def __enter__(self) -> None:
        self._nodes.add(self._node)

    def __exit__(self, *_: object) -> None:
        self._nodes.discard(self._node)


def _mark(node: Any) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _number(text: str, tag: str) -> int | float | None:
    if tag not in (_TAG + "int", _TAG + "float") or len(text) > _MAX_NUMBER_LENGTH:
        return None
    plain = text.replace("_", "").lower()
    try:
        if tag == _TAG + "int":
            return int(plain, 16 if "0x" in plain else 10)
        return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return None
