"""Measure fits of case (b) on a GPU: 20 s clips as STFTs of 2000, K=20, 120 multiplicative updates.

Needs torch, numpy and inmf_flow.factorize alone, and no audio: speed depends on shapes, so the clips are random
non-negative spectrograms of rank 30 with noise. Clips are fitted one after the other, and all in one batch, in every
precision that the batched fit offers; a precision counts only where its divergence stays within 0.5% of the CPU's in
single precision. Without CUDA nothing is measured, unless --cpu asks for it. One JSON object is printed;
--out adds the figure to a results file.

Times are wall-clock, from points in main memory to models, as a user would wait for them.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import entry, save

from inmf_flow import factorize
from inmf_flow.factorize import INMF
from inmf_flow.points import PointSet

BINS, FRAMES, RATE, HOP = 1001, 321, 16000, 1000
K, ITERATIONS, CLIPS, REPEATS = 20, 120, 256, 5
FIELDS, PRECISIONS = ("hat", "matrix"), ("float32", "tf32", "bf16")
# Clips that are fitted one after the other, and clips whose divergence is compared with the CPU's.
SINGLE, COMPARED = 8, 4
TOLERANCE = 0.005


def make_clips(count: int) -> list[PointSet]:
    """Return spectrograms with the shape of 20 s of speech."""
    times, frequencies = np.arange(FRAMES) * HOP / RATE, np.linspace(0, RATE / 2, BINS)
    clips = []
    for seed in range(count):
        draw = np.random.default_rng(seed)
        w, h = draw.gamma(0.3, size=(BINS, 30)), draw.gamma(0.3, size=(30, FRAMES))
        magnitudes = w @ h * draw.gamma(4.0, 0.25, size=(BINS, FRAMES))
        clips.append(PointSet.from_grid(times, frequencies, magnitudes.astype(np.float32)))
    return clips


def settings(field: str, device: str, iterations: int) -> dict[str, Any]:
    """Return what every fit is made with."""
    options = {"n_components": K, "field": field, "max_iter": iterations, "tol": 0.0, "weights": "uniform"}
    return {**options, "random_state": 0, "device": device}


def precisions() -> tuple[str | None, ...]:
    """Return the precisions that the batched fit offers; None alone where it has no such option."""
    fit_batch: Callable[..., Any] | None = getattr(factorize, "fit_batch", None)
    if fit_batch is None:
        return ()
    return PRECISIONS if "precision" in inspect.signature(fit_batch).parameters else (None,)


def wall_seconds(work: Callable[[], Any], device: str) -> float:
    """Return the seconds of a call, with the device idle before and after it."""
    _wait(device)
    begin = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def single(clips: list[PointSet], field: str, device: str, iterations: int) -> dict[str, float]:
    """Measure fits one after the other."""

    def fit(points: PointSet) -> INMF:
        return INMF(**settings(field, device, iterations)).fit(points)

    # The first fit loads kernels and fills the allocator.
    fit(clips[0])
    seconds = statistics.median(wall_seconds(lambda points=points: fit(points), device) for points in clips)
    return {"clips_per_second": 1 / seconds, "milliseconds_an_iteration": 1e3 * seconds / iterations}


def batched(
    clips: list[PointSet], field: str, device: str, iterations: int, repeats: int, precision: str | None
) -> dict[str, float]:
    """Measure one batch of all clips, and how far its divergence is from that of the CPU's fits."""
    options = settings(field, device, iterations) | ({"precision": precision} if precision else {})

    def fit() -> list[INMF]:
        models: list[INMF] = factorize.fit_batch(clips, **options)
        return models

    models = fit()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = [wall_seconds(fit, device) for _ in range(repeats)]
    result = {
        "clips_per_second": len(clips) / statistics.median(seconds),
        "milliseconds_an_iteration": 1e3 * statistics.median(seconds) / iterations,
        "divergence_over_cpu": _over_cpu(clips[:COMPARED], models, field, iterations),
    }
    if device == "cuda":
        result["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return result


def _over_cpu(clips: list[PointSet], models: list[INMF], field: str, iterations: int) -> float:
    """Return the largest divergence of a batch's models over that of the same fit on the CPU."""
    ratios = []
    for points, model in zip(clips, models, strict=False):
        alone = INMF(**settings(field, "cpu", iterations)).fit(points)
        ratios.append(model.divergence(points) / alone.divergence(points))
    return max(ratios)


def measure(clip_count: int, device: str, iterations: int, repeats: int) -> dict[str, Any]:
    """Return clips a second of fits one after the other and in one batch, by field and precision."""
    clips = make_clips(clip_count)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "iterations": iterations,
        "clips": clip_count,
        "single": {field: single(clips[:SINGLE], field, device, iterations) for field in FIELDS},
        "batched": {},
    }
    for field in FIELDS:
        for precision in precisions():
            name = f"{field}, {precision}" if precision else field
            result["batched"][name] = batched(clips, field, device, iterations, repeats, precision)
    if not result["batched"]:
        print("no batched fit: inmf_flow.factorize has no fit_batch", file=sys.stderr)
    return result


def best(result: dict[str, Any]) -> float | None:
    """Return the most clips a second of the hat field's batches whose divergence is within the tolerance."""
    allowed = [
        one["clips_per_second"]
        for name, one in result["batched"].items()
        if name.split(",")[0] == "hat" and one["divergence_over_cpu"] <= 1 + TOLERANCE
    ]
    return max(allowed, default=None)


def main() -> None:
    """Measure, print, and save where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"clips in the batch ({CLIPS})")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help=f"updates a fit ({ITERATIONS})")
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help=f"batches of which the median is taken ({REPEATS})"
    )
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU where there is no GPU")
    parser.add_argument("--out", type=Path, help="results file to add the figure to")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.cpu:
        print("gpu: left out, as there is no CUDA device")
        return
    result = measure(given.clips, device, given.iterations, given.repeats)
    result["clips_per_second"] = best(result)
    print(json.dumps(result, indent=1))
    if given.out and device == "cuda" and result["batched"]:
        save([entry("gpu-batch", "random spectrograms", result["clips_per_second"], **result)], given.out)


if __name__ == "__main__":
    main()
