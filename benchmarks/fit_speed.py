"""Measure how fast and how well fields are fitted, against the published method and other NMF packages.

Figures are ratios of CPU time on one thread. Opponent and ours take turns in one process, and the median of the turns
counts. What the published method's whole runs end with comes from benchmarks/reference_runs.json; runs that are not
there are computed first and added to it. Results go into benchmarks/results.json, and a table to the terminal.
`--quick` only shows that it runs: its figures mean nothing, and it writes no file unless `--out` is given.

cases:
  notes    (a) two notes in three transforms, K=2: time to the best of the opponent's final divergences over 4 seeds
  speech   (b) K=20, n_fft 2000: time to the opponent's final divergence
  frozen   divergence at windows 1000, 1500 and 2500 with templates of 2000, over matrix NMF fitted at each window
  peers    plain STFT, free matrices: time to what scikit-learn and torchnmf reach in 200 iterations
  floor    an iteration's time over that of its matrix products and divisions alone
  memory   peak memory of fitting one hour of audio over that of five minutes
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import memory
import numpy as np
import peers
from measure import WARM_TRIALS, Reached, arithmetic_floor, cpu_seconds, fit, kullback_leibler, one_thread, reach
from reference_runs import ITERATIONS, RUNS, ReferenceRuns, Wanted, wanted_for
from results import RESULTS, Entry, clip_table, entry, load, save, table
from scenes import SPEECH_SET, Clip, clips_of, stft_points

from inmf_flow.points import PointSet

K_SPEECH = 20
NOTES = {
    "hat": {"n_components": 2, "field": {"hat": {"nodes": 1024}}, "time_field": {"hat": {"nodes": 2048}}},
    "network": {"n_components": 2, "field": {"network": {"hidden": 16}}, "time_field": {"network": {"hidden": 16}}},
}
SPEECH = {name: {"n_components": K_SPEECH, "field": name} for name in ("hat", "network")}
MATRIX = {"n_components": K_SPEECH, "field": "matrix"}
# Cases that say the same of fewer clips, and take long.
FEWER = {"frozen": 4, "peers": 4, "floor": 4}
# A fit takes seconds: fewer starts, and a coarse search for the number of iterations.
SLOW = {"speech-network", "notes-network"}


@dataclass(frozen=True)
class Effort:
    """How much is run."""

    repeats: int = 5
    reference_iterations: int = ITERATIONS
    reference_seeds: int | None = None
    # Iterations of the opponent in a turn: enough to time, few enough to take turns within seconds.
    turn: int = 20
    most_iterations: int = 4000
    slow_most_iterations: int = 60
    slow_seeds: int = 3
    network_iterations: int = 30
    slow_precision: float = 0.1
    fit_iterations: int = 1000
    frozen_iterations: int = 500
    peer_iterations: int = 200
    windows: tuple[int, ...] = (1000, 1500, 2500)
    minutes: tuple[float, float] = (memory.SHORT_MINUTES, memory.LONG_MINUTES)
    memory_iterations: int = 20


QUICK = Effort(
    repeats=2,
    reference_iterations=4,
    reference_seeds=1,
    turn=1,
    most_iterations=10,
    slow_most_iterations=2,
    slow_seeds=1,
    network_iterations=1,
    fit_iterations=4,
    frozen_iterations=4,
    peer_iterations=4,
    windows=(1500,),
    minutes=(0.1, 0.2),
    memory_iterations=2,
)


def notes(clip: Clip, effort: Effort, runs: ReferenceRuns) -> Iterator[Entry]:
    """Measure case (a) on one scene."""
    yield from race(wanted_for("notes", clip, effort.reference_iterations, effort.reference_seeds), NOTES, effort, runs)


def speech(clip: Clip, effort: Effort, runs: ReferenceRuns) -> Iterator[Entry]:
    """Measure case (b) on one clip."""
    yield from race(wanted_for("speech", clip, effort.reference_iterations), SPEECH, effort, runs)


def race(wanted: Wanted, settings: dict[str, dict[str, Any]], effort: Effort, runs: ReferenceRuns) -> Iterator[Entry]:
    """Time each of our fields to the lowest divergence that the opponent's runs ended with, turn by turn."""
    finals = runs.get(wanted)
    best = min(finals, key=lambda run: run.divergence)
    ours = {
        name: starts(wanted.points, options, best.divergence, effort, slow=f"{wanted.case}-{name}" in SLOW)
        for name, options in settings.items()
    }
    opponent = wanted.opponent(best.seed)
    opponent.step()
    theirs: list[float] = []
    mine: dict[str, list[float]] = {name: [] for name in settings}
    for turn in range(effort.repeats):
        spent = cpu_seconds(lambda: [opponent.step() for _ in range(effort.turn)])
        theirs.append(spent / effort.turn * best.reached)
        for name, options in settings.items():
            mine[name].append(seconds_to(wanted.points, options, ours[name][turn % len(ours[name])]))
    for name in settings:
        yield entry(
            f"{wanted.case}-{name}",
            wanted.clip,
            median_ratio(theirs, mine[name]),
            target=best.divergence,
            reference_divergences=[run.divergence for run in finals],
            reference_iterations=best.reached,
            reference_seconds=theirs,
            reference_seconds_of_whole_run=best.seconds,
            our_iterations=[one.iterations for one in ours[name]],
            our_seconds=mine[name],
            our_divergence=[one.divergence for one in ours[name]],
            points=wanted.points.n_points,
        )


