"""What is wrong with a pipeline file: single problems, and the error that carries all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inmf_flow.errors import ConfigError

Path = tuple[str | int, ...]
"""Where a value lies in the data: keys and list indices from the top."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where.

    Parameters
    ----------
    file
        The file as the user named it, or ``--set a.b`` for an override.
    line, column
        Counted from 1; None where there is no text to point into.
    what
        What is wrong, what was got and what was expected, on one line.
    """

    file: str
    line: int | None
    column: int | None
    what: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column or 1}"
        return f"{place}: {self.what}"


@dataclass(frozen=True)
class Finding:
    """A problem whose place is known as a path in the data, not yet as a line.

    Parameters
    ----------
    path
        The key or value at fault.
    what
        The message.
    at_key
        Whether the key is at fault and not its value.
    """

    path: Path
    what: str
    at_key: bool = False


class PipelineFileError(ConfigError):
    """A pipeline file is wrong; the message has every problem on a line of its own.

    Parameters
    ----------
    problems
        At least one, in the order in which they should be read.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = list(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the known name that is closest, or an empty text."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(str(name)[:80].casefold(), by_folded, n=1, cutoff=0.5)
    return f", did you mean {spell(by_folded[found[0]])}?" if found else ""


def one_of(names: Sequence[str]) -> str:
    """Return ``'a', 'b' or 'c'``."""
    quoted = [spell(name) for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]


def dotted(path: Path) -> str:
    """Return a path as people write it: ``corpus.mixtures[2]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if part.isprintable() and len(part) <= 80 else f".{spell(part)}"
    return text.removeprefix(".")


def spell(value: object) -> str:
    """Return a value as a pipeline file would have it, short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python is willing to print
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."
