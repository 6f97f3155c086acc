"""What a live stream costs: load, the slowest blocks, memory over hours, and what no look-ahead costs in SDR.

    python benchmarks/stream.py                      # load, slowest blocks of 30 minutes, memory over 2 hours
    python benchmarks/stream.py --sets DIR           # SDR too, on DIR/speech/NNN of scripts/build_sets.py

One process, one thread: 16 kHz, STFT 1024/256, blocks of 512 samples, two sources of 20 components.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
AUDIO = ROOT / "pipelines" / "audio" / "speech"
RATE, BLOCK = 16000, 512
TRANSFORM = "stft:n_fft=1024,hop_length=256"
# Examples that nothing was tuned on: see benchmarks/separation.py.
SPLIT = "speech"


def _models() -> dict[str, Any]:
    from inmf_flow import INMF, get_transform
    from inmf_flow.audio import read_audio

    stft = get_transform("stft", n_fft=1024, hop_length=256)
    return {
        name: INMF(20).fit(stft.analyze(read_audio(AUDIO / f"{name}_train.flac")[0][0], RATE))
        for name in ("male", "female")
    }


def _blocks(seconds: float) -> Iterator[NDArray[np.float32]]:
    """Yield so many seconds of the shipped mixture, over and over, each time a little louder or softer."""
    from inmf_flow.audio import read_audio

    mixture = read_audio(AUDIO / "mixture.flac")[0][0]
    random, at = np.random.default_rng(0), 0
    level = np.float32(1)
    for _ in range(int(seconds * RATE / BLOCK)):
        if at + BLOCK > len(mixture):
            at, level = 0, np.float32(random.uniform(0.3, 1.5))
        yield mixture[at : at + BLOCK] * level
        at += BLOCK


def _resident() -> float:
    """Return megabytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_load(models: dict[str, Any], seconds: float, **options: Any) -> dict[str, float]:
    """Return the load and how long the slowest blocks took, in times of a block's length."""
    from inmf_flow import StreamSeparator

    live = StreamSeparator(models, TRANSFORM, RATE, BLOCK, **options)
    times = []
    started = time.process_time()
    for block in _blocks(seconds):
        before = time.perf_counter()
        live.push(block)
        times.append(time.perf_counter() - before)
    used = time.process_time() - started
    length = BLOCK / RATE
    return {
        "load": float(np.sum(times)) / (len(times) * length),
        "cpu_load": used / (len(times) * length),
        "p999_blocks": float(np.quantile(times, 0.999)) / length,
        "worst_blocks": float(np.max(times)) / length,
        "late_blocks": float(np.sum(np.asarray(times) > length)),
        "delay_samples": float(live.delay),
        "minutes": seconds / 60,
    }


def measure_memory(models: dict[str, Any], hours: float) -> dict[str, float]:
    """Return megabytes after the first minute of a stream, and at its end."""
    from inmf_flow import StreamSeparator

    live = StreamSeparator(models, TRANSFORM, RATE, BLOCK)
    for block in _blocks(60):
        live.push(block)
    before = _resident()
    most = before
    for number, block in enumerate(_blocks(hours * 3600 - 60)):
        live.push(block)
        if number % 10_000 == 0:
            most = max(most, _resident())
    return {"start_mb": before, "end_mb": _resident(), "growth_mb": max(most, _resident()) - before, "hours": hours}


def measure_sdr(folder: Path, examples: list[str]) -> dict[str, Any]:
    """Return mean SDR of offline separation as `separate` does it by default, and of streams, with intervals."""
    import fast_bss_eval

    from inmf_flow import INMF, StreamSeparator, get_transform, separate
    from inmf_flow.audio import read_audio

    stft = get_transform("stft", n_fft=1024, hop_length=256)
    ways: dict[str, dict[str, Any]] = {
        "no look-ahead, 20 updates (default)": {},
        "10 updates": {"max_iter": 10},
        "5 updates": {"max_iter": 5},
        "5 updates, warm start": {"max_iter": 5, "warm_start": True},
        "20 updates, warm start": {"warm_start": True},
    }
    offline_ways = ["offline, 100 updates", "offline, 20 updates"]
    scores: dict[str, list[float]] = {way: [] for way in [*offline_ways, *ways]}
    for example in examples:
        audio = {path.stem: read_audio(path)[0][0] for path in sorted((folder / example).glob("*.flac"))}
        models = {f"s{n}": INMF(20).fit(stft.analyze(audio[f"train_{n}"], RATE)) for n in (1, 2)}
        references = np.stack([audio["ref_1"], audio["ref_2"]]).astype(np.float64)

        def score(estimates: dict[str, Any], references: NDArray[np.float64] = references) -> float:
            return float(np.mean(fast_bss_eval.sdr(references, np.stack(list(estimates.values())).astype(np.float64))))

        for updates in (100, 20):
            found = separate(audio["mix"], RATE, models, stft, max_iter=updates)
            scores[f"offline, {updates} updates"].append(score(found))
        for way, options in ways.items():
            live = StreamSeparator(models, stft, RATE, BLOCK, **options)
            pieces = [live.push(audio["mix"]), live.flush()]
            joined = {name: np.concatenate([piece[name] for piece in pieces])[live.delay :] for name in live.names}
            scores[way].append(score(joined))
    offline = np.array(scores["offline, 100 updates"])
    random = np.random.default_rng(0)
    result: dict[str, Any] = {}
    for way, values in scores.items():
        gains = np.array(values) - offline
        means = gains[random.integers(0, len(gains), (10_000, len(gains)))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        interval = [float(low), float(high)]
        result[way] = {"sdr": float(np.mean(values)), "gain": float(gains.mean()), "interval": interval}
    return result


def main() -> None:
    """Measure and print; ``--json`` also writes the figures to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of audio for the load (30)")
    parser.add_argument("--hours", type=float, default=2, help="of audio for the memory (2); 0: leave it out")
    parser.add_argument("--sets", type=Path, help="where the benchmark's sets are")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    models = _models()
    results: dict[str, Any] = {
        "load": measure_load(models, options.minutes * 60),
        "warm": measure_load(models, min(options.minutes, 2) * 60, max_iter=5, warm_start=True),
        "adapting": measure_load({**models, "noise": 8}, min(options.minutes, 2) * 60),
    }
    if options.hours:
        results["memory"] = measure_memory(models, options.hours)
    if options.sets:
        from separation import SPLITS

        results["sdr"] = measure_sdr(options.sets / SPLIT, list(SPLITS[SPLIT]["test"]))
    print(json.dumps(results, indent=1))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
