"""The process in which `doctor` tries plugins: reports each step to a file before it begins it."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import describe_exception
from inmf_flow.plugins.manager import CONTAINED

SECONDS = 0.25
SAMPLE_RATE = 16_000


def snr_db(signal: NDArray[Any], estimate: NDArray[Any]) -> float:
    """Return the signal-to-noise ratio of an estimate in decibels.

    Parameters
    ----------
    signal, estimate
        Arrays of equal shape.

    Returns
    -------
    ratio
        Infinite where they are equal, silence included; -infinite where an estimate of silence is not silent.
    """
    reference = np.asarray(signal, dtype=np.float64)
    error = float(np.sum((np.asarray(estimate, dtype=np.float64) - reference) ** 2))
    power = float(np.sum(reference**2))
    if error == 0:
        return math.inf
    if power == 0:
        return -math.inf
    return 10 * math.log10(power / error)


class _Report:
    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: dict[str, Any]) -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def step(self, name: str) -> None:
        self.write({"step": name})

    def check(self, name: str, ok: bool, message: str) -> bool:
        self.write({"check": {"check": name, "ok": ok, "message": message}})
        return ok


def main(arguments: list[str]) -> None:
    """Load all plugins and report their records, or try one transform."""
    from inmf_flow.plugins import plugin_manager

    report = _Report(Path(arguments[0]))
    transform = json.loads(arguments[1])["transform"]
    manager = plugin_manager()
    if transform is None:
        manager.load(before=report.step)
        for record in manager.records():
            report.write({"record": asdict(record)})
    else:
        report.step("load")
        manager.load()
        _try_transform(transform, report)
    report.write({"end": True})


def _try_transform(name: str, report: _Report) -> None:
    from inmf_flow.registry import transforms

    for step, check in (
        ("config", _check_config),
        ("analyze", _check_analyze),
        ("round trip", _check_round_trip),
    ):
        report.step(step)
        try:
            ok, message = check(transforms.get(name))
        except CONTAINED as error:
            ok, message = False, f"{step} raised {describe_exception(error)}"
        if not report.check(step, ok, message):
            return


def _noise() -> NDArray[np.float32]:
    samples = np.random.default_rng(0).normal(0, 0.1, round(SECONDS * SAMPLE_RATE))
    return samples.astype(np.float32)


def _check_config(cls: Any) -> tuple[bool, str]:
    cls.Config()
    cls()
    return True, "the defaults are valid"


def _check_analyze(cls: Any) -> tuple[bool, str]:
    from inmf_flow.transform import fault_of_points

    points = cls().analyze(_noise(), SAMPLE_RATE)
    fault = fault_of_points(points, 1)
    if fault is not None:
        return False, f"analyze returned {fault}"
    if points.n_points == 0:
        return False, f"analyze returned no points for {SECONDS} seconds of noise"
    return True, f"{points.n_points} finite, non-negative magnitudes from {SECONDS} seconds of noise"


def _check_round_trip(cls: Any) -> tuple[bool, str]:
    transform, audio = cls(), _noise()
    if transform.invertible == "none":
        return True, "it has no inverse, and says so"
    promised = transform.min_snr_db
    if promised is None:
        return (
            False,
            f"invertible is {transform.invertible!r} but min_snr_db is None; expected a promise in decibels",
        )
    back = np.asarray(transform.synthesize(transform.analyze(audio, SAMPLE_RATE)))
    if back.shape != audio.shape:
        return False, f"synthesize returned shape {back.shape}; expected {audio.shape}"
    measured = snr_db(audio, back)
    # Not `measured < promised`: NaN must fail.
    if not measured >= promised:
        return False, f"the round trip has {measured:.1f} dB; {promised:g} dB are promised"
    return True, f"{measured:.1f} dB, {promised:g} dB promised"


if __name__ == "__main__":
    main(sys.argv[1:])
