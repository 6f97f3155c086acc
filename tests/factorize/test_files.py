"""Model files: the same bytes every time, and a clear error for any file that is not one of ours."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow import INMF, PointSet
from inmf_flow.errors import ModelFileError, NotFittedError

FIELDS = ("hat", {"hat": {"nodes": 5}}, "matrix", "network:hidden=4,layers=1,features=3")
HERTZ, SECONDS = np.linspace(0, 9000, 31), np.linspace(0, 2, 17)

_FIT = """
import numpy as np
from inmf_flow import INMF, PointSet
random = np.random.default_rng(0)
points = PointSet.from_grid(np.arange(12) / 10, np.arange(20) * 100.0, random.gamma(0.5, 1.0, (20, 12)))
points = points + PointSet.from_points(random.random(30), random.random(30) * 1900, random.random(30))
for field in fields:
    model = INMF(3, field=field, max_iter=25, random_state=7).fit(points)
    model.provenance = {"files": ["a.wav", "b.wav"], "transform": {"stft": {"n_fft": 2000}}}
    model.save(f"{folder}/{field.partition(':')[0]}.safetensors")
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the bytes of a small model file by its field."""
    random = np.random.default_rng(0)
    points = PointSet.from_grid(np.arange(6) / 20, np.linspace(0, 4000, 9), random.gamma(0.5, 1.0, (9, 6)))
    files = {}
    for field in ("hat", "network"):
        path = tmp_path_factory.mktemp("model") / "model.safetensors"
        spec = "network:hidden=3,features=2,layers=1" if field == "network" else field
        INMF(2, field=spec, max_iter=2).fit(points).save(path)
        files[field] = path.read_bytes()
    return files


def split(content: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return our header, the safetensors header and the data of a file."""
    length = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + length])
    return json.loads(outer["__metadata__"]["inmf_flow"]), outer, content[8 + length :]


def joined(ours: Any, outer: dict[str, Any], data: bytes) -> bytes:
    outer = {**outer, "__metadata__": {"inmf_flow": json.dumps(ours)}}
    header = json.dumps(outer).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def try_to_load(path: Path, content: bytes) -> INMF | None:
    """Load a file that may be damaged; whatever loads must be usable."""
    path.write_bytes(content)
    try:
        model = INMF.load(path)
    except ModelFileError:
        return None
    for array, shape in ((model.templates(HERTZ), 31), (model.activations(SECONDS).T, 17)):
        assert array.shape == (shape, model.n_components)
    return model


@pytest.mark.parametrize("field", FIELDS)
def test_round_trip_keeps_everything(field: Any, tmp_path: Path, make_points: Callable[..., PointSet]) -> None:
    numbers: dict[str, Any] = {"power": np.float32(0.5), "tol": 0, "random_state": np.int64(3), "n_init": np.int64(2)}
    model = INMF(2, field=field, max_iter=7, beta_loss=1.5, weights="uniform", **numbers).fit(make_points("hybrid"))
    model.provenance = {"files": ["ü.wav"], "nested": {"n": 1}}
    first, second = tmp_path / "a.safetensors", tmp_path / "deep" / "b.safetensors"
    model.save(first)
    loaded = INMF.load(first)
    for name in ("n_components", "beta_loss", "field", "time_field", "power", "optimizer", "max_iter", "tol"):
        assert getattr(loaded, name) == getattr(model, name), name
    for name in (
        "random_state",
        "n_init",
        "weights",
        "n_iter_",
        "divergence_curve_",
        "max_frequency_",
        "duration_",
        "provenance",
    ):
        assert getattr(loaded, name) == getattr(model, name), name
    assert np.array_equal(loaded.templates(HERTZ), model.templates(HERTZ))
    assert np.array_equal(loaded.activations(SECONDS), model.activations(SECONDS))
    other = make_points("grid", seed=5)
    assert np.array_equal(loaded.transform(other).values, model.transform(other).values)
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "deep"]


