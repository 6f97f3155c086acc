"""Measure fits of case (b) on a GPU: 20 s clips as STFTs of 2000, K=20, 120 multiplicative updates.

Needs torch, numpy and inmf_flow.factorize alone, and no audio: speed depends on shapes, so the clips are random
non-negative spectrograms of rank 30 with noise. Without CUDA the same runs on the CPU, with a message. One JSON object
is printed; --out adds the figure to a results file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import entry, save

from inmf_flow.factorize import INMF
from inmf_flow.points import PointSet

BINS, FRAMES, RATE, HOP = 1001, 321, 16000, 1000
K, ITERATIONS = 20, 120


def make_clips(count: int) -> list[PointSet]:
    """Return spectrograms with the shape of 20 s of speech."""
    clips = []
    for seed in range(count):
        draw = np.random.default_rng(seed)
        w, h = draw.gamma(0.3, size=(BINS, 30)), draw.gamma(0.3, size=(30, FRAMES))
        magnitudes = w @ h * draw.gamma(4.0, 0.25, size=(BINS, FRAMES))
        times, frequencies = np.arange(FRAMES) * HOP / RATE, np.linspace(0, RATE / 2, BINS)
        clips.append(PointSet.from_grid(times, frequencies, magnitudes.astype(np.float32)))
    return clips


def fit_seconds(points: PointSet, field: str, device: str, iterations: int) -> float:
    """Return the seconds of one fit, from points in main memory to a model."""
    settings: dict[str, Any] = {"field": field, "tol": 0.0, "weights": "uniform", "device": device}
    _wait(device)
    begin = time.perf_counter()
    INMF(K, max_iter=iterations, **settings).fit(points)
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(clip_count: int, device: str, iterations: int) -> dict[str, Any]:
    """Return clips a second of fits one after the other; the batched figure is None, as there is no batched fit yet."""
    clips = make_clips(clip_count)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "iterations": iterations,
        "clips": clip_count,
        "batched_clips_per_second": None,
    }
    for field in ("hat", "matrix"):
        # The first fit loads kernels and fills the allocator.
        fit_seconds(clips[0], field, device, iterations)
        seconds = [fit_seconds(points, field, device, iterations) for points in clips]
        result[f"single_clips_per_second_{field}"] = 1 / statistics.median(seconds)
        result[f"milliseconds_an_iteration_{field}"] = 1e3 * statistics.median(seconds) / iterations
    if device == "cuda":
        result["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return result


def main() -> None:
    """Measure, print, and save where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16, help="clips that are fitted one after the other (16)")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help=f"updates a fit ({ITERATIONS})")
    parser.add_argument("--out", type=Path, help="results file to add the figure to")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        print("no CUDA device: measured on the CPU, which says nothing about the bar", flush=True)
    result = measure(given.clips, device, given.iterations)
    print(json.dumps(result, indent=1))
    if given.out:
        figure = result["batched_clips_per_second"] if device == "cuda" else None
        save([entry("gpu-batch", result["device"], figure, **result)], given.out)


if __name__ == "__main__":
    main()
