"""Faults on purpose: damaged files, disks that fail or are full, killed processes, broken recordings.

For tests that ask what is left afterwards, of this package and of plugins. Equal seeds give equal faults. Linux only::

    from inmf_flow.testing.faults import corrupt, kinds_of_files

    for kind, files in kinds_of_files("run/points.zarr").items():
        corrupt(files[0], "bit flip", seed=0)
        assert verify_store("run/points.zarr"), kind
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inmf_flow.errors import ArgumentError
from inmf_flow.testing.faulty_files import OPERATIONS, FailingFilesystem
from inmf_flow.testing.mutations import mutated_audio

__all__ = [
    "CORRUPTIONS",
    "OPERATIONS",
    "Disk",
    "FailingFilesystem",
    "corrupt",
    "full_disk",
    "kill_at_random",
    "kinds_of_files",
    "mutated_audio",
]

_PAGE = 4096


def corrupt(path: Path | str, kind: str, seed: int) -> None:
    """Damage a file. It is another one afterwards in every case.

    Parameters
    ----------
    path
        The file.
    kind
        ``bit flip`` and ``zero fill`` keep its size and time of change, as bit rot does. ``truncation`` cuts it
        anywhere, ``append`` adds a few bytes, ``deletion`` removes it.
    seed
        Decides where.

    Raises
    ------
    ArgumentError
        When there is no such kind, or the file holds nothing that it could change.
    """
    path = Path(path)
    if kind not in CORRUPTIONS:
        raise ArgumentError("no such corruption", got=repr(kind), expected=", ".join(CORRUPTIONS))
    if kind == "deletion":
        path.unlink()
        return
    before = path.read_bytes()
    content = bytearray(before)
    status = path.stat()
    _CHANGES[kind](content, random.Random(f"{kind} {seed}"))
    if content == before:
        raise ArgumentError("the file holds nothing that this could change", where=path, got=kind)
    # In place: somebody may hold a lock on it.
    with path.open("rb+") as stream:
        stream.write(content)
        stream.truncate()
    if len(content) == len(before):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _flip(content: bytearray, chance: random.Random) -> None:
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _fill(content: bytearray, chance: random.Random) -> None:
    # Around a byte that is not zero yet, or nothing would change.
    places = [number for number, value in enumerate(content) if value]
    if places:
        start = chance.choice(places)
        stop = min(start + chance.choice((1, 16, 512, _PAGE)), len(content))
        content[start:stop] = bytes(stop - start)


def _truncate(content: bytearray, chance: random.Random) -> None:
    if content:
        del content[chance.randrange(len(content)) :]


def _append(content: bytearray, chance: random.Random) -> None:
    content += chance.randbytes(chance.randint(1, 9))


_CHANGES: Mapping[str, Callable[[bytearray, random.Random], None]] = {
    "bit flip": _flip,
    "truncation": _truncate,
    "zero fill": _fill,
    "append": _append,
}
CORRUPTIONS = (*_CHANGES, "deletion")
"""The kinds of damage that `corrupt` does."""


def kinds_of_files(store: Path | str) -> dict[str, list[Path]]:
    """Return the files of a points store by what they are, each list sorted.

    Returns
    -------
    files
        Of ``root group``, ``parts group``, ``record``, ``part group``, ``array metadata`` and ``shard``.
    """
    root = Path(store)
    patterns = {
        "root group": "zarr.json",
        "parts group": "parts/zarr.json",
        "record": "manifest/*.json",
        "part group": "parts/*/zarr.json",
        "array metadata": "parts/*/*/zarr.json",
        "shard": "parts/*/*/c.*",
    }
    return {kind: sorted(root.glob(pattern)) for kind, pattern in patterns.items()}


@dataclass
class Disk:
    """A disk that is nearly full.

    Attributes
    ----------
    folder
        Where it is.
    kind
        ``tmpfs``: a file system of its own; all processes see it. ``limit``: no file of this process, and of those it
        starts, can grow beyond the size.
    """

    folder: Path
    kind: Literal["tmpfs", "limit"]
    _limits: tuple[int, int]

    def make_room(self, size: int) -> None:
        """Let the disk hold so many bytes; what is on it stays."""
        if self.kind == "tmpfs":
            subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


@contextmanager
def full_disk(folder: Path | str, size: int) -> Iterator[Disk]:
    """Let a folder be a disk of a few bytes.

    Where this user may mount file systems it is a tmpfs, which is gone with its content when the block ends;
    elsewhere a limit on the size of each file, for the whole process.

    Parameters
    ----------
    folder
        An empty folder; made where there is none.
    size
        Bytes, rounded up to pages of 4 KiB.

    Yields
    ------
    disk
        Says which of the two it is, and can make room.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        options = ["mount", "-t", "tmpfs", "-o", f"size={-(-size // _PAGE) * _PAGE}", "tmpfs", str(folder)]
        mounted = subprocess.run(options, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if mounted:
        try:
            yield Disk(folder, "tmpfs", limits)
        finally:
            # Lazily: a process that is about to end may still hold a file.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield Disk(folder, "limit", limits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def kill_at_random(process: subprocess.Popen[str], seed: int, within: float, *, group: bool = False) -> float | None:
    """Send SIGKILL to a process at a random moment, and wait for its end.

    Parameters
    ----------
    process
        Started with ``start_new_session=True`` where its group is to be killed.
    seed
        Decides the moment.
    within
        It comes within so many seconds from now.
    group
        Kill the processes that it has started too, and not leave them orphaned.

    Returns
    -------
    seconds
        After how long it was killed; None where it had ended by itself.
    """
    seconds = random.Random(f"kill {seed}").uniform(0, within)
    # Not `Popen.wait`, which looks less and less often.
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and process.poll() is None:
        time.sleep(min(left, 0.005))
    if process.poll() is not None:
        return None
    with suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return seconds
