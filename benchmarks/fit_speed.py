"""Measure how fast and how well fields are fitted, against the published method and other NMF packages.

Figures are ratios of CPU time on one thread. Opponent and ours take turns in one process, and the median of the turns
counts. Results go into benchmarks/results.json, and a table to the terminal. `--quick` only shows that it runs: its
figures mean nothing, and it writes no file unless `--out` is given.

cases:
  notes    (a) two notes in three transforms, K=2: time to the best of the opponent's final divergences over 4 seeds
  speech   (b) K=20, n_fft 2000: time to the opponent's final divergence
  frozen   divergence at windows 1000, 1500 and 2500 with templates of 2000, over matrix NMF fitted at each window
  peers    plain STFT, free matrices: time to what scikit-learn and torchnmf reach in 200 iterations
  floor    an iteration's time over that of its matrix products and divisions alone
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Reached, arithmetic_floor, cpu_seconds, fit, kullback_leibler, one_thread, reach
from reference_network import Reference, Run
from results import RESULTS, Entry, entry, save, table
from scenes import Clip, hybrid_points, note_scenes, speech_clips, stft_points

from inmf_flow.points import PointSet

K_SPEECH = 20
NOTES = {
    "hat": {"n_components": 2, "field": {"hat": {"nodes": 512}}, "time_field": {"hat": {"nodes": 1024}}},
    "network": {"n_components": 2, "field": {"network": {"hidden": 16}}, "time_field": {"network": {"hidden": 16}}},
}
SPEECH = {name: {"n_components": K_SPEECH, "field": name} for name in ("hat", "network")}
MATRIX = {"n_components": K_SPEECH, "field": "matrix"}


@dataclass(frozen=True)
class Effort:
    """How much is run."""

    repeats: int = 5
    reference_iterations: int = 1000
    reference_seeds: int = 4
    # Iterations of the opponent in a turn: enough to time, few enough to take turns within seconds.
    turn: int = 30
    most_iterations: int = 4000
    fit_iterations: int = 1000
    frozen_iterations: int = 500
    peer_iterations: int = 200
    windows: tuple[int, ...] = (1000, 1500, 2500)
    # Starts of our network: a search for its number of iterations takes minutes.
    slow_seeds: int = 1


QUICK = Effort(
    repeats=2,
    reference_iterations=4,
    reference_seeds=1,
    turn=1,
    most_iterations=10,
    fit_iterations=4,
    frozen_iterations=4,
    peer_iterations=4,
    windows=(1500,),
)


def notes(clip: Clip, effort: Effort) -> Iterator[Entry]:
    """Measure case (a) on one scene."""
    points = hybrid_points(clip.audio)
    runs = [
        Reference(points, 2, hidden=16, seed=seed).fit(effort.reference_iterations)
        for seed in range(effort.reference_seeds)
    ]
    best = min(runs, key=lambda run: run.divergence)
    finals = [run.divergence for run in runs]
    yield from race(
        "notes",
        clip,
        points,
        NOTES,
        lambda: Reference(points, 2, hidden=16, seed=best.seed),
        best,
        effort,
        reference_finals=finals,
    )


def speech(clip: Clip, effort: Effort) -> Iterator[Entry]:
    """Measure case (b) on one clip."""
    points = stft_points(clip.audio)
    run = Reference(points, K_SPEECH).fit(effort.reference_iterations)
    yield from race("speech", clip, points, SPEECH, lambda: Reference(points, K_SPEECH), run, effort)


def race(
    case: str,
    clip: Clip,
    points: PointSet,
    settings: dict[str, dict[str, Any]],
    opponent: Callable[[], Reference],
    run: Run,
    effort: Effort,
    **detail: Any,
) -> Iterator[Entry]:
    """Time each of our fields to the divergence that the opponent's run ended with, turn by turn with the opponent."""
    target = run.divergence
    for name, options in settings.items():
        # A start may stick in a poor minimum: each turn of a fast field has a start of its own, and pays for it.
        seeds = effort.slow_seeds if name == "network" else effort.repeats
        ours = [reach(points, options, target, seed, effort.most_iterations) for seed in range(seeds)]
        theirs, mine = [], []
        for turn in range(effort.repeats):
            fresh = opponent()
            fresh.step()
            an_iteration = cpu_seconds(lambda fresh=fresh: [fresh.step() for _ in range(effort.turn)]) / effort.turn
            theirs.append(an_iteration * run.iterations)
            mine.append(seconds_to(points, options, ours[turn % len(ours)]))
        yield entry(
            f"{case}-{name}",
            clip.name,
            median_ratio(theirs, mine),
            target=target,
            reference_iterations=run.iterations,
            reference_seconds=theirs,
            reference_seconds_of_whole_run=run.seconds,
            our_iterations=[one.iterations for one in ours],
            our_seconds=mine,
            our_divergence=[one.divergence for one in ours],
            points=points.n_points,
            **detail,
        )


def frozen(clip: Clip, effort: Effort) -> Iterator[Entry]:
    """Measure templates of window 2000 at other windows."""
    learned = stft_points(clip.audio, 2000)
    models = {name: fit(learned, options, effort.fit_iterations, seed=0) for name, options in SPEECH.items()}
    for window in effort.windows:
        points = stft_points(clip.audio, window)
        matrix = fit(points, MATRIX, effort.fit_iterations, seed=0).divergence(points)
        for name, model in models.items():
            activations = model.transform(points, max_iter=effort.frozen_iterations)
            value = model.divergence(points, activations)
            yield entry(
                f"frozen-{name}",
                f"{clip.name}, n_fft {window}",
                value / matrix,
                divergence=value,
                matrix_divergence=matrix,
                divergence_at_2000=model.divergence(learned),
                fit_iterations=effort.fit_iterations,
            )


