"""Peak memory of fitting a long recording, over that of a short one: each fit runs in a process of its own.

The recordings are tiled from the repository's own, every piece at another offset and level, so that no two minutes are
equal. A process first fits a few seconds, so that code and libraries are loaded, and counts from there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_RATE = 16000
SHORT_MINUTES, LONG_MINUTES = 5.0, 60.0
# Seconds of audio whose points are held at a time.
SEGMENT_SECONDS = 20
_WARM_UP_MINUTES = 0.1
_MEGABYTE = 1024.0


def is_available() -> bool:
    """Return whether the package fits recordings segment by segment."""
    import inmf_flow

    return hasattr(inmf_flow, "fit_segments")


def fit_long(path: Path, iterations: int) -> Any:
    """Fit one model to a recording of any length, analysed block by block."""
    import inmf_flow
    from inmf_flow.audio import AudioReader
    from inmf_flow.transform import analyze_in_blocks, get_transform

    transform = get_transform("stft", n_fft=2000)

    def segments() -> Iterator[inmf_flow.PointSet]:
        with AudioReader(path, SAMPLE_RATE) as reader:
            blocks = reader.blocks(SAMPLE_RATE)
            for points in analyze_in_blocks(transform, blocks, SAMPLE_RATE, SEGMENT_SECONDS * SAMPLE_RATE):
                yield points.without_synthesis()

    return inmf_flow.fit_segments(
        segments, n_components=20, max_iter=iterations, tol=0.0, weights="uniform", random_state=0
    )


def write_recording(path: Path, minutes: float, seed: int = 0) -> None:
    """Write a recording of the repository's speech and music, piece after piece."""
    import soundfile
    from scenes import FIXTURE

    sources = [soundfile.read(one, dtype="float32")[0] for one in sorted(FIXTURE.glob("*/*_train.flac"))]
    draw = np.random.default_rng(seed)
    left = int(minutes * 60 * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, subtype="PCM_16") as out:
        while left > 0:
            first, second = (sources[i] for i in draw.choice(len(sources), 2, replace=False))
            length = min(len(first), len(second), left)
            levels = draw.uniform(0.2, 0.5, 2)
            piece = levels[0] * np.roll(first, int(draw.integers(len(first))))[:length]
            piece += levels[1] * np.roll(second, int(draw.integers(len(second))))[:length]
            out.write(piece)
            left -= length


def peak_megabytes(minutes: float, iterations: int) -> dict[str, float]:
    """Fit so many minutes in a fresh process; return its memory before and at the peak, and by how much it grew."""
    with tempfile.TemporaryDirectory() as folder:
        warm_up, path = Path(folder) / "warm_up.wav", Path(folder) / "recording.wav"
        write_recording(warm_up, _WARM_UP_MINUTES)
        write_recording(path, minutes)
        command = [sys.executable, __file__, str(warm_up), str(path), str(iterations)]
        outcome = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(outcome.stdout.splitlines()[-1])
    return result


def _measure_here(warm_up: Path, path: Path, iterations: int) -> dict[str, float]:
    from measure import cpu_seconds, one_thread

    one_thread()
    fit_long(warm_up, 2)
    # What the kernel noted as the peak so far is forgotten (Linux: proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    seconds = cpu_seconds(lambda: fit_long(path, iterations))
    peak = _status("VmHWM")
    return {"before": before, "peak": peak, "growth": peak - before, "seconds": seconds}


def _status(name: str) -> float:
    """Return a size of this process in megabytes. `getrusage` would count what the parent held when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / _MEGABYTE


if __name__ == "__main__":
    print(json.dumps(_measure_here(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
