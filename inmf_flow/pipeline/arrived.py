"""What has arrived in a watched folder: each file with the name that it got, for as long as the run's folder lives.

Names, and the order of the files, must not depend on what comes later, or results would be made again under other names
and records be written anew. So both are remembered, in ``ledger/arrivals.jsonl``: an object a line, in the order of
arrival; a later line of a file replaces an earlier one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inmf_flow.corpus import Recording, cut_segments
from inmf_flow.corpus.arrivals import Stamp, look
from inmf_flow.corpus.naming import unique_names
from inmf_flow.corpus.segments import Segments
from inmf_flow.errors import ConfigError
from inmf_flow.files import atomic_write
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.known import Known
from inmf_flow.pipeline.ledger import Ledger
from inmf_flow.pipeline.plan import Planner
from inmf_flow.remote import is_remote

NAME = "arrivals.jsonl"


@dataclass(frozen=True)
class _File:
    """A file that has arrived: its name, its stamp then, and the items that it was cut into."""

    name: str
    stamp: Stamp
    recordings: tuple[Recording, ...]


class Arrived:
    """The files that a run has taken from its folder.

    Parameters
    ----------
    pipeline
        Says what folder, and how long segments are.
    run_folder
        The run's folder.
    """

    def __init__(self, pipeline: Pipeline, run_folder: Path) -> None:
        assert pipeline.corpus.watch is not None
        self.folder = pipeline.resolve(pipeline.corpus.watch.folder)
        self._path = run_folder / "ledger" / NAME
        self._own = _places_of(run_folder, self.folder)
        # The folder of the pipeline may be moved as a whole, with what is in it.
        self._base = f"{pipeline.base}/"
        segments = pipeline.corpus.segments
        self._segments = None if segments is None else Segments(segments.seconds, segments.overlap)
        self._files: dict[str, _File] = {}
        self._names: dict[str, str] = {}
        self._lines: list[str] = []
        self._load()

    def look(self) -> dict[str, Stamp]:
        """Return the files that are in the folder now, with their stamps; what the run has made is none of them.

        Raises
        ------
        OSError
            When the folder cannot be looked at.
        """
        seen = look(self.folder)
        return {path: stamp for path, stamp in seen.items() if not path.startswith(self._own)}

    @property
    def stamps(self) -> dict[str, Stamp]:
        """The stamps of the files when they were taken."""
        return {path: file.stamp for path, file in self._files.items()}

    @property
    def recordings(self) -> list[Recording]:
        """The items of all files, in the order in which these arrived."""
        return [recording for file in self._files.values() for recording in file.recordings]

    def items(self, paths: Iterable[str]) -> set[str]:
        """Return the names of files, and of the items that they were cut into."""
        files = [self._files[path] for path in paths if path in self._files]
        return {name for file in files for name in (file.name, *(recording.item for recording in file.recordings))}

    def leave_out(self, seen: Collection[str], ledger: Ledger) -> set[str]:
        """Leave out files that are not seen and that nothing came of; return those that are not and have results.

        Those that are left out keep their names for when they come again.
        """
        gone = [path for path in self._files if path not in seen]
        if not gone:
            return set()
        records = ledger.records("separate")
        entries = (entry for name in sorted(records.names) for entry in records.read(name).values())
        done = {entry.item for entry in entries if entry.status == "done"}
        for path in gone:
            file = self._files[path]
            kept = tuple(recording for recording in file.recordings if recording.item in done)
            if kept:
                self._files[path] = _File(file.name, file.stamp, kept)
            else:
                del self._files[path]
        return {path for path in gone if path in self._files}

    def add(self, files: Mapping[str, Stamp], *, remember: bool = True) -> list[Recording]:
        """Take files, new ones and such as have changed; return the items of all that are new, in order.

        ``remember``: whether the next run is to know of it.
        """
        new = [path for path in files if path not in self._names]
        taken = {*self._names.values(), *(recording.item for recording in self.recordings)} if new else set()
        self._names.update(zip(new, unique_names(new, taken), strict=True))
        added: list[Recording] = []
        lines = []
        for path, stamp in files.items():
            before = self._files.get(path)
            recordings = self._cut(path)
            if before is not None and before.recordings == recordings:
                # The same objects: what is known of them is found by these.
                recordings = before.recordings
            elif before is None:
                added += recordings
            self._files[path] = _File(self._names[path], stamp, recordings)
            lines.append(self._line(path))
        if remember:
            self._append(lines)
        return added

    def _cut(self, path: str) -> tuple[Recording, ...]:
        whole = [Recording(self._names[path], path)]
        if self._segments is None:
            return tuple(whole)
        with suppress(ConfigError):
            return tuple(cut_segments(whole, self._segments))
        return tuple(whole)

    def _line(self, path: str) -> str:
        file = self._files[path]
        parts = [[recording.item, recording.start, recording.stop] for recording in file.recordings]
        name = path.removeprefix(self._base)
        return json.dumps({"path": name, "name": file.name, "stamp": list(file.stamp), "items": parts}) + "\n"

    def _append(self, lines: list[str]) -> None:
        if is_remote(self._path):
            # Nothing can be appended to an object.
            self._lines += lines
            atomic_write(self._path, "".join(self._lines))
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as stream:
            end = stream.seek(0, 2)
            stream.seek(max(end - 1, 0))
            # What a killed run left unfinished ends here, and is no line.
            stream.write((b"\n" if end and stream.read(1) != b"\n" else b"") + "".join(lines).encode())

    def _load(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        for line in data.split(b"\n"):
            # A damaged line costs a file its place: it arrives again.
            with suppress(ValueError, KeyError, TypeError):
                self._take(json.loads(line))
                self._lines.append(line.decode() + "\n")

    def _take(self, data: Mapping[str, Any]) -> None:
        path = str(data["path"])
        path = path if path.startswith("/") or is_remote(path) else self._base + path
        size, changed = map(int, data["stamp"])
        recordings = tuple(Recording(item, path, start, stop) for item, start, stop in data["items"])
        self._files[path] = _File(str(data["name"]), (size, changed), recordings)
        self._names[path] = self._files[path].name


def _places_of(run_folder: Path, folder: Path) -> tuple[str, ...]:
    """Return how the paths of a run's files can begin where they are found below a folder."""
    places = [f"{run_folder}/"]
    if not (is_remote(run_folder) or is_remote(folder)):
        below = os.path.relpath(os.path.realpath(run_folder), os.path.realpath(folder))
        if below == "." or not below.startswith(".."):
            places.append(f"{folder}/" if below == "." else f"{folder}/{below}/")
    return tuple(places)


def plan_arrived(pipeline: Pipeline, run_folder: Path) -> Planner:
    """Return a planner of what a watched folder holds now, as if all of it were whole; nothing is written.

    Raises
    ------
    OSError
        When the folder cannot be looked at.
    """
    arrived = Arrived(pipeline, run_folder)
    seen = arrived.look()
    gone = arrived.leave_out(seen, Ledger(run_folder))
    stamps = arrived.stamps
    arrived.add({path: stamp for path, stamp in seen.items() if stamps.get(path) != stamp}, remember=False)
    return planner_of(pipeline, run_folder, arrived, kept=gone)


def planner_of(pipeline: Pipeline, run_folder: Path, arrived: Arrived, kept: Iterable[str]) -> Planner:
    """Return a planner of what has arrived; ``kept`` are files whose results hold whatever became of them."""
    return Planner(pipeline, run_folder, arrived.recordings, Known(kept=frozenset(arrived.items(kept))))
