from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.store.layout import COLUMNS, SHARD_BYTES, is_safe_name


@given(name=st.sampled_from(sorted(COLUMNS)), rows=st.integers(1, 10**10))
def test_shards_cover_an_array_evenly_and_stay_small(name, rows) -> None:
    spec = COLUMNS[name]
    shard, chunk = spec.shard_rows(rows), spec.chunk_rows(rows)
    shards = len(spec.files(rows)) - 1
    assert shard % chunk == 0
    assert shard * spec.row_bytes <= SHARD_BYTES
    assert (shards - 1) * shard < rows <= shards * shard


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_small_arrays_are_one_unpadded_chunk_in_one_file(name) -> None:
    spec = COLUMNS[name]
    assert spec.chunk_rows(5) == spec.shard_rows(5) == 5
    assert len(spec.files(5)) == 2


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("p-00.1_x", True),
        ("", False),
        (".hidden", False),
        ("a/b", False),
        ("..", False),
        ("a" * 201, False),
        ("ä", False),
    ],
)
def test_part_ids_are_names_that_any_file_system_takes(name, safe) -> None:
    assert is_safe_name(name) is safe
