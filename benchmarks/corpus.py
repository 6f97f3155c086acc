"""What a run over a corpus costs: speed, the framework's tax, scaling, the points store, memory and the driver.

The corpus is cut from the speech set that `build_sets.py --speech` builds, or, without it, from the repository's own
recordings; it is kept in the cache. Every opponent runs in the same call, turn by turn, and figures are medians over
turns. CPU time is that of a whole process with its children, from the start of its interpreter to its end; of the
bare loop it is that of the loop alone, without its imports.

    python benchmarks/corpus.py                          # everything
    python benchmarks/corpus.py --case runs --clips 1200 --turns 3
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import corpus_table
import results
from corpus_set import write_corpus, write_dictionaries, write_long

CACHE = Path(__file__).resolve().parent / "data" / "corpus"
_JOBS = Path(__file__).resolve().parent / "corpus_jobs.py"
_SHORT_MINUTES, _LONG_MINUTES = 10.0, 600.0
Figures = dict[str, dict[str, Any]]


def job(name: str, *given: object) -> dict[str, Any]:
    """Run one of the jobs in a process of its own; ``cpu`` is what it took, children and all."""
    before, begin = _children_cpu(), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(_JOBS), name, *map(str, given)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**result, "cpu": _children_cpu() - before, "elapsed": time.perf_counter() - begin}


def _children_cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def loops_at_once(folder: Path, place: Path, count: int) -> list[dict[str, Any]]:
    """Run so many bare loops at once: they share nothing but the machine, so nothing scales better on it."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: job("loop", folder, place / f"loop-{number}"), range(count)))


