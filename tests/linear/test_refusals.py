"""What cannot be fitted is refused in one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import ArgumentError, NotFittedError, PointsError
from inmf_flow.linear import FunctionalPCA, SparseDictionary
from inmf_flow.points import PointSet

MODELS = (FunctionalPCA, SparseDictionary)
GRID = PointSet.from_grid([0.0, 0.5, 1.0], [100.0, 200.0, 300.0], np.arange(9.0).reshape(3, 3) ** 2)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components must be a whole number; got 0"),
        ({"n_components": 2.5}, "n_components must be a whole number"),
        ({"max_iter": True}, "max_iter must be a whole number"),
        ({"random_state": -1}, "random_state must be a whole number"),
        ({"tol": -1.0}, "tol must not be negative"),
        ({"tol": float("nan")}, "tol must not be negative"),
        ({"weights": "areas"}, "no such weights; got 'areas'"),
        ({"field": "network"}, "field network: this field has no coefficients of any sign"),
        ({"field": "auto"}, "field auto"),
        ({"field": "hat:node=4"}, "field 'hat' has no option 'node'"),
        ({"field": {"matrix": {"nodes": 4}}}, "field 'matrix' has no option 'nodes'"),
        ({"field": "hat:nodes=0"}, "nodes must be a whole number; got 0"),
        ({"time_field": "hat:warp=cubic"}, "functions of any sign have no such warp; got 'cubic'"),
        # Its nodes follow the data's sum, which says nothing where values may be negative.
        ({"field": "hat:warp=data"}, "functions of any sign have no such warp; got 'data'"),
    ],
)
def test_settings_that_cannot_work(model: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        model(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
def test_a_price_must_be_positive(alpha: float) -> None:
    with pytest.raises(ArgumentError, match="alpha must be positive"):
        SparseDictionary(2, alpha=alpha)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "points",
    [
        PointSet(()),
        PointSet.from_points([], [], []),
        PointSet.from_grid([0.0, 1.0], [1.0, 2.0], np.full((2, 2), np.nan)),
        PointSet.from_points([0.0, 1.0], [1.0, 2.0], [1.0, 2.0], [0.0, 0.0]),
    ],
)
def test_no_points_cannot_be_fitted(model: Any, points: PointSet) -> None:
    with pytest.raises(PointsError, match="there are no points to fit"):
        model(1).fit(points)


@pytest.mark.parametrize("model", MODELS)
def test_points_above_what_the_model_knows_cannot_be_transformed(model: Any) -> None:
    fitted = model(1, field="matrix").fit(GRID)
    high = PointSet.from_points([0.1, 0.2], [301.0, 400.0], [1.0, 2.0])
    with pytest.raises(PointsError, match=r"no points that the model knows.*at or below 300 Hz"):
        fitted.transform(high)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_must_be_fitted_first(model: Any) -> None:
    new = model(2)
    for call in (
        lambda: new.components([1.0]),
        lambda: new.mean([1.0]),
        lambda: new.scores([1.0]),
        lambda: new.predict(GRID),
        lambda: new.transform(GRID),
    ):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call()


def test_more_components_than_points_can_tell_apart() -> None:
    with pytest.raises(ArgumentError, match=r"n_components: .*got 4; expected at most 3"):
        FunctionalPCA(4, field="matrix").fit(GRID)


@pytest.mark.parametrize("start", [lambda f: np.ones((len(f), 3)), lambda f: np.full((len(f), 2), np.nan)])
def test_a_start_must_give_every_atom(start: Any) -> None:
    with pytest.raises(ArgumentError, match="dict_init must give a finite value"):
        SparseDictionary(2, dict_init=start).fit(GRID)


_PROGRAM = """
import sys
sys.path[:0] = [{root!r}]
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import numpy as np
from inmf_flow.linear import FunctionalPCA, SparseDictionary
from inmf_flow.points import PointSet
t, f = np.random.default_rng(0).random((2, 300))
for model in (FunctionalPCA(1), SparseDictionary(2, alpha=0.1)):
    assert np.isfinite(model.fit(PointSet.from_points(t, f, t - f)).components([0.5])).all()
print("done")
"""


def test_torch_and_numpy_are_enough(repository: Path, tmp_path: Path) -> None:
    blocked = {"scipy", "sklearn", "numba", "pluggy", "librosa", "soundfile", "pydantic", "zarr", "dask", "safetensors"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(root=str(repository), blocked=blocked)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"
