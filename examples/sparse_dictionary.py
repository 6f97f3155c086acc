"""Shapes that signals are made of, from signals that were sampled at random places, each at its own.

Each of 150 simulated signals holds one or two of three shapes, with either sign, and was sampled at twelve random
places. A sparse dictionary finds the shapes as functions; principal functions of the same number mix them.

    python examples/sparse_dictionary.py [--picture FILE]
"""

from __future__ import annotations

import argparse

import numpy as np

from inmf_flow import PointSet
from inmf_flow.linear import FunctionalPCA, SparseDictionary

SIGNALS, SEEN, NOISE = 150, 12, 0.05


def shapes(x: np.ndarray) -> np.ndarray:
    """Return two bumps and a wave at places of 0 to 1, [N, 3]."""
    bumps = np.exp(-0.5 * ((x[:, None] - [0.2, 0.75]) / [0.08, 0.1]) ** 2)
    return np.hstack([bumps, np.sin(4 * np.pi * x)[:, None]])


def likeness(found: np.ndarray) -> np.ndarray:
    """Return how like the nearest of the functions found [N, K] each shape is: 1 is equal but for size and sign."""
    truth = shapes(np.linspace(0, 1, len(found)))
    cosines = found.T @ truth / np.linalg.norm(found, axis=0)[:, None] / np.linalg.norm(truth, axis=0)
    return np.abs(cosines).max(0)


def main() -> None:
    """Simulate, fit, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", metavar="FILE")
    picture = parser.parse_args().picture

    random = np.random.default_rng(0)
    codes = random.uniform(1, 2, (SIGNALS, 3)) * random.choice([-1, 1], (SIGNALS, 3))
    first = np.eye(3, dtype=bool)[random.integers(0, 3, SIGNALS)]
    codes *= first | (random.random((SIGNALS, 3)) < 0.15)
    signal = np.repeat(np.arange(SIGNALS), SEEN)
    x = random.random(len(signal))
    values = (shapes(x) * codes[signal]).sum(1) + NOISE * random.standard_normal(len(x))

    # The signal's number takes the place of time.
    points = PointSet.from_points(times=signal, frequencies=x, magnitudes=values)
    same = {"field": "hat:nodes=24,warp=linear", "time_field": "matrix"}
    model = SparseDictionary(3, alpha=0.02, n_init=3, **same).fit(points)
    principal = FunctionalPCA(3, **same).fit(points)

    at = np.linspace(0, 1, 201)
    atoms, mixed = likeness(model.components(at)), likeness(principal.components(at))
    found = model.scores(np.arange(SIGNALS))
    print(f"points: {points.n_points} of {SIGNALS} signals, {SEEN} each; noise {NOISE}")
    print("likeness of atoms to the shapes: " + ", ".join(f"{v:.3f}" for v in atoms))
    print("likeness of principal functions: " + ", ".join(f"{v:.3f}" for v in mixed))
    print(f"codes that are 0: {100 * (found == 0).mean():.0f}% (true: {100 * (codes == 0).mean():.0f}%)")
    print(f"iterations: {model.n_iter_}; objective {model.objective_curve_[0]:.2f} to {model.objective_curve_[-1]:.2f}")
    if picture:
        draw(picture, at, model.components(at), principal.components(at))


def draw(path, at, atoms, principal) -> None:  # type: ignore[no-untyped-def]
    """Save shapes, atoms and principal functions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    axes = figure.subplots(1, 3)
    titles = ("True shapes", "Atoms", "Principal functions")
    for axis, curves, title in zip(axes, (shapes(at), atoms, principal), titles, strict=True):
        axis.plot(at, curves / np.linalg.norm(curves, axis=0))
        axis.set(title=title, xlabel="place")
    figure.savefig(path)


if __name__ == "__main__":
    main()