def peers(clip: Clip, effort: Effort) -> Iterator[Entry]:
    """Measure the classical special case against packages made for it."""
    points = stft_points(clip.audio)
    v = np.sqrt(points.blocks[0].magnitudes)
    for name, make in (("scikit-learn", scikit_learn), ("torchnmf", torchnmf)):
        peer = make(v, effort.peer_iterations)
        if peer is None:
            print(f"{name} is not installed: left out", flush=True)
            continue
        target = kullback_leibler(v, peer(0))
        ours = [reach(points, MATRIX, target, seed, effort.most_iterations) for seed in range(effort.repeats)]
        theirs, mine = [], []
        for turn in range(effort.repeats):
            theirs.append(cpu_seconds(lambda peer=peer: peer(0)))
            mine.append(seconds_to(points, MATRIX, ours[turn]))
        yield entry(
            name,
            clip.name,
            median_ratio(theirs, mine),
            target=target,
            their_iterations=effort.peer_iterations,
            their_seconds=theirs,
            our_iterations=[one.iterations for one in ours],
            our_seconds=mine,
        )


def scikit_learn(v: np.ndarray, iterations: int) -> Callable[[int], np.ndarray] | None:
    """Return a fit by scikit-learn, from a seed to the model [F, T]."""
    from sklearn.decomposition import NMF

    def run(seed: int) -> np.ndarray:
        model = NMF(
            K_SPEECH,
            init="random",
            solver="mu",
            beta_loss="kullback-leibler",
            tol=0,
            max_iter=iterations,
            random_state=seed,
        )
        w = model.fit_transform(v)
        return w @ model.components_

    return run


def torchnmf(v: np.ndarray, iterations: int) -> Callable[[int], np.ndarray] | None:
    """Return a fit by torchnmf, from a seed to the model [F, T]; None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchnmf.nmf import NMF
    except ImportError:
        return None
    data = torch.from_numpy(v)

    def run(seed: int) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = NMF(data.shape, rank=K_SPEECH)
        model.fit(data, beta=1, tol=float("-inf"), max_iter=iterations)
        with torch.no_grad():
            return model().numpy()

    return run


def floor(clip: Clip, effort: Effort) -> Iterator[Entry]:
    """Measure an iteration of multiplicative updates, set-up not counted, over its arithmetic alone."""
    points = stft_points(clip.audio)
    v = np.sqrt(points.blocks[0].magnitudes)
    few, many = effort.peer_iterations // 4, effort.peer_iterations
    for name, options in (("hat", SPEECH["hat"]), ("matrix", MATRIX)):
        least, mine = [], []
        for _ in range(effort.repeats):
            least.append(arithmetic_floor(v, K_SPEECH, many))
            short, long = (
                cpu_seconds(lambda n=n, options=options: fit(points, options, n, seed=0)) for n in (few, many)
            )
            mine.append((long - short) / (many - few))
        yield entry(
            f"floor-{name}", clip.name, median_ratio(mine, least), seconds_an_iteration=mine, floor_seconds=least
        )


def seconds_to(points: PointSet, options: dict[str, Any], reached: Reached) -> float:
    """Return the CPU seconds of a whole fit, set-up included; infinite where it never gets there."""
    if reached.iterations is None:
        return np.inf
    return cpu_seconds(lambda: fit(points, options, reached.iterations, reached.seed))


def median_ratio(numerators: list[float], denominators: list[float]) -> float | None:
    """Return the median over the turns; None where most turns never got there."""
    ratio = statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
    return ratio or None


CASES = {"notes": notes, "speech": speech, "frozen": frozen, "peers": peers, "floor": floor}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this case; may be repeated")
    parser.add_argument("--set", type=Path, metavar="FOLDER", help="a set made by build_sets.py, such as data/speech")
    parser.add_argument("--limit", type=int, default=4, metavar="N", help="clips a case (4); 0 takes all")
    parser.add_argument("--quick", action="store_true", help="one clip, a few iterations: shows that it runs")
    parser.add_argument("--repeats", type=int, help="turns of which the median is taken (5)")
    parser.add_argument("--out", type=Path, help="results file (benchmarks/results.json)")
    return parser.parse_args()


def main() -> None:
    """Run the cases and print the table."""
    given = arguments()
    one_thread()
    effort = QUICK if given.quick else Effort()
    if given.repeats:
        effort = Effort(**{**vars(effort), "repeats": given.repeats})
    limit = 1 if given.quick else given.limit or None
    out = given.out or (None if given.quick else RESULTS)
    found: list[Entry] = []
    for case in given.case or list(CASES):
        clips = note_scenes(limit) if case == "notes" else speech_clips(given.set, limit)
        for number, clip in enumerate(clips):
            begin = time.perf_counter()
            entries = list(CASES[case](clip, effort))
            found += entries
            print(f"{case}: {clip.name} ({time.perf_counter() - begin:.0f} s)", flush=True)
            if out:
                # A case's earlier figures go with its first new ones: they may be of other clips.
                save(entries, out, clear={one.case for one in entries} if number == 0 else ())
    print(table(found))


if __name__ == "__main__":
    main()
