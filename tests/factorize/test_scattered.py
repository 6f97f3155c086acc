"""Scattered points: the compiled passes, torch's operations, and sums written out in double precision agree."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import kernels, scattered
from inmf_flow.factorize.divergences import EPSILON, BetaDivergence, Divergence
from inmf_flow.factorize.scattered import ScatteredData

BETAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
SIDES = ("frequency", "time")


class SquaredLogs(Divergence):
    """What no kernel knows: (log v_hat - log v)^2 / 2, with both parts of its gradient shifted to be positive."""

    name = "squared-logs"

    def value(self, v: Tensor, v_hat: Tensor) -> Tensor:
        return (v_hat.log() - v.log()) ** 2 / 2

    def negative_part(self, v: Tensor, v_hat: Tensor, out: Tensor) -> Tensor:
        return out.copy_((30 + v.log()) / v_hat)

    def positive_part(self, v: Tensor, v_hat: Tensor) -> Tensor | None:
        return (30 + v_hat.log()) / v_hat


class Unlisted(BetaDivergence):
    """A third party's divergence that inherits from ours and changes it."""

    def value(self, v: Tensor, v_hat: Tensor) -> Tensor:
        return 2 * super().value(v, v_hat)

    def negative_part(self, v: Tensor, v_hat: Tensor, out: Tensor) -> Tensor:
        return super().negative_part(v, v_hat, out).mul_(2)

    def positive_part(self, v: Tensor, v_hat: Tensor) -> Tensor:
        positive = super().positive_part(v, v_hat)
        return torch.full_like(v, 2) if positive is None else 2 * positive


def make(n_points: int, k: int, shape: tuple[int, int] = (23, 31), seed: int = 0) -> SimpleNamespace:
    """Return points with weights of 0, duplicates and, where there are few points, rows that nobody touches."""
    random = np.random.default_rng(seed)
    f, t = (random.integers(0, n, n_points) for n in shape)
    if n_points > 4:
        f[1], t[1] = f[0], t[0]
    v = (random.gamma(0.5, 1.0, n_points) + 0.01).astype(np.float32)
    weights = (random.random(n_points) * (random.random(n_points) > 0.2)).astype(np.float32)
    w, h = (torch.from_numpy(random.gamma(1.0, 1.0, (n, k)).astype(np.float32) + 0.01) for n in shape)
    return SimpleNamespace(v=v, weights=weights, f=f, t=t, w=w, h=h)


def build(case: SimpleNamespace) -> ScatteredData:
    return from_arrays(case.v, case.weights, case.f, case.t)


def from_arrays(v: Any, weights: Any, f: Any, t: Any) -> ScatteredData:
    floats = [torch.from_numpy(np.array(part, np.float32)) for part in (v, weights)]
    rows = [torch.from_numpy(np.array(part, np.int64)) for part in (f, t)]
    return ScatteredData(floats[0], floats[1], rows[0], rows[1])


def parts(data: ScatteredData, divergence: Divergence, case: SimpleNamespace, side: Any) -> tuple[NDArray[Any], ...]:
    """Return what is added to sums that are 1 before."""
    out = tuple(torch.ones_like(case.w if side == "frequency" else case.h) for _ in range(2))
    data.add_parts(divergence, case.w, case.h, side, out)  # type: ignore[arg-type]
    return tuple(part.double().numpy() - 1 for part in out)


def true_parts(case: SimpleNamespace, beta: float, side: str) -> tuple[NDArray[Any], ...]:
    w, h = case.w.double().numpy(), case.h.double().numpy()
    model = (w[case.f] * h[case.t]).sum(1) + EPSILON
    other, rows = (h[case.t], case.f) if side == "frequency" else (w[case.f], case.t)
    out = []
    for factor in (case.v * model ** (beta - 2), model ** (beta - 1)):
        total = np.zeros((w if side == "frequency" else h).shape)
        np.add.at(total, rows, other * (case.weights * factor)[:, None])
        out.append(total)
    return tuple(out)


