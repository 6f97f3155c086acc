"""How fits are timed: CPU seconds of one thread, and the fewest iterations that reach a divergence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from inmf_flow.factorize import INMF
from inmf_flow.points import PointSet

# Lengths of the trial fits: most need few iterations, and a long fit for nothing costs time. An iteration of a network
# that starts warm takes as long as a hundred multiplicative updates.
TRIALS = (100, 400, 1600)
WARM_TRIALS = (1, 4, 16)


def one_thread() -> None:
    """Let everything in this process run on one thread, with denormals flushed for all alike."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call, all threads together."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


@dataclass(frozen=True)
class Reached:
    """A seed's fewest iterations to a divergence; None where it was not reached, with the divergence there."""

    seed: int
    iterations: int | None
    divergence: float


def fit(points: PointSet, settings: dict[str, Any], iterations: int, seed: int) -> INMF:
    """Fit a model with so many iterations, all points alike, as the paper weighs them."""
    options = {"weights": "uniform", "tol": 0.0, **settings}
    return INMF(max_iter=iterations, random_state=seed, **options).fit(points)


def reach(
    points: PointSet,
    settings: dict[str, Any],
    target: float,
    seed: int,
    most: int,
    precision: float = 0.02,
    trials: tuple[int, ...] = TRIALS,
) -> Reached:
    """Find the fewest iterations, give or take a share of them, whose fit has the target's divergence.

    Every number that is returned was tried by a fit of its own, so schedules that depend on the length of a fit count
    as they are. A coarse precision costs fewer fits, and can only make the number too high.
    """
    divergence = np.inf
    for length in [*(trial for trial in trials if trial < most), most]:
        model = fit(points, settings, length, seed)
        divergence = model.divergence(points)
        if divergence <= target:
            return _shorten(points, settings, target, seed, model, divergence, precision)
    return Reached(seed, None, divergence)


def _shorten(
    points: PointSet,
    settings: dict[str, Any],
    target: float,
    seed: int,
    model: INMF,
    divergence: float,
    precision: float,
) -> Reached:
    # The curve is of scaled data: its end says by how much.
    scale = divergence / model.divergence_curve_[-1][1]
    above = [iteration for iteration, value in model.divergence_curve_ if value * scale > target]
    high = model.n_iter_
    guess = min((i for i, value in model.divergence_curve_ if i > 0 and value * scale <= target), default=high)
    low = max((i for i in above if i < guess), default=0)
    best = divergence
    while guess < high:
        value = fit(points, settings, guess, seed).divergence(points)
        if value <= target:
            high, best = guess, value
            break
        low, guess = guess, guess + max(1, guess // 20)
    while high - low > max(1, int(high * precision)):
        middle = (low + high) // 2
        value = fit(points, settings, middle, seed).divergence(points)
        if value <= target:
            high, best = middle, value
        else:
            low = middle
    return Reached(seed, high, best)


def kullback_leibler(data: ArrayLike, model: ArrayLike) -> float:
    """Return the mean divergence a point, as `INMF.divergence` gives it."""
    v, v_hat = np.asarray(data, np.float64) + 1e-8, np.asarray(model, np.float64) + 1e-8
    return float((v * np.log(v / v_hat) - v + v_hat).mean())


def arithmetic_floor(v: np.ndarray, n_components: int, iterations: int) -> float:
    """Return the CPU seconds an iteration of what no multiplicative update of two matrices can do without.

    For either factor: the model (a product), data over model, and that times the other factor; no gradient's
    denominators, no limits, no memory taken.
    """
    data = torch.from_numpy(v)
    rows, columns = data.shape
    w, h = torch.rand(rows, n_components) + 0.5, torch.rand(n_components, columns) + 0.5
    model, for_w, for_h = torch.empty_like(data), torch.empty_like(w), torch.empty_like(h)

    def run() -> None:
        for _ in range(iterations):
            torch.mm(w, h, out=model)
            torch.div(data, model, out=model)
            torch.mm(model, h.T, out=for_w)
            torch.mm(w, h, out=model)
            torch.div(data, model, out=model)
            torch.mm(w.T, model, out=for_h)

    run()
    return cpu_seconds(run) / iterations
