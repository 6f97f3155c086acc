"""From paths, folders, glob patterns and manifests to named recordings."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from inmf_flow.audio import AUDIO_SUFFIXES
from inmf_flow.corpus.manifest import Manifest, ManifestError, Row, is_manifest, read_rows
from inmf_flow.corpus.naming import name_rows
from inmf_flow.corpus.recording import Recording
from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK
from inmf_flow.remote import RemotePath, as_path, is_remote

#: What is wrong with a pattern that matches nothing.
NO_MATCH = "no audio file matches"


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
        if is_remote(text):
            matches = _remote_files(RemotePath(text), where)
        elif glob.has_magic(text) and not os.path.exists(text):
            matches = _files(Path(match) for match in glob.iglob(_literal_folders(text), recursive=True))
            explicit = not glob.has_magic(Path(text).suffix) and Path(text).suffix != ""
            if not explicit:
                matches = [path for path in matches if _is_audio(path)]
        elif os.path.isdir(text):
            matches = [path for path in _files(Path(text).rglob("*")) if _is_audio(path) and not _hidden(path, text)]
        else:
            matches = [Path(text)]
        if not matches:
            raise ConfigError(NO_MATCH, where=where, got=repr(text), hint="Check the path and the pattern.")
        found.update(dict.fromkeys(sorted(matches)))
    return list(found)


def find_recordings(
    entries: Sequence[Path | str | Manifest], where: str, *, faults: list[ConfigError] | None = None
) -> list[Recording]:
    """Return the recordings that patterns and manifests name, under names that are unique among them.

    Parameters
    ----------
    entries
        As `find_files` takes them, and manifests. Files that a pattern matches and that end in ``.jsonl`` or ``.csv``
        are read as manifests whose paths stay in the manifest's folder.
    where
        The key or argument that holds the entries, for the message.
    faults
        Where to put what is wrong with an entry, which is then left out. By default it is raised.

    Returns
    -------
    recordings
        In the order of the entries and of the lines. A line without ``item`` is named as `name_recordings` names its
        file, with ``@START-STOP`` in milliseconds where it is a segment.

    Raises
    ------
    ConfigError
        When a pattern matches nothing, or a manifest cannot be read. A `ManifestError` with all faults of the
        manifest when lines are wrong, and when lines have one name or name one piece of audio twice.
    """
    rows: list[Row] = []
    found: dict[str, None] = {}
    for entry in entries:
        try:
            for source in [entry] if isinstance(entry, Manifest) else find_files([entry], where):
                if isinstance(source, Manifest):
                    rows += read_rows(source, where)
                elif is_manifest(source):
                    rows += read_rows(Manifest(source), where)
                elif (path := str(source)) not in found:
                    found[path] = None
                    rows.append(Row(None, path))
        except ConfigError as error:
            if faults is None:
                raise
            faults.append(error)
    try:
        return name_rows(rows)
    except ManifestError as error:
        if faults is None:
            raise
        faults.append(error)
        return []


def read_manifest(path: Path | str, *, root: Path | str | None = None, allow_outside: bool = False) -> list[Recording]:
    """Return the recordings that a manifest lists.

    Parameters
    ----------
    path
        A ``.jsonl`` file (an object a line) or a ``.csv`` file (a header, then a row a line), UTF-8. ``audio`` is the
        path of a file, ``item`` the recording's name, ``start`` and ``stop`` are seconds; only ``audio`` has to be
        there. All else is metadata.
    root
        The folder that paths, symbolic links followed, must not leave; by default the manifest's own.
    allow_outside
        Whether paths may lead anywhere.

    Raises
    ------
    ConfigError
        When the file is not there or is no manifest. A `ManifestError` with all faults when lines are wrong.
    """
    manifest = Manifest(as_path(path), None if root is None else as_path(root), allow_outside)
    return find_recordings([manifest], "manifest")


def _remote_files(path: RemotePath, where: str) -> list[Path]:
    """Return the objects that a path on an object store names, by the rules of `find_files`."""
    try:
        if glob.has_magic(path.key) and not path.exists():
            parts = path.key.split("/")
            plain = next(number for number, part in enumerate(parts) if glob.has_magic(part))
            folder = RemotePath(f"s3://{path.bucket}").joinpath(*parts[:plain])
            pattern = "/".join(parts[plain:])
            named = "/." in f"/{pattern}"
            found = [match for match in _files(folder.glob(pattern)) if named or not _hidden(match, folder)]
            explicit = path.suffix and not glob.has_magic(path.suffix)
            return found if explicit else [match for match in found if _is_audio(match)]
        if path.is_file() or not path.is_dir():
            return [path]
        return [each for each in _files(path.rglob("*")) if _is_audio(each) and not _hidden(each, path)]
    except OSError as error:
        raise ConfigError(error.strerror or str(error), where=where, got=repr(str(path))) from None


def _literal_folders(pattern: str) -> str:
    """Escape the part of a pattern that is the name of a folder: what is in brackets there is no choice of letters."""
    parts = Path(pattern).parts
    folders = (Path(*parts[:count]) for count in range(len(parts) - 1, 0, -1))
    folder = next((folder for folder in folders if os.path.isdir(folder)), None)
    if folder is None:
        return pattern
    return str(Path(glob.escape(str(folder)), *parts[len(folder.parts) :]))


def _hidden(path: Path, folder: Path | str) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _files(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and not path.name.startswith(TEMPORARY_MARK)]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
