from __future__ import annotations

import os

import dask
import pytest
from distributed import Client

from inmf_flow.pipeline.local import local_cluster


def test_local_workers_keep_freed_memory_but_the_users_own_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1234567")
    before = dask.config.get("distributed.nanny.pre-spawn-environ")
    with local_cluster(1) as cluster, Client(cluster) as client:
        (trim,) = client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()
        (large,) = client.run(os.getenv, "MALLOC_MMAP_THRESHOLD_").values()
    assert trim == "1234567"
    assert int(large) >= 1 << 20
    # Dask's settings belong to the user's process.
    assert dask.config.get("distributed.nanny.pre-spawn-environ") == before
