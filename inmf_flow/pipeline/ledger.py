"""The ledger: what was done to each item, with which inputs, and what came of it.

A record holds a batch of items and is written whole after the batch's outputs are in place, so what it names exists.
Records are looked up by item, not by batch: how items are batched may change between runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK, atomic_write, digest_bytes, digest_file

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
    return {path.relative_to(run_folder).as_posix(): (path.stat().st_size, digest_file(path))}


class Ledger:
    """The records of a run's folder.

    Parameters
    ----------
    run_folder
        The run's folder; records are in ``ledger/STAGE/BATCH.json`` below it.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder

    def record_path(self, stage: str, batch: str) -> Path:
        """Return where a batch's record is."""
        return self.run_folder / FOLDER / stage / f"{batch}.json"

    def load(self, stage: str) -> dict[str, Entry]:
        """Return all entries of a stage by item; records that cannot be read count as not there."""
        entries: dict[str, Entry] = {}
        for path in sorted((self.run_folder / FOLDER / stage).glob("*.json")):
            if path.name.startswith(TEMPORARY_MARK):
                continue
            for entry in _read(path, stage):
                entries[entry.item] = entry
        return entries

    def write(self, stage: str, batch: str, entries: Iterable[Entry]) -> None:
        """Write a batch's record atomically; equal entries give equal bytes."""
        body = {"format": FORMAT, "stage": stage, "items": {e.item: _plain(e) for e in entries}}
        text = json.dumps({**body, "checksum": digest_json(body)}, sort_keys=True, indent=1)
        path = self.record_path(stage, batch)
        if not (path.is_file() and path.read_bytes() == text.encode()):
            atomic_write(path, text)

    def keep_only(self, stage: str, batches: Iterable[str]) -> None:
        """Remove records of batches that the plan does not have, and leftovers of killed writers."""
        kept = {self.record_path(stage, batch) for batch in batches}
        for path in (self.run_folder / FOLDER / stage).glob("*"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def why_redo(self, entry: Entry | None, inputs: Mapping[str, str], digest: Callable[[Path], str]) -> str | None:
        """Return why an item must be done, or None when its entry still holds; ``digest`` gives a file's."""
        if entry is None:
            return "it has not been done yet"
        changed = sorted(name for name in {*inputs, *entry.inputs} if inputs.get(name) != entry.inputs.get(name))
        if changed:
            return "changed: " + ", ".join(changed)
        if entry.status == "failed":
            return f"it failed for a reason that may have passed ({entry.reason})" if entry.transient else None
        for name, (size, known) in entry.outputs.items():
            path = self.run_folder / name
            try:
                if path.stat().st_size != size or digest(path) != known:
                    return f"{name} has changed"
            except OSError:
                return f"{name} is gone"
        return None


def _plain(entry: Entry) -> dict[str, Any]:
    data = asdict(entry)
    del data["item"]
    return data


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
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
