"""From paths, folders and glob patterns to named recordings."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inmf_flow.audio import AUDIO_SUFFIXES
from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK

_UNSAFE = re.compile(r"[^\w .()+,=@-]")


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
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        text = str(pattern)
        if glob.has_magic(text) and not Path(text).exists():
            matches = _files(Path(match) for match in glob.iglob(text, recursive=True))
            explicit = not glob.has_magic(Path(text).suffix) and Path(text).suffix != ""
            if not explicit:
                matches = [path for path in matches if _is_audio(path)]
        elif Path(text).is_dir():
            matches = [path for path in _files(Path(text).rglob("*")) if _is_audio(path)]
        else:
            matches = [Path(text)]
        if not matches:
            raise ConfigError(
                "no audio file matches", where=where, got=repr(text), hint="Check the path and the pattern."
            )
        found.update(dict.fromkeys(sorted(matches)))
    return list(found)


def name_recordings(paths: Iterable[Path]) -> list[Recording]:
    """Give each file a name: its stem, made unique by its folder's name or a number where two share it."""
    paths = list(paths)
    names = [_safe(path.stem) for path in paths]
    names = _told_apart(names, [_safe(f"{path.parent.name}-{path.stem}") for path in paths])
    names = _told_apart(names, [_safe(f"{path.parent.name}-{path.name}") for path in paths])
    seen: Counter[str] = Counter()
    taken = set(names)
    recordings = []
    for name, path in zip(names, paths, strict=True):
        seen[name.casefold()] += 1
        unique = name
        while seen[name.casefold()] > 1 and (unique == name or unique in taken):
            unique = f"{name}-{seen[name.casefold()]}"
            if unique in taken:
                seen[name.casefold()] += 1
        taken.add(unique)
        recordings.append(Recording(unique, path))
    return recordings


def _told_apart(names: list[str], alternatives: list[str]) -> list[str]:
    """Replace names that occur more than once, case aside: not every file system tells cases apart."""
    counts = Counter(name.casefold() for name in names)
    return [
        alternative if counts[name.casefold()] > 1 else name
        for name, alternative in zip(names, alternatives, strict=True)
    ]


def _safe(name: str) -> str:
    safe = _UNSAFE.sub("_", name).strip(" .")
    return safe or "unnamed"


def _files(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and not path.name.startswith(TEMPORARY_MARK)]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
