"""Digests of files that a run reads or has written, remembered as long as size and modification time stay the same."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

from inmf_flow.files import atomic_write, digest_file

#: The digest of a file that cannot be read: it changes when the file appears.
UNREADABLE = "unreadable"
# A file changed within this time of its digest may change again without its modification time showing it.
_SETTLED_NS = 2_000_000_000


class InputDigests:
    """Content digests of input files and of earlier results.

    Parameters
    ----------
    path
        The JSON file that remembers them between runs; a damaged one is made anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        try:
            known = json.loads(path.read_text("utf-8"))
            self._known = {str(k): list(v) for k, v in known.items() if len(v) == 4}
        except (OSError, ValueError, AttributeError, TypeError):
            pass

    def get(self, path: Path) -> str:
        """Return the digest of a file's content, or `UNREADABLE`."""
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                # A pipe would keep us waiting.
                return UNREADABLE
            stamp = [status.st_size, status.st_mtime_ns]
            known = self._known.get(str(path))
            if known and known[:2] == stamp and known[2] - status.st_mtime_ns > _SETTLED_NS:
                return str(known[3])
            digest = digest_file(path)
            self._known[str(path)] = [*stamp, time.time_ns(), digest]
            self._changed = True
            return digest
        except OSError:
            return UNREADABLE

    def learn(self, path: Path, digest: str) -> None:
        """Take over the digest of a file that the run itself has just put in place, and does not write again."""
        try:
            status = path.stat()
        except OSError:
            return
        settled = max(time.time_ns(), status.st_mtime_ns + _SETTLED_NS + 1)
        self._known[str(path)] = [status.st_size, status.st_mtime_ns, settled, digest]
        self._changed = True

    def save(self) -> None:
        """Remember what was learned."""
        if self._changed:
            atomic_write(self.path, json.dumps(self._known, sort_keys=True))
            self._changed = False
