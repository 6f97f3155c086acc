"""What `corpus.py` measures, each in a process of its own that prints one line of JSON.

python benchmarks/corpus_jobs.py run FOLDER OUTPUT WORKERS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPTIONS = {"n_fft": 2000, "hop_length": 1000}


def _cpu() -> float:
    """Return the CPU seconds of this process so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _peak_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def loop(folder: Path, output: Path) -> dict[str, Any]:
    """Separate all mixtures by a plain loop: no pipeline, no Dask, no ledger, no blocks, nothing flushed to disk."""
    import soundfile
    import torch

    from inmf_flow import INMF
    from inmf_flow.separation import Dictionary, Mask
    from inmf_flow.transform import get_transform

    torch.set_num_threads(1)
    output.mkdir(parents=True)
    dictionary = Dictionary({path.stem: INMF.load(path) for path in sorted(folder.glob("*.safetensors"))})
    stft = get_transform("stft", **OPTIONS)
    begin, wall = _cpu(), time.perf_counter()
    for path in sorted((folder / "mixtures").iterdir()):
        audio, rate = soundfile.read(path, dtype="float32")
        points = stft.analyze(audio, rate)
        for name, gains in zip(dictionary.names, dictionary.gains(points, Mask(), 100), strict=True):
            estimate = stft.synthesize(points, gains)
            soundfile.write(output / f"{path.stem}-{name}.wav", estimate, rate, subtype="FLOAT")
    return {"loop_cpu": _cpu() - begin, "wall": time.perf_counter() - wall}


def run(folder: Path, output: Path, workers: str) -> dict[str, Any]:
    """Separate all mixtures by a run on so many local workers."""
    from inmf_flow import run_pipeline

    begin = time.perf_counter()
    pipeline = {
        "name": "corpus",
        "corpus": {"mixtures": str(folder / "mixtures" / "*.flac"), "sample_rate": 16000},
        "transforms": {"fine": {"stft": OPTIONS}},
        "sources": {path.stem: {"model": str(path)} for path in sorted(folder.glob("*.safetensors"))},
    }
    outcome = run_pipeline(pipeline, output=output, workers=int(workers))
    stages = {name: stage.seconds for name, stage in outcome.stages.items()}
    if outcome.status != "done":
        raise RuntimeError(f"the run ended as {outcome.status}: {outcome.failures[:3]}")
    return {"wall": time.perf_counter() - begin, "stages": stages, "items": outcome.stages["separate"].done}


def analyze(folder: Path, output: Path, workers: str) -> dict[str, Any]:
    """Put the points of all mixtures into a store, as training audio of one source, and count its files."""
    from inmf_flow import run_pipeline

    clips = str(folder / "mixtures" / "*.flac")
    pipeline = {
        "name": "store",
        "corpus": {"mixtures": sorted(str(path) for path in (folder / "mixtures").iterdir())[:1], "sample_rate": 16000},
        "transforms": {"fine": {"stft": OPTIONS}},
        "sources": {"all": {"audio": clips, "components": 1}},
        "fit": {"learn": "online", "passes": 1, "max_iter": 1},
    }
    outcome = run_pipeline(pipeline, output=output, workers=int(workers))
    files = sum(path.is_file() for path in (output / "points.zarr").rglob("*"))
    return {
        "files": files,
        "parts": len(list((output / "points.zarr" / "manifest").iterdir())),
        "status": outcome.status,
    }


def separate(folder: Path, recording: Path, output: Path, updates: str) -> dict[str, Any]:
    """Separate one recording from file to files and note this process's peak memory."""
    import torch

    from inmf_flow import INMF
    from inmf_flow.separation import Dictionary, separate_file
    from inmf_flow.transform import get_transform

    torch.set_num_threads(1)
    dictionary = Dictionary({path.stem: INMF.load(path) for path in sorted(folder.glob("*.safetensors"))})
    begin = _cpu()
    separate_file(recording, output, dictionary, get_transform("stft", **OPTIONS), max_iter=int(updates))
    return {"peak_mb": _peak_megabytes(), "cpu": _cpu() - begin}


def store(folder: Path, output: Path, megabytes: str) -> dict[str, Any]:
    """Write and read points of the corpus as one part, and the same numbers as a plain file; megabytes a second."""
    import os

    import numpy as np

    from inmf_flow import open_points
    from inmf_flow.separation import analyze_file
    from inmf_flow.store import PointsStore
    from inmf_flow.transform import get_transform

    stft, items, size = [get_transform("stft", **OPTIONS)], {}, 0
    for path in sorted((folder / "mixtures").iterdir()):
        items[path.stem] = analyze_file(path, stft, 16000)
        size += sum(block.magnitudes.nbytes for block in items[path.stem].blocks)
        if size >= float(megabytes) * 1e6:
            break
    keys = dict.fromkeys(items, "0" * 32)
    # What is loaded on first use is loaded before anything is timed.
    first = next(iter(items))
    PointsStore.create(output / "warm.zarr").write_part("part", {first: items[first]}, {first: keys[first]}, "0" * 32)
    open_points(output / "warm.zarr")[first]
    begin = time.perf_counter()
    PointsStore.create(output / "points.zarr").write_part("part", items, keys, "0" * 32)
    written = time.perf_counter()
    found = open_points(output / "points.zarr")
    same = all(np.array_equal(found[name].blocks[0].magnitudes, items[name].blocks[0].magnitudes) for name in items)
    # Comparing is not reading: it is timed alone and taken off.
    read = time.perf_counter()
    [np.array_equal(points.blocks[0].magnitudes, points.blocks[0].magnitudes) for points in items.values()]
    compared = time.perf_counter() - read
    with (output / "plain.bin").open("wb") as stream:
        plain = time.perf_counter()
        for points in items.values():
            points.blocks[0].magnitudes.tofile(stream)
        stream.flush()
        os.fsync(stream.fileno())
        plain_written = time.perf_counter()
    np.fromfile(output / "plain.bin", np.float32)
    plain_read = time.perf_counter()
    stored = sum(path.stat().st_size for path in (output / "points.zarr").rglob("*") if path.is_file())
    return {
        "same": same,
        "megabytes": size / 1e6,
        "write": size / 1e6 / (written - begin),
        "read": size / 1e6 / max(read - written - compared, 1e-9),
        "plain_write": size / 1e6 / (plain_written - plain),
        "plain_read": size / 1e6 / (plain_read - plain_written),
        "compression": size / stored,
    }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {job.__name__: job for job in (loop, run, analyze, separate, store)}

if __name__ == "__main__":
    name, *given = sys.argv[1:]
    print(json.dumps(JOBS[name](*(Path(one) if "/" in one else one for one in given))))
