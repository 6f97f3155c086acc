"""What the driver of a run costs: seconds an item and peak memory, for corpora of up to a million recordings.

Simulated is the work alone: recordings are files of a few bytes, and workers, which are real processes of a real Dask
cluster, write a few bytes an estimate. Everything else is a run's own: the manifest is read and checked, every
recording is looked at, keys are made, batches planned and sent, receipts taken, records and events written, and
``run.json``, ``items.jsonl``, ``metrics.csv`` and the report made. Estimates are not flushed to the disk, as real ones
are; that is the workers' work.

Peak memory is that of the driver's process. Dask's scheduler runs in it, as it does with ``scheduler: local``.

    python benchmarks/driver.py --items 10000 --json driver.json
    python benchmarks/driver.py --items 1000000 --folder /data/scratch
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_FOLDER_FILES = 1000
_SOURCES = ("one", "two")
_PIPELINE = """
name: driver
corpus: {{mixtures: list.jsonl}}
transforms:
  fine: {{stft: {{n_fft: 2000, hop_length: 1000}}}}
sources:
  one: {{model: one.safetensors}}
  two: {{model: two.safetensors}}
separate: {{synthesize: fine}}
{evaluate}
cluster: {{scheduler: "driver_cluster:cluster"}}
output: run
"""
_EVALUATE = 'evaluate: {references: "references/{item}/{source}.wav", metrics: [si_sdr]}'


def measure_driver(items: int, folder: Path | None = None, *, evaluate: bool = False) -> dict[str, Any]:
    """Run the driver over a simulated corpus, then again with nothing to do.

    Parameters
    ----------
    items
        Recordings of the corpus; twice as many estimates are written.
    folder
        Where the corpus is made and removed again; by default the folder for temporary files. Four files an item.
    evaluate
        Whether estimates are scored, too; references are then files of the corpus.

    Returns
    -------
    result
        ``items``; ``first`` and ``second``, the two runs, each with ``seconds``, ``seconds_an_item``, ``peak_mb``,
        ``start_mb`` (of the process with its libraries, before it reads the manifest) and ``phases`` in seconds.
    """
    with tempfile.TemporaryDirectory(prefix="inmf-driver-", dir=folder) as place:
        root = Path(place)
        _make_corpus(root, items, evaluate)
        first = _in_a_process(root)
        second = _in_a_process(root)
        # What is removed at once frees nothing that the second case would use.
        shutil.rmtree(root / "run", ignore_errors=True)
    return {"items": items, "evaluate": evaluate, "first": _per_item(first, items), "second": _per_item(second, items)}


def _per_item(run: dict[str, Any], items: int) -> dict[str, Any]:
    return {**run, "seconds_an_item": run["seconds"] / items}


def _make_corpus(root: Path, items: int, evaluate: bool) -> None:
    (root / "pipeline.yaml").write_text(_PIPELINE.format(evaluate=_EVALUATE if evaluate else ""))
    subprocess.run([sys.executable, __file__, "--make-models", str(root)], check=True)
    # As of an hour ago: what has just changed is looked at again, since it may go on changing.
    then = time.time() - 3600
    with (root / "list.jsonl").open("w") as manifest:
        for number in range(items):
            folder = f"audio/{number // _FOLDER_FILES:04d}"
            if number % _FOLDER_FILES == 0:
                (root / folder).mkdir(parents=True)
            name = f"{folder}/clip{number:07d}.wav"
            path = root / name
            path.write_bytes(b"simulated %d" % number)
            os.utime(path, (then, then))
            manifest.write(json.dumps({"audio": name, "speaker": f"speaker {number % 100}"}) + "\n")
            if evaluate:
                (root / f"references/clip{number:07d}").mkdir(parents=True)
                for source in _SOURCES:
                    os.link(path, root / f"references/clip{number:07d}/{source}.wav")


def _make_models(root: Path) -> None:
    import numpy as np

    from inmf_flow import INMF, PointSet

    values = np.random.default_rng(0).random((40, 30)).astype(np.float32)
    points = PointSet.from_grid(np.arange(30.0), 100.0 * np.arange(1, 41), values)
    for source in _SOURCES:
        INMF(2, max_iter=2).fit(points).save(root / f"{source}.safetensors")


def _in_a_process(root: Path) -> dict[str, Any]:
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--run", str(root)], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _run(root: Path) -> dict[str, Any]:
    """Run the pipeline in this process, which does nothing else, and return what it cost."""
    import distributed  # noqa: F401  (a library of the driver; its start is not what is measured)

    from inmf_flow.pipeline import explain_pipeline, load_pipeline, run_pipeline
    from inmf_flow.transform import get_transform

    get_transform("stft", n_fft=512)
    start = _peak()
    begin = time.perf_counter()
    pipeline = load_pipeline(root / "pipeline.yaml")
    explained = explain_pipeline(pipeline, pipeline.run_folder.absolute())
    planned = time.perf_counter()
    outcome = run_pipeline(pipeline, output=explained.folder, explained=explained)
    end = time.perf_counter()
    if outcome.failures:
        raise RuntimeError(f"{len(outcome.failures)} items failed, the first: {outcome.failures[0]}")
    stages = {name: round(stage.seconds, 3) for name, stage in outcome.stages.items()}
    known = sum(stages.values())
    return {
        "seconds": end - begin,
        "cpu_seconds": time.process_time(),
        "peak_mb": _peak(),
        "start_mb": start,
        "counts": outcome.counts,
        "phases": {"plan": planned - begin, **stages, "open, close and documents": end - planned - known},
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print; ``--json`` also writes the figures to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000], help="recordings; one case each")
    parser.add_argument("--evaluate", action="store_true", help="score estimates, too")
    parser.add_argument("--folder", type=Path, help="where to make the corpora (default: the temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make-models", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make_models:
        _make_models(options.make_models)
        return
    if options.run:
        print(json.dumps(_run(options.run)))
        return
    results = []
    for items in options.items:
        result = measure_driver(items, options.folder, evaluate=options.evaluate)
        results.append(result)
        for name in ("first", "second"):
            run = result[name]
            phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in run["phases"].items())
            print(
                f"{items:,} items, {name} run: {run['seconds']:.1f} s, {1000 * run['seconds_an_item']:.2f} ms an item, "
                f"{run['peak_mb']:.0f} MB ({run['start_mb']:.0f} MB before the first item); {phases}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
