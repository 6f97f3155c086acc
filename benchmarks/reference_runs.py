"""Whole runs of the published method, kept in reference_runs.json: seeded, slow, and not a matter of our code.

A run is found again by case, clip, settings, number of iterations, seed and the points themselves. Called as a program
this computes the runs that are missing, one after the other on one thread, and writes each as soon as it is done:

    python benchmarks/reference_runs.py
    python benchmarks/reference_runs.py --case notes --limit 0 --fresh
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import one_thread
from reference_network import Reference, Run, flatten
from results import machine
from scenes import SPEECH_SET, Clip, clips_of, hybrid_points, stft_points

from inmf_flow.points import PointSet

RUNS = Path(__file__).resolve().parent / "reference_runs.json"
ITERATIONS = 1000
# The paper's: 20 components of width 64 for speech, two of width 16 for two notes.
SETTINGS = {"notes": {"n_components": 2, "hidden": 16}, "speech": {"n_components": 20, "hidden": 64}}
# The opponent of two notes may start four times, and its best counts: one start in four sticks.
SEEDS = {"notes": (0, 1, 2, 3), "speech": (0,)}
# Analyses differ by rounding between processors; anything else moves sums of many points by more.
_SAME = 1e-5
_PROJECTIONS = 4


@dataclass(frozen=True)
class Wanted:
    """The runs of one clip."""

    case: str
    clip: str
    points: PointSet
    iterations: int = ITERATIONS
    seeds: tuple[int, ...] = (0,)

    def opponent(self, seed: int) -> Reference:
        """Return the published method before its first iteration."""
        return Reference(self.points, **SETTINGS[self.case], seed=seed)

    def key(self, seed: int) -> dict[str, Any]:
        """Return what tells a run from others, the points left out."""
        names = {"case": self.case, "clip": self.clip, "settings": SETTINGS[self.case]}
        return {**names, "iterations": self.iterations, "seed": seed}


@dataclass(frozen=True)
class FinishedRun:
    """How a whole run ended.

    Attributes
    ----------
    divergence
        Mean Kullback-Leibler divergence after the last iteration.
    reached
        Iterations after which it was first as low.
    seconds
        CPU seconds of the whole run, on the machine named.
    """

    seed: int
    iterations: int
    divergence: float
    reached: int
    seconds: float
    machine: dict[str, Any]

    @classmethod
    def of(cls, run: Run, iterations: int) -> FinishedRun:
        """Return what is kept of a run."""
        return cls(run.seed, iterations, run.divergence, run.iterations, round(run.seconds, 2), machine())


def fingerprint(points: PointSet) -> list[float]:
    """Return the number of points, and sums of coordinates and magnitudes weighted by fixed random numbers.

    A digest of the bytes would tell processors apart, which round the same analysis differently.
    """
    columns = [column.astype(np.float64) for column in flatten(points)]
    draw = np.random.default_rng(0)
    weights = draw.random((_PROJECTIONS, len(columns[0])))
    return [float(len(columns[0])), *(float(value) for column in columns for value in weights @ column)]


class ReferenceRuns:
    """The file of finished runs.

    Parameters
    ----------
    path
        Where runs are kept; None keeps nothing.
    fresh
        Compute every run anew, and replace what the file has of it.
    """

    def __init__(self, path: Path | None = RUNS, *, fresh: bool = False) -> None:
        self.path, self.fresh = path, fresh
        self.reused = self.computed = 0
        self._done: dict[str, FinishedRun] = {}

    def __len__(self) -> int:
        return len(self._read())

    def get(self, wanted: Wanted, report: Callable[[str], None] = print) -> list[FinishedRun]:
        """Return the runs of one clip, from the file where it has them; the others are computed and added to it."""
        mark = fingerprint(wanted.points)
        return [self._run(wanted, seed, mark, report) for seed in wanted.seeds]

    def _run(self, wanted: Wanted, seed: int, mark: list[float], report: Callable[[str], None]) -> FinishedRun:
        name = json.dumps(wanted.key(seed))
        if name in self._done:
            return self._done[name]
        known = None if self.fresh else self._find(wanted.key(seed), mark)
        if known is not None:
            self.reused += 1
            return known
        report(f"computing the opponent's run: {wanted.case}, {wanted.clip}, seed {seed}")
        run = FinishedRun.of(wanted.opponent(seed).fit(wanted.iterations), wanted.iterations)
        report(f"  divergence {run.divergence:.4g} after {run.seconds:.0f} s")
        self.computed += 1
        self._done[name] = run
        self._add(wanted.key(seed), mark, run)
        return run

    def _read(self) -> list[dict[str, Any]]:
        if self.path is None or not self.path.exists():
            return []
        runs: list[dict[str, Any]] = json.loads(self.path.read_text())["runs"]
        return runs

    def _find(self, key: dict[str, Any], mark: list[float]) -> FinishedRun | None:
        for one in self._read():
            if all(one[name] == value for name, value in key.items()) and _same(one["points"], mark):
                names = ("seed", "iterations", "divergence", "reached", "seconds", "machine")
                return FinishedRun(**{name: one[name] for name in names})
        return None

    def _add(self, key: dict[str, Any], mark: list[float], run: FinishedRun) -> None:
        if self.path is None:
            return
        # Read again: another process may have added runs of other clips in the meantime.
        others = [one for one in self._read() if any(one[name] != value for name, value in key.items())]
        rows = sorted([*others, {**key, "points": mark, **asdict(run)}], key=lambda one: (*map(one.get, _ORDER),))
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps({"format": 1, "runs": rows}, indent=1, ensure_ascii=False) + "\n")
        os.replace(partial, self.path)


_ORDER = ("case", "clip", "iterations", "seed")


def _same(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and bool(np.allclose(one, other, rtol=_SAME, atol=0.0))


def wanted_for(case: str, clip: Clip, iterations: int = ITERATIONS, seeds: int | None = None) -> Wanted:
    """Return the runs that a case needs of a clip, of the first seeds only where fewer are asked for."""
    points = hybrid_points(clip.audio) if case == "notes" else stft_points(clip.audio)
    return Wanted(case, clip.name, points, iterations, SEEDS[case][:seeds])


def main() -> None:
    """Compute the runs that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(SETTINGS), help="only this case (speech, then notes)")
    parser.add_argument(
        "--set", type=Path, metavar="FOLDER", help="a speech set by build_sets.py (benchmarks/data/speech)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="clips of a case (speech 4 of the set, notes 3)")
    parser.add_argument("--fresh", action="store_true", help="compute also what the file has")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file (benchmarks/reference_runs.json)")
    given = parser.parse_args()
    one_thread()
    folder = given.set or (SPEECH_SET if SPEECH_SET.is_dir() else None)
    runs = ReferenceRuns(given.runs, fresh=given.fresh)
    for case in given.case or ("speech", "notes"):
        for clip in clips_of(case, folder, given.limit):
            runs.get(wanted_for(case, clip), lambda line: print(line, flush=True))
    print(f"{runs.computed} runs computed, {runs.reused} found in {given.runs}")


if __name__ == "__main__":
    main()
