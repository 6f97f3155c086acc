"""Regions of interest on a screen, from a gaze that was sampled at irregular moments.

The gaze is simulated, not recorded: fixations around four places, jumps between them, and a tracker that reports at
random moments and loses some. Each sample is a point (x, y) that stands for the seconds since the last; empty points
say where the gaze was not, and all share the screen's area (Berman & Turner, "Approximating point process likelihoods
with GLIM", Applied Statistics 41, 1992). INMF explains the density of dwell by products of functions of x and of y.

    python examples/eye_tracking.py [--picture FILE]
"""

from __future__ import annotations

import argparse

import numpy as np

from inmf_flow import INMF, PointSet

SCREEN, SIZE = np.array([1920.0, 1080.0]), 60.0
CENTRES = np.array([[300, 560], [800, 200], [1250, 900], [1700, 400]])
SHARES = np.array([0.4, 0.3, 0.2, 0.1])


def look(random: np.random.Generator, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where the gaze was, [N, 2] pixels, and the seconds that each sample stands for, [N]."""
    times = np.cumsum(random.exponential(1 / 60, int(60 * seconds)) + 0.002)
    # A fixation lasts a quarter of a second, a jump 30 ms.
    changes = np.cumsum(random.gamma(8, 0.25 / 8, int(5 * seconds)) + 0.03)
    fixation = np.searchsorted(changes, times)
    places = random.choice(4, len(changes) + 1, p=SHARES)
    targets = CENTRES[places] + SIZE * random.standard_normal((len(places), 2))
    before = np.concatenate([[0.0], changes])[fixation]
    way = np.clip((times - before) / 0.03, 0, 1)[:, None]
    gaze = targets[np.maximum(fixation - 1, 0)] * (1 - way) + targets[fixation] * way
    gaze += 8 * random.standard_normal(gaze.shape)
    kept = (random.random(len(times)) > 0.05) & (gaze > 0).all(1) & (gaze < SCREEN).all(1)
    return gaze[kept], np.minimum(np.diff(times[kept], prepend=0.0), 0.05)


def regions(gaze: np.ndarray, dwell: np.ndarray, random: np.random.Generator) -> INMF:
    """Return the best of several models of four regions, each the product of a function of x and one of y."""
    empty = random.random((3000, 2)) * SCREEN
    x, y = np.vstack([gaze, empty]).T
    # Points share the area of the tile that they lie in.
    tiles = (x // 120).astype(int) * 9 + (y // 120).astype(int)
    area = 120.0 * 120.0 / np.bincount(tiles)[tiles]
    density = np.concatenate([dwell, np.zeros(len(empty))]) / area
    points = PointSet.from_points(times=x, frequencies=y, magnitudes=density, weights=area)
    settings = {"beta_loss": "kullback-leibler", "power": 1.0, "field": "hat:nodes=28,warp=linear"}
    models = [INMF(4, time_field="hat:nodes=48", random_state=seed, **settings).fit(points) for seed in range(3)]
    return min(models, key=lambda model: model.divergence_curve_[-1][1])


def median(places: np.ndarray, functions: np.ndarray) -> np.ndarray:
    """Return the place that halves each function, [K]."""
    totals = functions.cumsum(1)
    return places[(totals < 0.5 * totals[:, -1:]).sum(1)]


def main() -> None:
    """Simulate, fit, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", metavar="FILE")
    picture = parser.parse_args().picture
    gaze, dwell = look(random := np.random.default_rng(0), seconds=90.0)
    model = regions(gaze, dwell, random)

    x, y = np.arange(5, 1920, 10.0), np.arange(5, 1080, 10.0)
    across, down = model.activations(x), model.templates(y).T
    shares = across.sum(1) * down.sum(1)
    shares /= shares.sum()
    found = np.stack([median(x, across), median(y, down)], 1)
    nearest = np.linalg.norm(found[:, None] - CENTRES, axis=2).argmin(1)
    print(f"samples: {len(gaze)} in {dwell.sum():.0f} s, simulated")
    for k in np.argsort(-shares):
        line = "region at {:4.0f}, {:3.0f} with {:.2f} of the dwell (true: {:4.0f}, {:3.0f}, {:.2f})"
        print(line.format(*found[k], shares[k], *CENTRES[nearest[k]], SHARES[nearest[k]]))
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 5), layout="constrained")
        axis = figure.add_subplot(xlim=(0, 1920), ylim=(1080, 0), title="Simulated gaze, and regions of interest")
        axis.plot(*gaze.T, ".", color="0.7", markersize=2)
        for k, region in enumerate(down[:, :, None] * across[:, None]):
            axis.contour(x, y, region, [0.2 * region.max(), 0.6 * region.max()], colors=f"C{k}")
        figure.savefig(picture)


if __name__ == "__main__":
    main()