def true_loss(case: SimpleNamespace, b: float) -> float:
    v, weights = case.v.astype(float), case.weights.astype(float)
    m = (case.w.double().numpy()[case.f] * case.h.double().numpy()[case.t]).sum(1) + EPSILON
    if b == 1:
        values = v * np.log(v / m) - v + m
    elif b == 0:
        values = v / m - np.log(v / m) - 1
    else:
        values = (v**b + (b - 1) * m**b - b * v * m ** (b - 1)) / (b * (b - 1))
    return float((values * weights).sum())


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Let no test see the passes that another has replaced."""
    yield
    scattered._compiled.cache_clear()


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Numba impossible to import."""
    scattered._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)


def assert_true(data: ScatteredData, case: SimpleNamespace, beta: float) -> None:
    divergence = BetaDivergence(beta)
    for side in SIDES:
        for part, truth in zip(parts(data, divergence, case, side), true_parts(case, beta, side), strict=True):
            np.testing.assert_allclose(part, truth, rtol=2e-5, atol=2e-6 * (1 + np.abs(truth).max(initial=0)))
    loss = data.loss(divergence, case.w, case.h)
    assert loss == pytest.approx(true_loss(case, beta), rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 20])
def test_sums_are_those_of_double_precision(beta: float, k: int) -> None:
    assert scattered._compiled("add_parts") is not None
    for n_points in (0, 1, 7, 400):
        case = make(n_points, k)
        assert_true(build(case), case, beta)


@pytest.mark.parametrize("beta", BETAS)
def test_sums_are_the_same_without_numba(beta: float, no_numba: None) -> None:
    assert scattered._compiled("add_parts") is None
    for n_points, k in ((0, 2), (7, 1), (400, 2), (400, 20)):
        case = make(n_points, k)
        assert_true(build(case), case, beta)


@given(
    n_points=st.integers(0, 60),
    k=st.integers(1, 24),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    beta=st.sampled_from(BETAS),
    seed=st.integers(0, 1000),
)
def test_any_shape(n_points: int, k: int, shape: tuple[int, int], beta: float, seed: int) -> None:
    case = make(n_points, k, shape, seed)
    assert_true(build(case), case, beta)


def test_many_rows_and_more_points_than_are_gathered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make(3000, 3, (5, 200_000))
    compiled = build(case)
    assert_true(compiled, case, 1.0)
    monkeypatch.setattr(scattered, "_POINTS_AT_ONCE", 1024)
    monkeypatch.setattr(scattered, "_compiled", lambda name: None)
    assert_true(compiled, case, 1.0)


@pytest.mark.parametrize("k", [2, 20])
def test_every_run_gives_the_same_bits(k: int) -> None:
    case = make(3000, k)
    runs = [build(case) for _ in range(2)]
    for beta in (0.5, 1.0):
        for side in SIDES:
            first, second = (parts(data, BetaDivergence(beta), case, side) for data in runs)
            assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        first_loss, second_loss = (data.loss(BetaDivergence(beta), case.w, case.h) for data in runs)
        assert first_loss == second_loss


def test_divergences_that_the_kernels_do_not_know_are_asked_themselves() -> None:
    case = make(200, 3)
    data = build(case)
    half, whole = (parts(data, divergence, case, "time") for divergence in (BetaDivergence(1.0), Unlisted(1.0)))
    for a, b in zip(half, whole, strict=True):
        np.testing.assert_allclose(2 * a, b, rtol=1e-4, atol=1e-4)
    logs = SquaredLogs()
    negative, positive = parts(data, logs, case, "frequency")
    w = case.w.double().requires_grad_()
    model = (w[case.f] * case.h.double()[case.t]).sum(1) + EPSILON
    (logs.value(torch.from_numpy(case.v).double(), model) * torch.from_numpy(case.weights)).sum().backward()
    np.testing.assert_allclose(positive - negative, w.grad, rtol=1e-3, atol=1e-3 * np.abs(positive).max())


def test_transposed_tables_and_ones_that_want_gradients_are_read_in_place() -> None:
    case = make(200, 6)
    data = build(case)
    wanted = parts(data, BetaDivergence(1.0), case, "frequency")
    case.w = case.w.T.contiguous().T.requires_grad_()
    out = tuple(torch.ones(6, 23).T for _ in range(2))
    data.add_parts(BetaDivergence(1.0), case.w, case.h, "frequency", out)  # type: ignore[arg-type]
    for part, truth in zip(out, wanted, strict=True):
        np.testing.assert_allclose(part.numpy() - 1, truth, rtol=1e-5, atol=1e-5)


