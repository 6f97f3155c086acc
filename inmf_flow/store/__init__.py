"""The points store: a reusable cache of analysed points in Zarr, safe against crashes, twins and bit rot."""

from inmf_flow.store.info import StoreInfo, store_info
from inmf_flow.store.manifest import ItemRecord, PartRecord
from inmf_flow.store.points_store import PointsStore
from inmf_flow.store.reading import StoredPoints, open_points
from inmf_flow.store.verify import StoreProblem, verify_store

__all__ = [
    "ItemRecord",
    "PartRecord",
    "PointsStore",
    "StoreInfo",
    "StoreProblem",
    "StoredPoints",
    "open_points",
    "store_info",
    "verify_store",
]
