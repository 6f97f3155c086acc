"""Documents of many lines, written and compared without holding them; and how a run's documents name files."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from inmf_flow.files import atomic_path
from inmf_flow.remote import RemotePath, as_path, is_remote

if TYPE_CHECKING:
    from inmf_flow.pipeline.plan import Planner


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file atomically, line by line. Names of files that are not valid text keep their bytes."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        stream.writelines(lines)


def holds_lines(path: Path, lines: Iterable[str]) -> bool:
    """Return whether a file has these lines and no others."""
    try:
        with path.open("rb") as stream:
            known = (line.encode("utf-8", "surrogateescape") for line in lines)
            # A line here may be several of the file: a name can hold a line feed.
            return all(found == line for found, line in zip_longest(stream, _split(known)))
    except OSError:
        return False


def _split(lines: Iterable[bytes]) -> Iterable[bytes]:
    for line in lines:
        yield from (line,) if line.count(b"\n") < 2 else (part + b"\n" for part in line[:-1].split(b"\n"))


def relative_path(planner: Planner, path: Path | str) -> str:
    """Return a path relative to the run's folder where that is short, so that a folder moved as a whole still works."""
    # Of the folder, which many files share.
    folder, _, name = str(path).rpartition("/")
    relative = _relative(folder or "/", str(planner.run_folder))
    return f"{relative}/{name}" if relative else name


@lru_cache(maxsize=4096)
def _relative(folder: str, run_folder: str) -> str:
    if is_remote(folder) or is_remote(run_folder):
        here, there = as_path(run_folder), as_path(folder)
        if not (isinstance(here, RemotePath) and isinstance(there, RemotePath) and here.bucket == there.bucket):
            return folder
        relative = posixpath.relpath(f"/{there.key}", f"/{here.key}")
    else:
        relative = os.path.relpath(folder, run_folder)
    if relative == ".":
        return ""
    return relative if relative.split("/").count("..") <= 4 else folder.rstrip("/")