def starts(points: PointSet, options: dict[str, Any], target: float, effort: Effort, *, slow: bool) -> list[Reached]:
    """Search from several starts: one may stick in a poor minimum, and the turn that it is timed in pays for it."""
    if slow:
        limits = effort.slow_most_iterations, effort.slow_precision, WARM_TRIALS
        return [reach(points, options, target, seed, *limits) for seed in range(effort.slow_seeds)]
    return [reach(points, options, target, seed, effort.most_iterations) for seed in range(effort.repeats)]


def frozen(clip: Clip, effort: Effort, _: ReferenceRuns) -> Iterator[Entry]:
    """Measure templates of window 2000 at other windows."""
    learned = stft_points(clip.audio, 2000)
    iterations = {"hat": effort.fit_iterations, "network": effort.network_iterations}
    models = {name: fit(learned, options, iterations[name], seed=0) for name, options in SPEECH.items()}
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
                fit_iterations=iterations[name],
                matrix_iterations=effort.fit_iterations,
            )


def against_peers(clip: Clip, effort: Effort, _: ReferenceRuns) -> Iterator[Entry]:
    """Measure the classical special case against packages made for it; each turn has its own start and target."""
    points = stft_points(clip.audio)
    v = np.sqrt(points.blocks[0].magnitudes)
    for name, fit_peer in peers.installed().items():
        theirs, mine, targets, ours = [], [], [], []
        for seed in range(effort.repeats):
            peer = partial(fit_peer, v, *peers.start(v, K_SPEECH, seed), effort.peer_iterations)
            targets.append(kullback_leibler(v, peer()))
            ours.append(reach(points, MATRIX, targets[-1], seed, effort.most_iterations))
            theirs.append(cpu_seconds(peer))
            mine.append(seconds_to(points, MATRIX, ours[-1]))
        yield entry(
            name,
            clip.name,
            median_ratio(theirs, mine),
            version=peers.version(name),
            targets=targets,
            their_iterations=effort.peer_iterations,
            their_seconds=theirs,
            their_seconds_an_iteration=statistics.median(theirs) / effort.peer_iterations,
            our_iterations=[one.iterations for one in ours],
            our_seconds=mine,
            our_seconds_an_iteration=statistics.median(
                spent / (one.iterations or 1) for spent, one in zip(mine, ours, strict=True)
            ),
        )


