"""Rows of digests in sorted segments: millions of them in 24 bytes each, while they are added as well."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

#: What finds a row (a hash of path, size and time), and the digest.
ROW = np.dtype([("stamp", "<u8"), ("digest", "V16")])
# Each part holds the stamps that begin with the same bits, and is sorted on its own: that takes as much memory again as
# what is sorted, and only of one part at a time.
_BITS = 5


class DigestTable:
    """Finds digests by their stamps; of several rows with one stamp the last that was added."""

    def __init__(self) -> None:
        # Of each part segments that grow from the last to the first, so that a row is sorted in a few times only.
        self._parts: list[list[tuple[array[int], bytes]]] = [[] for _ in range(1 << _BITS)]

    def add(self, rows: Any) -> None:
        """Add rows of the type `ROW`, in the order in which they were learned."""
        ordered = rows[np.argsort(rows["stamp"], kind="stable")]
        begins = np.arange(1 << _BITS, dtype=np.uint64) << np.uint64(64 - _BITS)
        cuts = [*np.searchsorted(ordered["stamp"], begins).tolist(), len(ordered)]
        for part, (begin, end) in zip(self._parts, pairwise(cuts), strict=True):
            if end == begin:
                continue
            part.append(_segment(ordered[begin:end]))
            while len(part) > 1 and 2 * len(part[-1][0]) >= len(part[-2][0]):
                second, first = part.pop(), part.pop()
                both = np.concatenate([_rows(first), _rows(second)])
                part.append(_segment(both[np.argsort(both["stamp"], kind="stable")]))

    def find(self, stamp: int) -> bytes | None:
        """Return the digest of a stamp, or None where there is none."""
        for stamps, digests in reversed(self._parts[stamp >> (64 - _BITS)]):
            # The last of several, which was learned last.
            place = bisect_right(stamps, stamp) - 1
            if place >= 0 and stamps[place] == stamp:
                return digests[16 * place : 16 * place + 16]
        return None

    def rows(self) -> Iterator[Any]:
        """Yield all rows, those of one stamp in the order in which they were learned."""
        for part in self._parts:
            yield from map(_rows, part)


def _segment(rows: Any) -> tuple[array[int], bytes]:
    # An array's items are found several times faster than those of a structured one.
    stamps = array("Q")
    stamps.frombytes(rows["stamp"].tobytes())
    return stamps, rows["digest"].tobytes()


def _rows(segment: tuple[array[int], bytes]) -> Any:
    stamps, digests = segment
    rows = np.empty(len(stamps), ROW)
    rows["stamp"] = np.frombuffer(stamps, np.uint64)
    rows["digest"] = np.frombuffer(digests, "V16")
    return rows