def test_double_precision_tables_are_kept_in_double_precision() -> None:
    case = make(50, 3)
    data = build(case)
    data.v, data.weights = data.v.double(), data.weights.double()
    case.w, case.h = case.w.double(), case.h.double()
    for part, truth in zip(parts(data, BetaDivergence(1.5), case, "time"), true_parts(case, 1.5, "time"), strict=True):
        np.testing.assert_allclose(part, truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("missing", [float("nan"), float("inf")])
def test_a_table_that_is_not_finite_is_not_hidden(missing: float) -> None:
    for k in (2, 6):
        case = make(400, k)
        case.w[3, 1] = missing
        data = build(case)
        assert not np.isfinite(data.loss(BetaDivergence(1.0), case.w, case.h))
        assert not np.isfinite(np.stack(parts(data, BetaDivergence(2.0), case, "time"))).all()


def test_points_outside_the_tables_are_an_error() -> None:
    case = make(100, 3)
    data = build(case)
    case.w = case.w[:5]
    for call in (
        lambda: parts(data, BetaDivergence(1.0), case, "time"),
        lambda: data.loss(BetaDivergence(1.0), case.w, case.h),
    ):
        with pytest.raises((IndexError, RuntimeError), match="index"):
            call()


@pytest.mark.parametrize("change", [{"t": [-1, 2]}, {"v": [1.0]}, {"weights": [[1.0, 2.0]]}])
def test_arrays_that_do_not_fit_are_an_error(change: dict[str, Any]) -> None:
    arrays = {"v": [1.0, 2.0], "weights": [1.0, 2.0], "f": [0, 1], "t": [0, 1]} | change
    with pytest.raises(ArgumentError, match="got"):
        from_arrays(*arrays.values())


_PROGRAM = """
import sys, warnings
warnings.simplefilter("error")
import torch
from inmf_flow.factorize import BetaDivergence
from inmf_flow.factorize.scattered import ScatteredData
assert "numba" not in sys.modules
data = ScatteredData(torch.tensor([1.0, 2.0]), torch.ones(2), torch.tensor([0, 1]), torch.tensor([1, 1]))
assert "numba" not in sys.modules
print(data.loss(BetaDivergence(2.0), torch.ones(2, 2), torch.ones(2, 2)))
assert "numba" in sys.modules
"""


def test_numba_is_imported_by_the_first_pass_and_in_silence(repository: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert (outcome.stdout, outcome.stderr) == ("0.5\n", "")


def test_a_compiled_pass_that_was_cut_short_on_disk_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    case = make(300, 2)
    for damage in (False, True):
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert bool(files) == damage
        for path in files:
            path.write_bytes(path.read_bytes()[:-20])
        scattered._compiled.cache_clear()
        kernels.compiled.cache_clear()
        assert build(case).loss(BetaDivergence(1.0), case.w, case.h) == pytest.approx(true_loss(case, 1.0), rel=1e-5)


def test_without_a_place_for_files_it_is_compiled_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    # Numba keeps nothing of code that is in no file.
    module = ModuleType("inmf_flow.factorize.kernels")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(inspect.getsource(kernels), "<no file>", "exec"), module.__dict__)
    scattered._compiled.cache_clear()
    case = make(300, 2)
    assert build(case).loss(BetaDivergence(1.0), case.w, case.h) == pytest.approx(true_loss(case, 1.0), rel=1e-5)
    assert scattered._compiled("weighted_loss") is not None


def test_a_machine_on_which_nothing_compiles_is_told_and_uses_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")

    def fail(name: str) -> None:
        raise ValueError("no such processor")

    monkeypatch.setattr(kernels, "compiled", fail)
    scattered._compiled.cache_clear()
    case = make(300, 2)
    with pytest.warns(RuntimeWarning, match="no such processor"):
        loss = build(case).loss(BetaDivergence(1.0), case.w, case.h)
    assert loss == pytest.approx(true_loss(case, 1.0), rel=1e-5)