@pytest.mark.parametrize(
    "new",
    [
        {"init": "random", "n_init": 3, "relaxation": 1.5},
        {"init": {"harmonic": {"low": 80.0, "partials": 7}}},
        {"sparsity": 0.1, "smoothness": np.float64(0.25), "decorrelation": 1},
        {"negative": "nearly", "beta_loss": "frobenius", "power": 1},
    ],
)
def test_settings_of_the_fit_are_kept(
    new: dict[str, Any], tmp_path: Path, make_points: Callable[..., PointSet]
) -> None:
    path, points = tmp_path / "a.safetensors", make_points("grid")
    model = INMF(2, max_iter=12, tol=0, **new).fit(points)
    model.save(path)
    loaded = INMF.load(path)
    header = split(path.read_bytes())[0]["settings"]
    for name in ("init", "n_init", "relaxation", "sparsity", "smoothness", "decorrelation", "negative"):
        assert getattr(loaded, name) == getattr(model, name) == header[name], name
    # With them the same fit can be made again.
    again = loaded.fit(points)
    assert again.divergence_curve_ == model.divergence_curve_
    assert np.array_equal(again.templates(HERTZ), model.templates(HERTZ))


def test_settings_that_a_file_lacks_have_their_defaults(original: dict[str, bytes], tmp_path: Path) -> None:
    ours, outer, arrays = split(original["hat"])
    later = ("init", "n_init", "relaxation", "sparsity", "smoothness", "decorrelation", "negative")
    ours["settings"] = {name: value for name, value in ours["settings"].items() if name not in later}
    path = tmp_path / "old.safetensors"
    path.write_bytes(joined(ours, outer, arrays))
    loaded, fresh = INMF.load(path), INMF()
    for name in later:
        assert getattr(loaded, name) == getattr(fresh, name), name


@pytest.mark.parametrize(
    "settings",
    [{"relaxation": 3}, {"relaxation": "fast"}, {"n_init": 0}, {"sparsity": -1}, {"init": "svd"}, {"negative": "clip"}],
)
def test_settings_out_of_range_are_damage(settings: dict[str, Any], original: dict[str, bytes], tmp_path: Path) -> None:
    ours, outer, arrays = split(original["hat"])
    ours["settings"] |= settings
    assert try_to_load(tmp_path / "x.safetensors", joined(ours, outer, arrays)) is None


def test_equal_fits_give_equal_bytes_in_another_process(tmp_path: Path) -> None:
    fields = ["hat", "matrix", "network:hidden=8"]
    here, there = tmp_path / "here", tmp_path / "there"
    program = f"folder, fields = {str(there)!r}, {fields!r}\n{_FIT}"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    exec(_FIT, {"folder": here, "fields": fields})
    runs = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (here, there)]
    assert len(runs[0]) == 3
    assert runs[0] == runs[1]


@pytest.mark.parametrize("field", ["hat", "network"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_load_or_are_a_model_file_error(
    field: str, data: st.DataObject, original: dict[str, bytes], tmp_path: Path
) -> None:
    content = bytearray(original[field])
    places = st.integers(0, len(content) - 1)
    action = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat", "prefix"]))
    if action == "flip":
        for place in data.draw(st.lists(places, min_size=1, max_size=6)):
            content[place] ^= 1 << data.draw(st.integers(0, 7))
    elif action == "cut":
        del content[data.draw(places) :]
    elif action == "insert":
        place = data.draw(places)
        content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    elif action == "repeat":
        content += content[data.draw(places) :]
    else:
        content = content[data.draw(places) :]
    try_to_load(tmp_path / "model.safetensors", bytes(content))


_JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["hat", "matrix", "network", "network:hidden=3", 1e400, -1, 0, [], {}, [[]], {"hat": 3}, 1 << 70]),
)


def _places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(place for key, child in inner for place in _places(child, (*at, key)))]


