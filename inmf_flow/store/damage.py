"""The one wording for a store that is not as it was written."""

from __future__ import annotations

from pathlib import Path

from inmf_flow.errors import StoreError


def damaged(
    root: Path,
    what: str,
    *,
    part: str | None = None,
    array: str | None = None,
    item: str | None = None,
    got: object = None,
    expected: object = None,
    kind: type[StoreError] = StoreError,
) -> StoreError:
    """Build the error for damage, naming store, part, array and item as far as they are known."""
    names = [f"{thing} {name!r}" for thing, name in (("part", part), ("array", array), ("item", item)) if name]
    return kind(
        what,
        where=": ".join([str(root), ", ".join(names)] if names else [str(root)]),
        got=got,
        expected=expected,
        hint=f"`inmf store verify {root}` lists all damage; with `repair` in its place it is removed, and made again.",
    )
