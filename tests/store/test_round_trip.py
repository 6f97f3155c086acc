from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inmf_flow.errors import PointsError
from inmf_flow.points import GridBlock, PointSet, ScatteredBlock
from inmf_flow.store import PointsStore, layout, open_points, verify_store

coordinates = st.floats(-1e6, 1e6)
magnitudes = st.floats(width=32, allow_infinity=False)
weights = st.floats(0, 1e6, width=32)


@st.composite
def grid_blocks(draw: st.DrawFn) -> GridBlock:
    t, f = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    channels = draw(st.sampled_from([(), (1,), (3,)]))
    axis = {n: st.lists(coordinates, min_size=n, max_size=n, unique=True).map(sorted) for n in (t, f)}
    return GridBlock.build(
        draw(axis[t]),
        draw(axis[f]),
        draw(hnp.arrays(np.float32, (*channels, f, t), elements=magnitudes)),
        time_weights=draw(hnp.arrays(np.float32, t, elements=weights)),
        frequency_weights=draw(hnp.arrays(np.float32, f, elements=weights)),
    )


@st.composite
def scattered_blocks(draw: st.DrawFn) -> ScatteredBlock:
    n = draw(st.integers(0, 8))
    channels = draw(st.sampled_from([(), (1,), (2,)]))
    return ScatteredBlock.build(
        draw(hnp.arrays(np.float64, n, elements=coordinates)),
        draw(hnp.arrays(np.float64, n, elements=coordinates)),
        draw(hnp.arrays(np.float32, (*channels, n), elements=magnitudes)),
        weights=draw(hnp.arrays(np.float32, n, elements=weights)),
    )


point_sets = st.builds(
    PointSet,
    st.lists(grid_blocks() | scattered_blocks(), max_size=4).map(tuple),
    st.none() | st.integers(1, 10**6),
    st.none() | st.floats(0, 1e9),
    st.sampled_from([None, "tone", "noise"]),
)


@settings(
    max_examples=40,
    deadline=None,
    # Each example makes its own folder.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(items=st.dictionaries(st.text(min_size=1, max_size=8), point_sets, min_size=1, max_size=3))
def test_points_come_back_bit_for_bit(items, bits, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("store") / "points.zarr"
    PointsStore.create(path).write_part("p", items, {item: f"key of {item}" for item in items}, "h")
    stored = open_points(path)
    assert set(stored) == set(items)
    for item, points in items.items():
        assert bits(stored[item]) == bits(points)
    assert verify_store(path) == []


@pytest.mark.parametrize("shape", [(700, 1900), (2, 350, 1900)])
def test_points_of_many_chunks_and_shards_come_back(shape, bits, make_points, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", 2 << 20)
    rng = np.random.default_rng(0)
    big = PointSet.from_grid(np.arange(1900.0), np.arange(float(shape[-2])), rng.random(shape, dtype=np.float32))
    items = {
        "a": make_points(0),
        "b": big,
        "c": make_points(1),
        "zeros": PointSet((big.blocks[0].shifted(1.0),)),
    }
    items["silence"] = PointSet.from_grid([0.0, 1.0], np.arange(300_000.0), np.zeros((300_000, 2)))
    store = PointsStore.create(tmp_path / "points.zarr")
    record = store.write_part("p", items, dict.fromkeys(items, "k"), "h")
    assert sum(name.startswith("grid_magnitudes/c.") for name in record.files) > 3
    stored = open_points(store.path)
    assert all(bits(stored[item]) == bits(points) for item, points in items.items())
    assert verify_store(store.path) == []


def test_what_is_read_is_the_readers_own(make_points, bits, tmp_path) -> None:
    store = PointsStore.create(tmp_path / "points.zarr")
    store.write_part("p", {"a": make_points(0)}, {"a": "k"}, "h")
    stored = open_points(store.path)
    stored["a"].blocks[0].magnitudes[:] = 7.0
    stored["a"].blocks[0].times[:] = 7.0
    assert bits(stored["a"]) == bits(make_points(0))


def _content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_equal_input_gives_equal_bytes_in_any_order(make_points, tmp_path) -> None:
    items = {f"i{n}": make_points(n, 3000) for n in range(5)}
    stores = [PointsStore.create(tmp_path / name) for name in ("one", "two", "three")]
    for store in stores:
        order = list(items)
        random.Random(str(store.path.name)).shuffle(order)
        store.write_part("p", {i: items[i] for i in order}, {i: "k" + i for i in order}, "h")
    first, second, third = (_content(store.path) for store in stores)
    assert first == second == third


def test_items_with_equal_axes_share_them(tmp_path) -> None:
    rng = np.random.default_rng(0)
    items = {f"i{n}": PointSet.from_grid(np.arange(3.0), np.arange(500.0), rng.random((500, 3))) for n in range(20)}
    record = PointsStore.create(tmp_path / "s").write_part("p", items, dict.fromkeys(items, "k"), "h")
    assert record.arrays["grid_frequencies"] == ((500,), "float64")
    assert record.arrays["grid_times"] == ((3,), "float64")


def test_grids_cost_about_four_bytes_a_point(tmp_path) -> None:
    rng = np.random.default_rng(0)
    items = {f"i{n}": PointSet.from_grid(np.arange(32.0), np.arange(1001.0), rng.random((1001, 32))) for n in range(9)}
    record = PointsStore.create(tmp_path / "s").write_part("p", items, dict.fromkeys(items, "k"), "h")
    assert record.nbytes / record.points < 4.2


def test_zarr_itself_can_read_a_store(filled, make_points) -> None:
    import zarr

    part = zarr.open_group(filled.path, mode="r")["parts/p1"]
    # One file says what is in a part: others need not look for its arrays.
    described = zarr.open_consolidated(filled.path / "parts/p1")
    assert sorted(dict(described.arrays())) == sorted(dict(part.arrays()))
    table = described["blocks"]
    columns = list(table.attrs["columns"])
    row = dict(zip(columns, table[0].tolist(), strict=True))
    first = part["grid_magnitudes"][row["first_magnitude"] :][: row["frequencies"] * row["times"]]
    assert np.array_equal(first.reshape(33, 40), make_points(2).blocks[0].magnitudes)
    assert part.attrs["inmf_flow"]["items"][0]["id"] == "c"


def test_transforms_own_memory_is_not_stored(make_points, tmp_path) -> None:
    from dataclasses import replace

    points = make_points(0)
    points = replace(points, blocks=(replace(points.blocks[0], coefficients=np.ones(3)),), synthesis=object())
    store = PointsStore.create(tmp_path / "s")
    store.write_part("p", {"a": points}, {"a": "k"}, "h")
    back = open_points(store.path)["a"]
    assert back.synthesis is None
    assert back.blocks[0].coefficients is None


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (PointSet((GridBlock(np.ones(2), np.arange(2.0), *[np.ones((2, 2), "f4")] * 3),)), "rise strictly"),
        (PointSet.from_grid([0.0, 1.0], [1.0, 2.0], np.ones((0, 2, 2))), "without channels"),
        (PointSet((), duration=float("nan")), "duration is not finite"),
    ],
)
def test_malformed_points_are_refused_and_leave_nothing(points, message, tmp_path) -> None:
    store = PointsStore.create(tmp_path / "s")
    with pytest.raises(PointsError, match=f"item 'bad'.*{message}"):
        store.write_part("p", {"bad": points}, {"bad": "k"}, "h")
    assert store.records() == []
    assert [p.name for p in (store.path / "parts").iterdir()] == ["zarr.json"]
