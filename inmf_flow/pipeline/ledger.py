"""The ledger: what was done to each item, with which inputs, and what came of it.

A record holds a batch of items and is written whole after the batch's outputs are in place, so what it names exists.
How items are batched may change between runs: then records are written anew (`Ledger.align`) before anything is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK, atomic_write, describe_file, digest_bytes, remove_tree

FORMAT = 1
FOLDER = "ledger"


@dataclass(frozen=True)
class Entry:
    """How one item of one stage ended.

    Attributes
    ----------
    item
        The item's name within its stage.
    inputs
        Digests of all that the result depends on, by what they are: the item's key, told apart so that a plan can say
        what changed.
    status, reason
        ``done``, or ``failed`` with one sentence.
    transient
        Whether the failure may pass (a full disk, a lost worker): such an item is tried again.
    outputs
        Size and digest of each file written, by path relative to the run's folder.
    extra
        What the stages after it need.
    """

    item: str
    inputs: Mapping[str, str]
    status: Literal["done", "failed"]
    reason: str | None = None
    transient: bool = False
    outputs: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """One digest of all inputs."""
        return content_key(self.inputs)


def content_key(inputs: Mapping[str, str]) -> str:
    """Return one digest of named digests."""
    return digest_bytes(json.dumps(dict(inputs), sort_keys=True).encode())


def digest_json(value: Any) -> str:
    """Return the digest of plain data."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def describe_output(run_folder: Path, path: Path) -> dict[str, tuple[int, str]]:
    """Return the entry of a finished file for `Entry.outputs`."""
    return {path.relative_to(run_folder).as_posix(): describe_file(path)}


class Ledger:
    """The records of a run's folder.

    Parameters
    ----------
    run_folder
        The run's folder; records are in ``ledger/STAGE/BATCH.json`` below it.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        self._base = str(run_folder)

    def record_path(self, stage: str, batch: str) -> Path:
        """Return where a batch's record is."""
        return self.run_folder / FOLDER / stage / f"{batch}.json"

    def load(self, stage: str) -> dict[str, Entry]:
        """Return all entries of a stage by item; records that cannot be read count as not there."""
        records = self.records(stage)
        return {item: entry for name in sorted(records.names) for item, entry in records.read(name).items()}

    def records(self, stage: str) -> StageRecords:
        """Return the records of a stage, to be read one by one."""
        return StageRecords(self.run_folder / FOLDER / stage, stage)

    def write(self, stage: str, batch: str, entries: Iterable[Entry]) -> None:
        """Write a batch's record atomically; equal entries give equal bytes."""
        _write(self.record_path(stage, batch), stage, entries)

    def align(self, stage: str, batches: Iterable[tuple[str, list[Entry]]]) -> None:
        """Let a stage have these records and no others.

        Entries may move from one record to another. Whatever the moment at which this is ended, none is lost: the new
        records are all written beside the old ones before the first old one goes.
        """
        folder, beside = self.run_folder / FOLDER / stage, _beside(self.run_folder / FOLDER / stage)
        names = []
        for name, entries in batches:
            if entries:
                names.append(name)
                text = _text(stage, entries)
                if not _holds(folder / f"{name}.json", text):
                    atomic_write(beside / f"{name}.json", text)
        if beside.is_dir():
            atomic_write(beside / _COMPLETE, json.dumps(names))
            _finish_alignment(folder)
        self.keep_only(stage, names)

    def recover(self, stage: str) -> None:
        """Finish what a killed run left of an alignment, or drop it if it is not whole."""
        folder = self.run_folder / FOLDER / stage
        beside = _beside(folder)
        if (beside / _COMPLETE).is_file():
            _finish_alignment(folder)
        elif beside.is_dir():
            remove_tree(beside)

    def keep_only(self, stage: str, batches: Iterable[str]) -> None:
        """Remove records of batches that the plan does not have, and leftovers of killed writers."""
        kept = {f"{batch}.json" for batch in batches}
        with suppress(FileNotFoundError):
            for path in (self.run_folder / FOLDER / stage).iterdir():
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def why_redo(
        self, entry: Entry | None, inputs: Mapping[str, str], fault: Callable[[Path | str, int, str], str | None]
    ) -> str | None:
        """Return why an item must be done, or None when its entry still holds.

        ``fault`` says what has become of a file that should have a size and a digest.
        """
        if entry is None:
            return "it has not been done yet"
        if inputs != entry.inputs:
            changed = sorted(name for name in {*inputs, *entry.inputs} if inputs.get(name) != entry.inputs.get(name))
            return "changed: " + ", ".join(changed)
        if entry.status == "failed":
            return f"it failed for a reason that may have passed ({entry.reason})" if entry.transient else None
        for name, (size, digest) in entry.outputs.items():
            found = fault(self.place(name), size, digest)
            if found is not None:
                return f"{name} {found}"
        return None

    def place(self, name: str) -> str:
        """Return where an output is, in the cheapest form: a run has millions of them."""
        return f"{self._base}/{name}"


