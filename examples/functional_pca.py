"""Principal curves of a population of which each member was measured at a few places of its own.

Four hundred simulated curves are each seen at five random places with noise, too few to draw any one of them. Their
mean and principal functions, and each whole curve, come from all points together.

    python examples/functional_pca.py [--picture FILE]
"""

from __future__ import annotations

import argparse

import numpy as np

from inmf_flow import PointSet
from inmf_flow.linear import FunctionalPCA

CURVES, SEEN, NOISE = 400, 5, 0.2


def mean(x: np.ndarray) -> np.ndarray:
    """Return the population's mean at places of 0 to 1."""
    return 3 * x + np.sin(4 * x)


def functions(x: np.ndarray) -> np.ndarray:
    """Return the two orthonormal ways in which members differ, [N, 2]."""
    return np.sqrt(2) * np.stack([np.cos(np.pi * x), np.cos(2 * np.pi * x)], 1)


def main() -> None:
    """Simulate, fit, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", metavar="FILE")
    picture = parser.parse_args().picture

    random = np.random.default_rng(0)
    scores = random.standard_normal((CURVES, 2)) * [2.0, 1.0]
    member = np.repeat(np.arange(CURVES), SEEN)
    x = random.random(len(member))
    values = mean(x) + (functions(x) * scores[member]).sum(1) + NOISE * random.standard_normal(len(x))

    # The member's number takes the place of time, and is free: neighbours have nothing in common.
    points = PointSet.from_points(times=member, frequencies=x, magnitudes=values)
    model = FunctionalPCA(2, field="hat:nodes=16,warp=linear", time_field="matrix").fit(points)

    at = np.linspace(0, 1, 201)
    found, truth = model.components(at), functions(at)
    likeness = np.abs((found * truth).sum(0)) / np.linalg.norm(found, axis=0) / np.linalg.norm(truth, axis=0)
    curves = model.mean(at)[:, None] + found @ model.scores(np.arange(CURVES))
    whole = mean(at)[:, None] + truth @ scores.T
    residual = np.sqrt(((curves - whole) ** 2).mean())
    spread = np.sqrt(((whole - whole.mean(1, keepdims=True)) ** 2).mean())
    print(f"points: {points.n_points} of {CURVES} curves, {SEEN} each; noise {NOISE}")
    print("variances: " + ", ".join(f"{v:.2f}" for v in model.explained_variance_) + " (true: 4, 1)")
    print("likeness to the true functions: " + ", ".join(f"{v:.3f}" for v in likeness))
    print(f"error of whole curves: {residual:.3f} (of the mean alone: {spread:.3f})")
    if picture:
        draw(picture, at, curves, whole, member, x, values, found)


def draw(path, at, curves, whole, member, x, values, found) -> None:  # type: ignore[no-untyped-def]
    """Save three members and the components."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    (left, right) = figure.subplots(1, 2)
    for number, colour in zip(range(3), ("C0", "C1", "C2"), strict=True):
        left.plot(x[member == number], values[member == number], "o", color=colour)
        left.plot(at, curves[:, number], color=colour)
        left.plot(at, whole[:, number], ":", color=colour)
    left.set(title="Three members: measured, found (line), true (dots)", xlabel="place")
    right.plot(at, found)
    right.set(title="Principal functions", xlabel="place")
    figure.savefig(path)


if __name__ == "__main__":
    main()
