"""A photograph as points (x, y, brightness): INMF takes noise away and fills in pixels that are missing.

A photograph that comes with scikit-learn is spoilt by noise, by hiding half its pixels, and by both. A hidden pixel is
a missing point: nothing has to be made up for it. Figures are peak signal-to-noise ratios against the photograph.

    python examples/image.py [--picture FILE]
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_sample_image

from inmf_flow import INMF, PointSet

NOISE, HIDDEN, COMPONENTS = 0.2, 0.5, 14


def decibels(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of brightness between 0 and 1."""
    return float(-10 * np.log10(((image - truth) ** 2).mean()))


def rebuilt(image: np.ndarray) -> np.ndarray:
    """Return what a few products of a function of x and a function of y make of an image [Y, X]; NaN is missing."""
    y, x = np.arange(image.shape[0]), np.arange(image.shape[1])
    points = PointSet.from_grid(times=x, frequencies=y, magnitudes=image)
    # Fewer nodes than pixels: functions are smoother than noise.
    model = INMF(
        COMPONENTS,
        beta_loss="frobenius",
        power=1.0,
        field="hat:nodes=100,warp=linear",
        time_field="hat:nodes=150",
    )
    return np.clip(model.fit(points).predict(points)[0], 0, 1)


def main() -> None:
    """Spoil, rebuild, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", metavar="FILE")
    picture = parser.parse_args().picture

    colours = load_sample_image("flower.jpg")[:420:2, :640:2]
    truth = (colours @ [0.299, 0.587, 0.114] / 255).astype(np.float32)
    random = np.random.default_rng(0)
    noisy = np.clip(truth + NOISE * random.standard_normal(truth.shape), 0, 1).astype(np.float32)
    hidden = random.random(truth.shape) < HIDDEN
    seen, seen_noisy = np.where(hidden, np.nan, truth), np.where(hidden, np.nan, noisy)

    images = {
        "photograph": truth,
        "noisy": noisy,
        "denoised": rebuilt(noisy),
        "half hidden": seen,
        "filled": np.where(hidden, rebuilt(seen), truth),
        "noisy and half hidden, rebuilt": rebuilt(seen_noisy),
    }
    by_mean = [np.where(hidden, np.nanmean(kept), kept) for kept in (seen, seen_noisy)]
    figures = {name: decibels(image, truth) for name, image in images.items() if image is not truth}
    print(f"image: {truth.shape[1]} x {truth.shape[0]} pixels, {COMPONENTS} components")
    print(f"noisy: {figures['noisy']:.1f} dB; denoised: {figures['denoised']:.1f} dB")
    print(f"half hidden, by the mean: {decibels(by_mean[0], truth):.1f} dB; filled: {figures['filled']:.1f} dB")
    print(f"noisy and half hidden, by the mean: {decibels(by_mean[1], truth):.1f} dB;", end=" ")
    print(f"rebuilt: {figures['noisy and half hidden, rebuilt']:.1f} dB")
    if picture:
        draw(picture, images)


def draw(path, images) -> None:  # type: ignore[no-untyped-def]
    """Save the images side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, 3)
    for axis, (title, image) in zip(axes.flat, images.items(), strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set(title=title, xticks=[], yticks=[])
    figure.savefig(path)


if __name__ == "__main__":
    main()
