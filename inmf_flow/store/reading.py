"""`open_points`: a store as a mapping from item to points."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from inmf_flow.errors import StoreError
from inmf_flow.points import PointSet
from inmf_flow.store.manifest import PartRecord
from inmf_flow.store.part_reader import PartReader
from inmf_flow.store.points_store import PointsStore

_OPEN_PARTS = 8


def open_points(path: Path | str) -> StoredPoints:
    """Open a points store for reading.

    Parameters
    ----------
    path
        The store's folder, such as ``run/points.zarr``.

    Returns
    -------
    points
        A mapping from item id to `PointSet`. Items are read, and verified, when they are asked for.

    Raises
    ------
    StoreNotFoundError
        When nothing is there.
    StoreError
        When it is not a store, a record is damaged, or an item is recorded twice with different keys. Reading
        a damaged item raises it too, naming part, array and item.
    """
    return StoredPoints(PointsStore(path))


class StoredPoints(Mapping[str, PointSet]):
    """The items of a store as they were when it was opened, or last followed; made by `open_points`."""

    def __init__(self, store: PointsStore) -> None:
        self.path = store.path
        self._store = store
        self._places = self._recorded()
        self._open: OrderedDict[str, PartReader] = OrderedDict()
        self._lock = threading.Lock()

    def _recorded(self) -> dict[str, tuple[PartRecord, str]]:
        places: dict[str, tuple[PartRecord, str]] = {}
        for record in self._store.records():
            for item in record.items:
                # Parts come in the order of their ids, and equal keys mean equal points: the first serves.
                first, key = places.setdefault(item.id, (record, item.key))
                if key != item.key:
                    raise StoreError(
                        f"item {item.id!r} is recorded with different keys in two parts",
                        where=self.path,
                        got=f"parts {first.part!r} and {record.part!r}",
                        expected="one set of points for each item",
                        hint="Delete the stale part (PointsStore.delete_part).",
                    )
        return places

    def follow(
        self,
        *,
        until: Callable[[], bool] = lambda: False,
        idle_seconds: float = 60.0,
        poll_seconds: float = 0.5,
    ) -> Iterator[tuple[str, PointSet]]:
        """Yield each item and its points, those that are there first and then others as they are recorded.

        Parameters
        ----------
        until
            Asked now and then whether whoever writes has finished; what was recorded by then still comes.
        idle_seconds
            It also ends when nothing has come for so long: a writer may have been killed.
        poll_seconds
            How often the manifest is looked at.

        Raises
        ------
        StoreError
            When an item is damaged, or was recorded again with other points.
        """
        seen: set[str] = set()
        last = time.monotonic()
        while True:
            over = until()
            self._places = self._recorded()
            new = [item for item in self._places if item not in seen]
            for item in new:
                seen.add(item)
                points = self._read_anywhere(item)
                if points is not None:
                    yield item, points
            if new:
                last = time.monotonic()
            elif over or time.monotonic() - last > idle_seconds:
                return
            else:
                time.sleep(poll_seconds)

    def _read_anywhere(self, item: str) -> PointSet | None:
        """Return an item's points from where they are now: the writer may have gathered it in another part since."""
        place = self._places[item]
        try:
            return self[item]
        except StoreError:
            self._places = self._recorded()
            if self._places.get(item) == place:
                raise
            return self[item] if item in self._places else None

    def __getitem__(self, item: str) -> PointSet:
        return self._reader(self._places[item][0]).read(item)

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        points = sum(record.points for record in {r.part: r for r, _ in self._places.values()}.values())
        some = ", ".join(list(self._places)[:3]) + (", ..." if len(self) > 3 else "")
        return f"StoredPoints({str(self.path)!r}: {len(self)} items [{some}], {points} points)"

    def __reduce__(self) -> tuple[Callable[..., StoredPoints], tuple[Path]]:
        return open_points, (self.path.absolute(),)

    def _reader(self, record: PartRecord) -> PartReader:
        with self._lock:
            reader = self._open.pop(record.part, None)
        if reader is None:
            reader = PartReader(self.path, record)
        with self._lock:
            self._open[record.part] = reader
            while len(self._open) > _OPEN_PARTS:
                self._open.popitem(last=False)
        return reader
