"""What a run removes: results and stored points that nothing refers to any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from inmf_flow.errors import StoreError
from inmf_flow.files import TEMPORARY_MARK
from inmf_flow.pipeline.ledger import content_key

STORE = "points.zarr"


def remove_outputs(run_folder: Path, names: Iterable[str]) -> None:
    """Remove files that no entry lists any more, and the items' folders that this empties."""
    for name in sorted(names):
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


def tidy_store(run_folder: Path, used: set[str]) -> str | None:
    """Remove parts that no item refers to, those with damaged records too; return what stood in the way, if anything.

    A store whose parts are all in use is not touched.
    """
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
