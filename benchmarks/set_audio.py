"""What both benchmark sets share: levels, resampling, whole files, and the checks that an example must pass."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from inmf_flow.files import atomic_path, atomic_write

SAMPLE_RATE = 16000
TRAIN_SECONDS = 20.0
TEST_SECONDS = 5.0
Audio = NDArray[np.float64]


@dataclass
class Example:
    """One mixture: per source 20 s to train on and 5 s of reference, none of which is in the training audio."""

    train: list[Audio]
    test: list[Audio]
    meta: dict[str, Any] = field(default_factory=dict)


def to_mono(audio: Audio, rate: int) -> Audio:
    """Return the mean of the channels [samples, channels] at the benchmark's rate."""
    mono = audio.mean(axis=1) if audio.ndim == 2 else audio
    if rate == SAMPLE_RATE:
        return mono
    common = int(np.gcd(rate, SAMPLE_RATE))
    return resample_poly(mono, SAMPLE_RATE // common, rate // common)


def to_int16(audio: Audio, level_db: float) -> NDArray[np.int16]:
    """Return 16-bit samples at an RMS level in dB of full scale."""
    scaled = audio / np.sqrt((audio**2).mean()) * 10 ** (level_db / 20) * 32768
    if np.abs(scaled).max() >= 32000:
        raise ValueError(f"audio at {level_db} dB would clip")
    return np.round(scaled).astype(np.int16)


def is_complete(folder: Path, seed: int) -> bool:
    """Return whether an example of this seed was written to its end: ``meta.json`` comes last."""
    meta = folder / "meta.json"
    return meta.is_file() and json.loads(meta.read_text())["seed"] == seed


def write_example(folder: Path, example: Example, level_db: float) -> None:
    """Write train_i, ref_i and their exact sum mix as 16-bit FLAC, then meta.json."""
    references = [to_int16(audio, level_db) for audio in example.test]
    total = np.sum([reference.astype(np.int32) for reference in references], axis=0)
    if np.abs(total).max() >= 32767:
        raise ValueError(f"{folder.name}: the mixture would clip")
    files = {"mix": total.astype(np.int16)}
    for number, (train, reference) in enumerate(zip(example.train, references, strict=True), 1):
        files[f"train_{number}"] = to_int16(train, level_db)
        files[f"ref_{number}"] = reference
    _check(folder.name, files, len(references))
    # Whatever another seed left is not whole from now on.
    (folder / "meta.json").unlink(missing_ok=True)
    for name, samples in files.items():
        with atomic_path(folder / f"{name}.flac") as path:
            soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    atomic_write(folder / "meta.json", json.dumps(example.meta, indent=1, ensure_ascii=False) + "\n")


def _check(name: str, files: dict[str, NDArray[np.int16]], count: int) -> None:
    """Refuse examples that would not measure what they should."""
    references = [files[f"ref_{i}"] / 32768 for i in range(1, count + 1)]
    levels = [10 * np.log10((reference**2).mean()) for reference in references]
    if len(files["mix"]) != int(TEST_SECONDS * SAMPLE_RATE) or max(levels) - min(levels) >= 0.02:
        raise ValueError(f"{name}: references are not {TEST_SECONDS} s at one level, but {levels} dB")
    for number, reference in enumerate(references, 1):
        train = files[f"train_{number}"] / 32768
        if len(train) < 10 * SAMPLE_RATE:
            raise ValueError(f"{name}: source {number} has {len(train) / SAMPLE_RATE:.1f} s to train on")
        for audio in (train, reference):
            frames = audio[: len(audio) // 1600 * 1600].reshape(-1, 1600)
            if (np.sqrt((frames**2).mean(1)) > 10 ** (-55 / 20)).mean() <= 0.6:
                raise ValueError(f"{name}: source {number} is mostly silence")


def peak_correlation(first: Audio, second: Audio) -> float:
    """Return the highest normalized correlation, over all lags, of the shorter with a part of the longer."""
    long, short = (first, second) if len(first) >= len(second) else (second, first)
    size = 1 << int(np.ceil(np.log2(len(long) + len(short))))
    spectrum = np.fft.rfft(long, size) * np.conj(np.fft.rfft(short, size))
    correlation = np.abs(np.fft.irfft(spectrum, size)[: len(long) - len(short) + 1])
    energy = np.concatenate([[0], np.cumsum(long**2)])
    energy = energy[len(short) :] - energy[: -len(short)]
    scale = np.sqrt(np.maximum(energy, 1e-3 * energy.max()) * (short**2).sum() + 1e-12)
    return float((correlation / scale).max())
