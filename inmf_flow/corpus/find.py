"""From paths, folders and glob patterns to named recordings."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inmf_flow.audio import AUDIO_SUFFIXES
from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK

_UNSAFE = re.compile(r"[^\w .()+,=@-]")
# Bytes of a name; file systems allow 255, and what is made beside it adds some.
_LONGEST = 200


@dataclass(frozen=True)
class Recording:
    """A file of the corpus under a name that is safe as a folder's and unique among its like."""

    item: str
    path: Path


def find_files(patterns: Sequence[Path | str], where: str) -> list[Path]:
    """Return the files that patterns name, sorted and each once.

    Parameters
    ----------
    patterns
        Paths, folders (every audio file below them) or glob patterns (``**`` for any depth). A plain path is kept even
        when nothing is there, so that its absence is recorded as the item's failure.
    where
        The key or argument that holds the patterns, for the message.

    Raises
    ------
    ConfigError
        When a folder or a glob pattern matches no file.

    Notes
    -----
    Hidden files and folders are passed over unless a pattern names them. A file or folder that is there is taken at
    its name, brackets or not; only what follows the last such folder is a pattern.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        text = str(pattern)
        if glob.has_magic(text) and not os.path.exists(text):
            matches = _files(Path(match) for match in glob.iglob(_literal_folders(text), recursive=True))
            explicit = not glob.has_magic(Path(text).suffix) and Path(text).suffix != ""
            if not explicit:
                matches = [path for path in matches if _is_audio(path)]
        elif os.path.isdir(text):
            matches = [path for path in _files(Path(text).rglob("*")) if _is_audio(path) and not _hidden(path, text)]
        else:
            matches = [Path(text)]
        if not matches:
            raise ConfigError(
                "no audio file matches", where=where, got=repr(text), hint="Check the path and the pattern."
            )
        found.update(dict.fromkeys(sorted(matches)))
    return list(found)


def name_recordings(paths: Iterable[Path]) -> list[Recording]:
    """Give each file a name: its stem, made unique by its folder's name, or by a number where that does not help.

    Names differ by more than case, and do not depend on the order of the paths.
    """
    paths = list(paths)
    names = [_safe(path.stem) for path in paths]
    names = _told_apart(names, [_safe(f"{path.parent.name}-{path.stem}") for path in paths])
    taken = {name.casefold() for name in names}
    first: set[str] = set()
    # In the order of the paths, so that numbers do not depend on who comes first in a pipeline.
    for index in sorted(range(len(paths)), key=lambda index: paths[index]):
        name = names[index].casefold()
        if name in first:
            number = next(n for n in itertools.count(2) if f"{name}-{n}" not in taken)
            names[index] += f"-{number}"
            taken.add(names[index].casefold())
        first.add(name)
    return [Recording(name, path) for name, path in zip(names, paths, strict=True)]


def _told_apart(names: list[str], alternatives: list[str]) -> list[str]:
    """Replace names that occur more than once, case aside, by alternatives that do not."""
    counts = Counter(name.casefold() for name in names)
    others = Counter(name.casefold() for name in alternatives)
    return [
        alternative if counts[name.casefold()] > 1 and others[alternative.casefold()] == 1 else name
        for name, alternative in zip(names, alternatives, strict=True)
    ]


def _safe(name: str) -> str:
    safe = _UNSAFE.sub("_", name).strip(" .")
    # A folder's name and a number may join a stem that fills a file name on its own.
    safe = safe.encode()[:_LONGEST].decode(errors="ignore").strip(" .")
    return safe or "unnamed"


def _literal_folders(pattern: str) -> str:
    """Escape the part of a pattern that is the name of a folder: what is in brackets there is no choice of letters."""
    parts = Path(pattern).parts
    folders = (Path(*parts[:count]) for count in range(len(parts) - 1, 0, -1))
    folder = next((folder for folder in folders if os.path.isdir(folder)), None)
    if folder is None:
        return pattern
    return str(Path(glob.escape(str(folder)), *parts[len(folder.parts) :]))


def _hidden(path: Path, folder: str) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _files(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and not path.name.startswith(TEMPORARY_MARK)]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