def measure_runs(given: argparse.Namespace) -> Figures:
    """Measure speed, tax and scaling: in each turn a bare loop, two at once, and runs on two workers and on one."""
    seconds = write_corpus(given.folder, given.clips)
    write_dictionaries(given.folder)
    turns = []
    for _ in range(given.turns):
        with tempfile.TemporaryDirectory(dir=given.scratch) as place:
            loop = job("loop", given.folder, Path(place, "loop"))
            pair = loops_at_once(given.folder, Path(place), 2)
            two = job("run", given.folder, Path(place, "two"), 2)
            shutil.rmtree(Path(place, "two"))
            one = job("run", given.folder, Path(place, "one"), 1)
        machine = 2 * loop["wall"] / max(each["wall"] for each in pair)
        turns.append({"loop": loop, "two": two, "one": one, "machine": machine})
        _say(f"turn {len(turns)}: bare loop {loop['loop_cpu']:.1f} s, run {two['cpu']:.1f} s of CPU time")
    corpus = {"clips": given.clips, "seconds": seconds, "turns": given.turns}

    def median(figure: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(figure(turn) for turn in turns)

    return {
        "speed": {
            "figure": median(lambda turn: seconds / turn["two"]["elapsed"]),
            "stage_alone": median(lambda turn: seconds / turn["two"]["stages"]["separate"]),
            "bare_loop": median(lambda turn: seconds / turn["loop"]["wall"]),
            **corpus,
        },
        "tax": {
            "figure": median(lambda turn: turn["two"]["cpu"] / turn["loop"]["loop_cpu"]),
            # Against the loop's whole program, imports and all.
            "over_program": median(lambda turn: turn["two"]["cpu"] / turn["loop"]["cpu"]),
            "run_cpu": median(lambda turn: turn["two"]["cpu"]),
            "loop_cpu": median(lambda turn: turn["loop"]["loop_cpu"]),
            **corpus,
        },
        "scaling": {
            "figure": median(lambda turn: turn["one"]["stages"]["separate"] / turn["two"]["stages"]["separate"]),
            "whole_run": median(lambda turn: turn["one"]["elapsed"] / turn["two"]["elapsed"]),
            # What two processes that share nothing reach: the machine's own.
            "two_loops": median(lambda turn: turn["machine"]),
            **corpus,
        },
    }


def measure_store(given: argparse.Namespace) -> Figures:
    """Measure how fast points are written and read, against a plain file, and count a store's files."""
    seconds = write_corpus(given.folder, given.clips)
    turns = []
    for _ in range(given.turns):
        with tempfile.TemporaryDirectory(dir=given.scratch) as place:
            turns.append(job("store", given.folder, place, given.megabytes))
    if not all(turn["same"] for turn in turns):
        raise RuntimeError("points that were read are not those that were written")
    with tempfile.TemporaryDirectory(dir=given.scratch) as place:
        counted = job("analyze", given.folder, Path(place, "run"), 2)

    def median(name: str) -> float:
        return statistics.median(turn[name] for turn in turns)

    shared = {"megabytes": median("megabytes"), "compression": median("compression"), "turns": given.turns}
    return {
        "store-write": {"figure": median("write"), "plain_file": median("plain_write"), **shared},
        "store-read": {"figure": median("read"), "plain_file": median("plain_read"), **shared},
        "store-files": {"figure": counted["files"] * 3600 / seconds, "hours": seconds / 3600, **counted},
    }


def measure_memory(given: argparse.Namespace) -> Figures:
    """Measure the peak memory of separating a long recording, over that of a short one."""
    write_dictionaries(given.folder)
    peaks = {}
    for minutes in (_SHORT_MINUTES * given.shrink, _LONG_MINUTES * given.shrink):
        with tempfile.TemporaryDirectory(dir=given.scratch) as place:
            write_long(Path(place, "long.wav"), minutes)
            done = job("separate", given.folder, Path(place, "long.wav"), Path(place, "out"), given.updates)
            peaks[minutes] = done["peak_mb"]
        _say(f"{minutes:g} minutes: peak of {peaks[minutes]:.0f} MB")
    short, long = peaks.values()
    return {"memory": {"figure": long / short, "megabytes": list(peaks.values()), "minutes": list(peaks)}}


def measure_the_driver(given: argparse.Namespace) -> Figures:
    """Measure the driver alone: see driver.py."""
    from driver import measure_driver

    largest, second = (
        measure_driver(given.items, given.scratch),
        measure_driver(min(given.items, 10_000), given.scratch),
    )
    first = largest["first"]
    return {
        "driver-time": {"figure": 1000 * first["seconds_an_item"], "items": given.items, "phases": first["phases"]},
        "driver-memory": {"figure": first["peak_mb"], "items": given.items, "start_mb": first["start_mb"]},
        "second-run": {"figure": second["second"]["seconds"], "items": second["items"]},
    }


CASES: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "runs": measure_runs,
    "store": measure_store,
    "memory": measure_memory,
    "driver": measure_the_driver,
}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this case (may be repeated)")
    parser.add_argument("--clips", type=int, default=2000, help="recordings of the corpus (2000)")
    parser.add_argument("--turns", type=int, default=3, help="turns, of which figures are the median (3)")
    parser.add_argument("--items", type=int, default=1_000_000, help="recordings of the driver's corpus (1,000,000)")
    parser.add_argument("--megabytes", type=float, default=256, help="points that are written and read (256)")
    parser.add_argument("--updates", type=int, default=100, help="updates of the activations of long recordings (100)")
    parser.add_argument("--shrink", type=float, default=1.0, help="by how much long recordings are shorter than that")
    parser.add_argument("--folder", type=Path, default=CACHE, help="where the corpus is kept (benchmarks/data/corpus)")
    parser.add_argument("--scratch", type=Path, help="where results are written and removed (the temporary folder)")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="results file (benchmarks/results.json)")
    parser.add_argument("--page", type=Path, help="page whose table is written (docs/performance.md, with --out as is)")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for, case by case, and write the results after each."""
    given = arguments()
    for name in given.case or CASES:
        figures = CASES[name](given)
        corpus_table.save(figures, given.out)
        for case in figures:
            _say(f"{case}: {figures[case]['figure']:.4g}")
    figures = corpus_table.load(given.out)
    print(corpus_table.table(figures))
    page = given.page or (results.PAGE if given.out == results.RESULTS else None)
    if page is not None:
        corpus_table.write_table(figures, page)


if __name__ == "__main__":
    main()
