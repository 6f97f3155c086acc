"""The points store: a reusable cache of analysed points in Zarr, safe against crashes, twins and bit rot."""

from inmf_flow.store.info import StoreInfo, store_info
from inmf_flow.store.manifest import ItemRecord, PartRecord
from inmf_flow.store.points_store import PointsStore, is_points_store
from inmf_flow.store.reading import StoredPoints, open_points
from inmf_flow.store.repair import LostPart, StoreRepair, repair_store
from inmf_flow.store.verify import StoreProblem, verify_store

__all__ = [
    "ItemRecord",
    "LostPart",
    "PartRecord",
    "PointsStore",
    "StoreInfo",
    "StoreProblem",
    "StoreRepair",
    "StoredPoints",
    "is_points_store",
    "open_points",
    "repair_store",
    "store_info",
    "verify_store",
]
