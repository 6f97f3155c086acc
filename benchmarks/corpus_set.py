"""The corpus that `corpus.py` measures on: mixtures of two speakers, 3 to 10 s, cut from real recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 16000
SPEECH = Path(__file__).resolve().parent.parent / "pipelines" / "audio" / "speech"
SPEECH_SET = Path(__file__).resolve().parent / "data" / "speech"
SOURCES = ("female", "male")
_SECONDS = (3.0, 10.0)
_LONG_BLOCK = 60

Audio = NDArray[np.float32]


def speakers(data: Path = SPEECH_SET) -> list[Audio]:
    """Return recordings of one speaker each: those of the speech set where it was built, else the repository's own."""
    paths = sorted(data.glob("*/train_?.flac")) or sorted(SPEECH.glob("*_train.flac"))
    return [soundfile.read(path, dtype="float32")[0] for path in paths]


def write_corpus(folder: Path, clips: int, seed: int = 0) -> float:
    """Write ``mixtures/NNNNN.flac``, equal seeds the same; return their seconds. What is there already is kept.

    Each is two speakers at levels of their own, from places of their own: no two are alike.
    """
    said = folder / "corpus.json"
    wanted = {"clips": clips, "seed": seed}
    known = json.loads(said.read_text()) if said.exists() else {}
    if {name: known.get(name) for name in wanted} == wanted:
        return float(known["seconds"])
    (folder / "mixtures").mkdir(parents=True, exist_ok=True)
    draw, voices = np.random.default_rng(seed), speakers()
    total = 0
    for number in range(clips):
        length = int(draw.uniform(*_SECONDS) * SAMPLE_RATE)
        first, second = (_stretch(voices[i], length, draw) for i in draw.choice(len(voices), 2, replace=False))
        mixture = draw.uniform(0.3, 0.6) * first + draw.uniform(0.3, 0.6) * second
        soundfile.write(folder / "mixtures" / f"{number:05d}.flac", mixture, SAMPLE_RATE, subtype="PCM_16")
        total += length
    seconds = total / SAMPLE_RATE
    said.write_text(json.dumps({**wanted, "seconds": seconds}) + "\n")
    return seconds


def _stretch(voice: Audio, length: int, draw: np.random.Generator) -> Audio:
    begin = int(draw.integers(len(voice)))
    return np.resize(np.roll(voice, -begin), length)


def write_dictionaries(folder: Path) -> None:
    """Write ``SOURCE.safetensors``: 20 components with hats each, learned from the repository's speakers."""
    from inmf_flow import INMF
    from inmf_flow.transform import get_transform

    stft = get_transform("stft", n_fft=2000, hop_length=1000)
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        path = folder / f"{source}.safetensors"
        if not path.exists():
            audio, rate = soundfile.read(SPEECH / f"{source}_train.flac", dtype="float32")
            INMF(20, field="hat", random_state=0).fit(stft.analyze(audio, rate)).save(path)


def write_long(path: Path, minutes: float, rate: int = 8000) -> None:
    """Write a recording of any length, minute by minute: the repository's speakers over and over, from other places."""
    from inmf_flow.audio import resample

    draw = np.random.default_rng(0)
    voices = [resample(voice[None], SAMPLE_RATE, rate)[0] for voice in speakers(SPEECH)]
    left = int(minutes * 60 * rate)
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16", format="RF64") as out:
        while left > 0:
            length = min(left, _LONG_BLOCK * rate)
            out.write(sum(0.4 * _stretch(np.asarray(voice, np.float32), length, draw) for voice in voices))
            left -= length
