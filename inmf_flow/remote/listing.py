"""Answers about many objects from a few listings, instead of a request for each."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from inmf_flow.remote import client
from inmf_flow.remote.client import RemoteStatus

# More folders than this are listed as what they have in common.
_MOST_FOLDERS = 16
# A listing that turns out to be mostly of other things costs more than it saves.
_SPARE = 10_000

_held: list[_Listing] = []


class _Listing:
    def __init__(self, bucket: str, prefix: str, statuses: dict[str, RemoteStatus]) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.statuses = statuses


@contextmanager
def listed(paths: Iterable[Path]) -> Iterator[None]:
    """While the block runs, `RemotePath.stat` answers for these objects and their neighbours by what listings said.

    Paths of this machine are passed over. Anything that this process writes or removes ends it.
    """
    from inmf_flow.remote.path import RemotePath

    if _held:
        # As fresh as the block around this one wants it.
        yield
        return
    keys: dict[str, list[str]] = {}
    for path in paths:
        if isinstance(path, RemotePath):
            keys.setdefault(path.bucket, []).append(path.key)
    try:
        for bucket, wanted in keys.items():
            for prefix, count in _folders(wanted).items():
                found = dict(islice(client.objects(bucket, prefix), 4 * count + _SPARE + 1))
                if len(found) <= 4 * count + _SPARE:
                    _held.append(_Listing(bucket, prefix, found))
        yield
    finally:
        _held.clear()


def _folders(keys: list[str]) -> dict[str, int]:
    """Return the folders to list, and how many of the keys are in each; few keys are asked for one by one."""
    counts = Counter(key.rpartition("/")[0] for key in keys)
    if len(counts) > _MOST_FOLDERS:
        counts = Counter({os.path.commonpath([f"/{folder}" for folder in counts]).lstrip("/"): len(keys)})
    return {folder: count for folder, count in counts.items() if count > 2}


def known(bucket: str, key: str) -> RemoteStatus | bool | None:
    """Return what a listing said of an object: False where there is none, None where nobody has looked."""
    for listing in _held:
        if listing.bucket == bucket and key.startswith(listing.prefix):
            return listing.statuses.get(key, False)
    return None


def forget() -> None:
    """Take note that objects have changed."""
    _held.clear()
