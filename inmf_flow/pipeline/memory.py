"""Whether the fits of a run have room on its workers, asked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import ClusterError, InmfError
from inmf_flow.pipeline.estimate import FIT_BYTES_PER_POINT, WORKER_BYTES, Trial, hours_of
from inmf_flow.pipeline.places import place_of_item
from inmf_flow.pipeline.shared import learns_in_passes

if TYPE_CHECKING:
    from inmf_flow.pipeline.explain import Explanation
    from inmf_flow.pipeline.ledger import Entry

# What no transform makes of a second of audio: below this there is nothing to try out.
_MOST_POINTS_A_SECOND = 4e6
# Dask ends a worker that holds more of its memory than this.
_USABLE = 0.95


def memory_of_fits(explained: Explanation, limit: float = 0.0) -> dict[str, float]:
    """Return the bytes of memory that a worker needs for each source that is to be fitted in one piece.

    Where points are not stored yet, their number is that of a trial times the recordings' duration. Without need, when
    the most points that there could be take less than ``limit`` bytes, nothing is tried and the source left out.
    """
    plan = explained.stages.get("fit")
    analysis = explained.stages.get("analyze")
    valid: Mapping[str, Entry] = analysis.valid if analysis is not None else {}
    needs: dict[str, float] = {}
    for work in plan.todo if plan is not None else ():
        if "items" not in work.payload:
            continue
        need = _memory(explained, work.payload, valid, limit)
        if need is not None:
            needs[work.item] = need
    return needs


def _memory(
    explained: Explanation, payload: Mapping[str, Any], valid: Mapping[str, Entry], limit: float
) -> float | None:
    fit = explained.pipeline.fit
    stored = explained.pipeline.stores_points
    if learns_in_passes(fit, 0.0):
        return None
    points = sum(float(valid[item].extra.get("points", 0)) for item in payload["items"] if item in valid)
    places = [place_of_item(payload, item) for item in payload["items"] if item not in valid]
    seconds = hours_of(places) * 3600 if places else 0.0
    if _bytes(points + seconds * _MOST_POINTS_A_SECOND) <= limit:
        return None
    if seconds:
        try:
            points += seconds * Trial(explained, places).points_a_second
        except InmfError:
            # The run itself says what is wrong, and where.
            return None
    # Without a store nobody knows their number before they are there.
    return None if learns_in_passes(fit, points if stored else 0.0) else _bytes(points)


def _bytes(points: float) -> float:
    return WORKER_BYTES + FIT_BYTES_PER_POINT * points


def local_worker_memory(workers: int) -> float:
    """Return the bytes of memory that each of so many workers of this machine may use."""
    from distributed.system import MEMORY_LIMIT

    return float(MEMORY_LIMIT) / workers


def check_memory(explained: Explanation, limit: float) -> None:
    """Refuse a run with a fit that a worker with so many bytes of memory would be killed over; 0: there is no limit.

    Raises
    ------
    ClusterError
        With both numbers, and what else can be done.
    """
    usable = limit * _USABLE
    if not usable:
        return
    large = {source: need for source, need in memory_of_fits(explained, usable).items() if need > usable}
    if not large:
        return
    source, need = max(large.items(), key=lambda pair: pair[1])
    others = f" (and {len(large) - 1} more)" if len(large) > 1 else ""
    stored = "" if explained.pipeline.store == "zarr" else " with store: zarr"
    raise ClusterError(
        f"the dictionary of {source!r}{others} is to be learned in one piece, for which a worker has not enough memory",
        where="fit",
        got=f"about {need / 2**30:.1f} GiB needed",
        expected=f"at most {usable / 2**30:.1f} GiB, of {limit / 2**30:.1f} GiB that the smallest worker has",
        hint=f"Learn it batch by batch (fit: {{learn: passes}}{stored}), or give workers more memory, such as fewer of "
        "them on this machine.",
    )
