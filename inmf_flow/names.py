"""What pipelines, transforms and sources may be called: their names become names of files."""

from __future__ import annotations

import re

from inmf_flow.errors import ArgumentError

_NAME = re.compile(r"[^\W_][\w .-]*|[_-][\w .-]*")
_MAX_BYTES = 120
NAME_RULE = (
    "a name that can be a file's: letters, digits, spaces and . _ -, not beginning with a dot or a space, "
    f"not ending with a space, at most {_MAX_BYTES} bytes"
)


def is_name(name: str) -> bool:
    """Return whether a name keeps to `NAME_RULE`."""
    fits = _NAME.fullmatch(name) and name[-1] != " " and name.isprintable()
    return bool(fits) and len(name.encode("utf-8", "replace")) <= _MAX_BYTES


def check_name(name: str, where: str) -> str:
    """Return a name that keeps to `NAME_RULE`; any other raises `ArgumentError`."""
    if not is_name(name):
        raise ArgumentError("the name becomes a file's name", where=where, got=repr(name), expected=NAME_RULE)
    return name


def as_label(name: str, length: int = 80) -> str:
    """Return a name as pictures can show it: text, not left out by matplotlib, and shortened to so many characters."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    if len(text) > length:
        text = text[: length - 1] + "…"
    # matplotlib leaves labels that begin with an underscore out of legends.
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text