@pytest.mark.parametrize("field", ["hat", "network"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_headers_load_or_are_a_model_file_error(
    field: str, data: st.DataObject, original: dict[str, bytes], tmp_path: Path
) -> None:
    ours, outer, arrays = split(original[field])
    for _ in range(data.draw(st.integers(1, 2))):
        target = data.draw(st.sampled_from(["ours", "outer"]))
        tree: Any = {"root": ours if target == "ours" else {k: v for k, v in outer.items() if k != "__metadata__"}}
        *path, last = data.draw(st.sampled_from(_places(tree["root"], ("root",))))
        node = tree
        for key in path:
            node = node[key]
        if data.draw(st.booleans()) or last == "root":
            dtypes = st.sampled_from(["F16", "BF16", "F64", "I32", "U8", "BOOL", "F8_E4M3"])
            node[last] = data.draw(dtypes if last == "dtype" else _JSON)
        else:
            del node[last]
        if target == "ours":
            ours = tree["root"]
        else:
            outer = tree["root"] if isinstance(tree["root"], dict) else {}
    try_to_load(tmp_path / "model.safetensors", joined(ours, outer, arrays))


@pytest.mark.parametrize("field", ["hat", "network"])
def test_values_that_no_fit_gives_are_refused(field: str, original: dict[str, bytes], tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    arrays = load(original[field])
    ours = split(original[field])[0]

    def outcome(name: str, array: np.ndarray[Any, Any]) -> INMF | None:
        metadata = {"inmf_flow": json.dumps(ours)}
        return try_to_load(tmp_path / "x.safetensors", save({**arrays, name: array}, metadata=metadata))

    refused = 0
    for name, array in arrays.items():
        assert outcome(name, array) is not None
        if array.dtype == np.float32:
            huge = array.astype(np.float64)
            huge.flat[0] = 1e300
            assert outcome(name, huge) is None
        bad = array.copy()
        bad.flat[0] = np.nan
        assert outcome(name, bad) is None
        assert outcome(name, array[..., None]) is None
        assert outcome(name, array.reshape(-1)[:0]) is None
        refused += 1
        if name.endswith(("coefficients", "gain")):
            assert outcome(name, -array - 1) is None
        if name.endswith(("nodes", "range")):
            assert outcome(name, array[::-1].copy()) is None
    assert refused == len(arrays) >= 4


def test_newer_older_and_foreign_files_are_told_apart(original: dict[str, bytes], tmp_path: Path) -> None:
    from safetensors.numpy import save

    ours, outer, arrays = split(original["hat"])
    path = tmp_path / "model.safetensors"
    cases = {
        joined({**ours, "format": 2}, outer, arrays): "Upgrade inmf-flow",
        joined({**ours, "format": "one"}, outer, arrays): "format 'one'",
        joined({**ours, "members": ours["members"] * 2}, outer, arrays): "damaged",
        joined({**ours, "members": [{"frequency": "spline", "time": "hat"}]}, outer, arrays): "plugin .* 'spline'",
        save({"weight": np.zeros(3, np.float32)}): "not a model of inmf_flow",
        save({"weight": np.zeros(3, np.float32)}, metadata={"inmf_flow": "{"}): "not a readable",
        save({"weight": np.zeros(3, np.float32)}, metadata={"inmf_flow": "[" * 100000}): "not a readable",
        b"": "not a readable",
        b"RIFF" + bytes(1000): "not a readable",
        b"\xff" * 4096: "not a readable",
    }
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            INMF.load(path)
    for missing in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelFileError, match="no such model file"):
            INMF.load(missing)


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_pickles_are_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    Path("plain.safetensors").write_bytes(pickle.dumps(_Trap()))
    torch.save({"trap": _Trap()}, "torch.safetensors")
    np.save("numpy.npy", np.array([_Trap()], dtype=object), allow_pickle=True)
    for name in ("plain.safetensors", "torch.safetensors", "numpy.npy"):
        with pytest.raises(ModelFileError):
            INMF.load(name)
    assert not Path("sprung").exists()


def test_nothing_is_left_where_saving_fails(tmp_path: Path, make_points: Callable[..., PointSet]) -> None:
    with pytest.raises(NotFittedError):
        INMF().save(tmp_path / "model.safetensors")
    model = INMF(2, max_iter=2).fit(make_points("grid"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        model.save(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
