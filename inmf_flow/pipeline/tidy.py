"""What a run removes: results and stored points that nothing refers to any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from inmf_flow.errors import StoreError
from inmf_flow.files import TEMPORARY_MARK
from inmf_flow.pipeline.ledger import Entry, content_key
from inmf_flow.pipeline.plan import Batch

STORE = "points.zarr"


def remove_stale(run_folder: Path, known: Iterable[Entry], current: Iterable[Entry]) -> None:
    """Remove files that earlier entries list and current ones do not, and the items' folders that this empties."""
    listed = {name for entry in current for name in entry.outputs}
    for name in sorted({name for entry in known for name in entry.outputs} - listed):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            continue
        with suppress(OSError):
            (run_folder / path).unlink(missing_ok=True)
            if len(path.parts) > 2:
                # Raises when something else is in it.
                (run_folder / path).parent.rmdir()


def part_name(batch: str, keys: Mapping[str, str]) -> str:
    """Return the id of the part that holds exactly these items under these keys."""
    return f"{batch}-{content_key(keys)[:12]}"


def is_scattered(batch: Batch, entries: Mapping[str, Entry]) -> bool:
    """Return whether the points of a batch's items are not together in one part that holds nothing else.

    Such a part could outlive items that were changed or removed, or hold older points of items that are stored anew
    elsewhere.
    """
    done = [entries[w.item] for w in batch.works if w.item in entries and entries[w.item].status == "done"]
    expected = part_name("", {entry.item: entry.key for entry in done})
    return any(not str(entry.extra.get("part")).endswith(expected) for entry in done)


def tidy_store(run_folder: Path, analyzed: Iterable[Entry]) -> str | None:
    """Remove parts that no item refers to, those with damaged records too; return what stood in the way, if anything.

    A store whose parts are all in use is not touched.
    """
    used = {str(entry.extra["part"]) for entry in analyzed if "part" in entry.extra}
    store_folder = run_folder / STORE
    recorded = {path.stem for path in (store_folder / "manifest").glob("*.json")}
    # Folders without a record, unfinished ones too, are what a killed run left.
    folders = {path.name for path in (store_folder / "parts").glob("*") if path.is_dir()}
    places = (store_folder, store_folder / "manifest", store_folder / "parts")
    unfinished = any(path.name.startswith(TEMPORARY_MARK) for place in places for path in place.glob("*"))
    if recorded | folders <= used and not unfinished:
        return None
    from inmf_flow.store import PointsStore

    try:
        store = PointsStore.open(store_folder)
        store.keep_only(used)
        store.sweep()
    except (StoreError, OSError) as error:
        return f"parts that are no longer needed stay in the store: {error}"
    return None
