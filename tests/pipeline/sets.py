"""A set of mixtures in folders, each with what its sources are learned from."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16000


def write_set(folder: Path, speech: dict[str, Path], names: tuple[str, ...] = ("001", "002", "003")) -> None:
    """Write NAME/train_1, train_2, ref_1, ref_2 and mix for each name, cut from recordings of two speakers."""
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        voices = []
        for source, speaker in (("1", "male"), ("2", "female")):
            _write(folder / name / f"train_{source}.flac", _cut(speech[f"{speaker}_train"], 2.0 * number, 1.5))
            voices.append(_cut(speech[f"{speaker}_test"], 0.9 * number, 1.0))
            _write(folder / name / f"ref_{source}.flac", voices[-1])
        _write(folder / name / "mix.flac", voices[0] + voices[1])


def _cut(path: Path, start: float, seconds: float) -> Any:
    return soundfile.read(path, start=int(start * RATE), frames=int(seconds * RATE), dtype="float32")[0] / 2


def _write(path: Path, audio: Any) -> None:
    soundfile.write(path, np.asarray(audio), RATE, subtype="PCM_16")
    # A file that changed just now is read again by the next run, to be sure.
    os.utime(path, (time.time() - 3600,) * 2)


def set_pipeline(folder: Path, **sections: Any) -> dict[str, Any]:
    """Return a pipeline that separates such a set with dictionaries of each mixture's own; ``None`` drops a section."""
    pipeline: dict[str, Any] = {
        "name": "set",
        "corpus": {"mixtures": str(folder / "*/mix.flac"), "sample_rate": RATE},
        "transforms": {"short": {"stft": {"n_fft": 512}}, "long": {"stft": {"n_fft": 1024}}},
        "sources": {
            "1": {"audio": "{folder}/train_1.flac", "components": 4},
            "2": {"audio": "{folder}/train_2.flac", "components": 4},
        },
        "fit": {"max_iter": 20, "analyze": "long"},
        "separate": {"max_iter": 15, "synthesize": "long"},
        "evaluate": {"references": "{folder}/ref_{source}.flac", "metrics": ["si_sdr"]},
        "report": {"items": 0},
        **sections,
    }
    return {key: value for key, value in pipeline.items() if value is not None}