class StageRecords:
    """The records of one stage, read when they are asked for.

    Attributes
    ----------
    names
        Of the batches that have a record.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self._folder = folder
        self._stage = stage
        # An alignment that was not finished: its records are the ones that count, and can be read by whoever may not
        # write.
        self._beside = _beside(folder) if (_beside(folder) / _COMPLETE).is_file() else None
        self._aligned = set(_names(self._beside)) if self._beside is not None else set()
        self.names = frozenset(_names(folder)) | self._aligned
        self._read_lately = lru_cache(maxsize=64)(self._read)

    def read(self, name: str) -> Mapping[str, Entry]:
        """Return the entries of a record by item; none where it cannot be read.

        Raises
        ------
        ConfigError
            When a newer version wrote it.
        """
        return self._read_lately(name)

    def _read(self, name: str) -> dict[str, Entry]:
        folder = self._beside if self._beside is not None and name in self._aligned else self._folder
        return {entry.item: entry for entry in _read(folder / f"{name}.json", self._stage)}


_COMPLETE = "complete"


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.aligned")


def _names(folder: Path) -> Iterator[str]:
    # Where no run folder can be is told when the first file of it is written.
    with suppress(FileNotFoundError, NotADirectoryError):
        for path in folder.iterdir():
            if path.name.endswith(".json") and not path.name.startswith(TEMPORARY_MARK):
                yield path.name.removesuffix(".json")


def _finish_alignment(folder: Path) -> None:
    """Put the records beside in place. Done twice it gives the same; the mark that says to do it goes last but one."""
    beside = _beside(folder)
    for name in sorted(_names(beside)):
        atomic_write(folder / f"{name}.json", (beside / f"{name}.json").read_bytes())
    names = set(json.loads((beside / _COMPLETE).read_bytes()))
    for name in list(_names(folder)):
        if name not in names:
            (folder / f"{name}.json").unlink(missing_ok=True)
    (beside / _COMPLETE).unlink()
    remove_tree(beside)


def _text(stage: str, entries: Iterable[Entry]) -> str:
    items = {entry.item: _plain(entry) for entry in sorted(entries, key=lambda entry: entry.item)}
    body = {"format": FORMAT, "stage": stage, "items": items}
    return json.dumps({**body, "checksum": digest_json(body)}, sort_keys=True, indent=1)


def _write(path: Path, stage: str, entries: Iterable[Entry]) -> None:
    text = _text(stage, entries)
    if not _holds(path, text):
        atomic_write(path, text)


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "inputs": dict(entry.inputs),
        "status": entry.status,
        "reason": entry.reason,
        "transient": entry.transient,
        "outputs": {name: list(known) for name, known in entry.outputs.items()},
        "extra": dict(entry.extra),
    }


def _read(path: Path, stage: str) -> list[Entry]:
    try:
        body = json.loads(path.read_text("utf-8"))
        checksum = body.pop("checksum")
        if body["format"] > FORMAT:
            raise ConfigError(
                "the run's folder was written by a newer version",
                where=path,
                got=f"format {body['format']}",
                expected=f"format {FORMAT}",
                hint="Upgrade inmf-flow, or give another --output.",
            )
        if checksum != digest_json(body) or body["stage"] != stage:
            return []
        return [
            Entry(
                item,
                data["inputs"],
                data["status"],
                data["reason"],
                data["transient"],
                {name: (int(size), digest) for name, (size, digest) in data["outputs"].items()},
                data["extra"],
            )
            for item, data in body["items"].items()
        ]
    except (ConfigError, ConnectionError):
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
