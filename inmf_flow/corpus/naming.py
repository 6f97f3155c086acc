"""Names of recordings: safe as folders, unique on every file system, the same in any order."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from inmf_flow.corpus.manifest import ManifestError, Row
from inmf_flow.corpus.recording import Recording
from inmf_flow.corpus.records import MAX_FAULTS, spell

_UNSAFE = re.compile(r"[^\w .()+,=@-]")
# Bytes of a name; file systems allow 255, and what is made beside it adds some.
_LONGEST = 200


def name_recordings(paths: Iterable[Path]) -> list[Recording]:
    """Give each file a name: its stem, made unique by its folder's name, or by a number where that does not help.

    Names differ by more than case, and do not depend on the order of the paths.
    """
    paths = list(paths)
    names = unique_names([str(path) for path in paths])
    return [Recording(name, path) for name, path in zip(names, paths, strict=True)]


def name_rows(rows: list[Row]) -> list[Recording]:
    """Return rows under their names. The list is emptied on the way, so that a large corpus is not held twice.

    Raises
    ------
    ManifestError
        When several rows have one name, case aside, or name one piece of audio.
    """
    items = _items(rows)
    problems = _repetitions(rows, items)
    if problems:
        raise ManifestError(problems)
    rows.reverse()
    return [rows.pop().recording(item) for item in items]


def _items(rows: list[Row]) -> list[str]:
    """Return the name of each row: the one given, or one made of the path, the same for all segments of a file."""
    paths = [row.path for row in rows if row.item is None]
    given = (safe_name(row.item) for row in rows if row.item is not None)
    if all_differ(paths):
        made = unique_names(paths, given)
    else:
        distinct = list(dict.fromkeys(paths))
        by_path = dict(zip(distinct, unique_names(distinct, given), strict=True))
        made = [by_path[path] for path in paths]
    names = iter(made)
    return [next(names) + row.suffix if row.item is None else safe_name(row.item) for row in rows]


def _repetitions(rows: list[Row], items: list[str]) -> list[str]:
    """Say which rows have a name, case aside, or a piece of audio that a row before them has."""
    if all_differ(item.casefold() for item in items):
        return []
    first: dict[str, int] = {}
    problems = []
    for index, item in enumerate(items):
        known = first.setdefault(item.casefold(), index)
        if known == index:
            continue
        row, before = rows[index], rows[known]
        if row.item is None and before.item is None and row.path == before.path:
            what, remedy = f"{row.path!r}{row.suffix} is listed already", "give the lines an 'item' each, or drop one"
        else:
            what, remedy = f"the item {spell(item)} is there already, case aside", "give it another 'item'"
        problems.append(f"{_place(row)}: {what}, first in {_place(before)}: {remedy}")
        if len(problems) == MAX_FAULTS:
            break
    return problems


def all_differ(texts: Iterable[str]) -> bool:
    """Return whether all texts are surely different; a set of a million would take a lot of memory to say so."""
    hashes = np.sort(np.fromiter(map(hash, texts), np.int64))
    return not np.any(hashes[1:] == hashes[:-1])


def _place(row: Row) -> str:
    return row.path if row.manifest is None else f"{row.manifest}:{row.line}"


def unique_names(paths: Sequence[str], reserved: Iterable[str] = ()) -> list[str]:
    """Name files as `name_recordings` does, by names that none of ``reserved`` equals, case aside."""
    if not paths:
        return []
    names = [safe_name(_stem(path)) for path in paths]
    held = {name.casefold() for name in reserved}
    met = _met(names, held)
    if not met:
        return names
    alternatives = [safe_name(f"{_folder(path)}-{_stem(path)}") for path in paths]
    others = Counter(name.casefold() for name in alternatives)
    for index in met:
        alternative = alternatives[index].casefold()
        if others[alternative] == 1 and alternative not in held:
            names[index] = alternatives[index]
    _number(names, paths, held)
    return names


def _met(names: list[str], held: set[str]) -> list[int]:
    """Return where names are that occur more than once, case aside, or are held by somebody else."""
    if not held and all_differ(name.casefold() for name in names):
        return []
    counts = Counter(name.casefold() for name in names)
    return [index for index, name in enumerate(names) if counts[name.casefold()] > 1 or name.casefold() in held]


def _number(names: list[str], paths: Sequence[str], held: set[str]) -> None:
    """Put numbers to names that still meet; the first by its path keeps the name as it is."""
    taken = held | {name.casefold() for name in names}
    first = set(held)
    # Each name goes on from its last number: many files of one name must not be tried against one another.
    numbers: dict[str, itertools.count[int]] = {}
    # In the order of the paths, so that numbers do not depend on who comes first in a pipeline.
    for index in sorted(_met(names, held), key=lambda index: Path(paths[index])):
        name = names[index].casefold()
        if name in first:
            counter = numbers.setdefault(name, itertools.count(2))
            number = next(n for n in counter if f"{name}-{n}" not in taken)
            names[index] += f"-{number}"
            taken.add(names[index].casefold())
        first.add(name)


def safe_name(name: str) -> str:
    """Return a name as one that a folder can have on any file system."""
    safe = _UNSAFE.sub("_", name).strip(" .")
    # A folder's name and a number may join a stem that fills a file name on its own.
    safe = safe.encode()[:_LONGEST].decode(errors="ignore").strip(" .")
    return safe or "unnamed"


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name


def _folder(path: str) -> str:
    return os.path.basename(os.path.dirname(path))