def floor(clip: Clip, effort: Effort, _: ReferenceRuns) -> Iterator[Entry]:
    """Measure an iteration of multiplicative updates, set-up not counted, over its arithmetic alone."""
    points = stft_points(clip.audio)
    v = np.sqrt(points.blocks[0].magnitudes)
    few, many = effort.peer_iterations // 4, effort.peer_iterations
    for name, options in (("hat", SPEECH["hat"]), ("matrix", MATRIX)):
        least, mine = [], []
        fit(points, options, few, seed=0)
        for _turn in range(effort.repeats):
            least.append(arithmetic_floor(v, K_SPEECH, many))
            short, long = (
                cpu_seconds(lambda n=n, options=options: fit(points, options, n, seed=0)) for n in (few, many)
            )
            mine.append((long - short) / (many - few))
        yield entry(
            f"floor-{name}", clip.name, median_ratio(mine, least), seconds_an_iteration=mine, floor_seconds=least
        )


def long_recording(clip: Clip, effort: Effort, _: ReferenceRuns) -> Iterator[Entry]:
    """Measure by how much the memory of a process grows with a long recording, over that with a short one."""
    if not memory.is_available():
        print("memory: left out, as there is no inmf_flow.fit_segments", flush=True)
        return
    short, long = (memory.peak_megabytes(minutes, effort.memory_iterations) for minutes in effort.minutes)
    ratio = long["growth"] / short["growth"] if short["growth"] > 0 else None
    yield entry("memory", clip.name, ratio, minutes=effort.minutes, short_megabytes=short, long_megabytes=long)


def seconds_to(points: PointSet, options: dict[str, Any], reached: Reached) -> float:
    """Return the CPU seconds of a whole fit, set-up included; infinite where it never gets there."""
    if reached.iterations is None:
        return np.inf
    return cpu_seconds(lambda: fit(points, options, reached.iterations, reached.seed))


def median_ratio(numerators: list[float], denominators: list[float]) -> float | None:
    """Return the median over the turns; None where most turns never got there."""
    ratio = statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
    return ratio or None


CASES: dict[str, Callable[[Clip, Effort, ReferenceRuns], Iterator[Entry]]] = {
    "notes": notes,
    "speech": speech,
    "frozen": frozen,
    "peers": against_peers,
    "floor": floor,
    "memory": long_recording,
}


def _clips(case: str, folder: Path | None, given: argparse.Namespace) -> list[Clip]:
    if case == "memory":
        return [Clip("recordings of the repository, tiled", np.zeros(0, np.float32))]
    if given.quick:
        return clips_of(case, None, 1)[:1]
    # All, where a number was asked for.
    return clips_of(case, folder, given.limit)[: FEWER.get(case) if given.limit is None else None]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this case; may be repeated")
    parser.add_argument(
        "--set", type=Path, metavar="FOLDER", help="a speech set made by build_sets.py (benchmarks/data/speech)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="scenes (3) or speakers of the set (4); 0 takes all")
    parser.add_argument("--fresh", action="store_true", help="compute the opponent's whole runs anew: takes an hour")
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
        effort = replace(effort, repeats=given.repeats)
    out = given.out or (None if given.quick else RESULTS)
    folder = given.set or (SPEECH_SET if SPEECH_SET.is_dir() else None)
    if not (folder or given.quick):
        print("no speech set at benchmarks/data/speech (see build_sets.py): speech is the repository's two clips only")
    runs = ReferenceRuns(None if given.quick else RUNS, fresh=given.fresh)
    if len(runs) and not given.fresh:
        print(f"{RUNS.name} has {len(runs)} whole runs of the opponent; --fresh computes them anew", flush=True)
    found: list[Entry] = []
    for case in given.case or list(CASES):
        for number, clip in enumerate(_clips(case, folder, given)):
            begin = time.perf_counter()
            entries = list(CASES[case](clip, effort, runs))
            found += entries
            print(f"{case}: {clip.name} ({time.perf_counter() - begin:.0f} s)", flush=True)
            if out:
                # A case's earlier figures go with its first new ones: they may be of other clips.
                save(entries, out, clear={one.case for one in entries} if number == 0 else ())
    print(f"opponent's whole runs: {runs.reused} from {RUNS.name}, {runs.computed} computed\n\n{clip_table(found)}\n")
    print(table(load(out) if out else found))


if __name__ == "__main__":
    main()
