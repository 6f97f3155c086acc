"""Write the labelled track and the noise of pipelines/segmentation.yaml and pipelines/denoising.yaml.

    python scripts/segmentation_audio.py

Speech and music of the track are those of the recordings in pipelines/audio that end in _test. Noise is made here: pink
to brown, with a level that wanders.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from inmf_flow.segmentation import Segment, write_segments

AUDIO = Path(__file__).resolve().parents[1] / "pipelines" / "audio"
RATE = 16000
LEVEL = 0.05
# What follows what: the recordings, or the slope of a noise in decibels an octave.
TRACK = [
    ("music/backing_test", 0, 3), ("speech/female_test", 0, 4), (-4.5, 2, 3), ("music/guitar_test", 0, 3),
    (-3, 3, 3), ("speech/male_test", 0, 4),
]  # fmt: skip


def noise(slope: float, seed: int, seconds: float) -> np.ndarray:
    """Return noise whose spectrum falls by so many decibels an octave above 50 Hz, and whose level wanders by 6 dB."""
    random = np.random.default_rng(seed)
    samples = int(seconds * RATE)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    hertz = np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 50)
    sound = np.fft.irfft(spectrum * (hertz / 50) ** (slope / 6.02), samples)
    gains = np.interp(np.arange(samples) / RATE, np.arange(seconds + 1), random.uniform(-3, 3, int(seconds) + 1))
    return sound * 10 ** (gains / 20)


def piece(source: str | float, start: int, seconds: int) -> np.ndarray:
    """Return one stretch of a track, at the level that all have; of noise ``start`` is the seed."""
    if isinstance(source, str):
        sound = soundfile.read(AUDIO / f"{source}.flac", start=start * RATE, frames=seconds * RATE)[0]
    else:
        sound = noise(source, start, seconds)
    return sound * LEVEL / np.sqrt(np.mean(sound**2))


def main() -> None:
    """Write every file."""
    sounds = [piece(*each) for each in TRACK]
    write("segmentation/test", np.concatenate(sounds))
    edges = np.cumsum([0, *(seconds for *_, seconds in TRACK)]).tolist()
    labels = [source.split("/")[0] if isinstance(source, str) else "noise" for source, *_ in TRACK]
    limits = zip(edges[:-1], edges[1:], labels, strict=True)
    write_segments(AUDIO / "segmentation" / "test.csv", [Segment(start, stop, label) for start, stop, label in limits])

    write("noise/train", np.concatenate([piece(-3, 10, 4), piece(-6, 11, 4)]))
    voice = soundfile.read(AUDIO / "speech" / "female_test.flac")[0] / 2
    hiss = noise(-3, 12, len(voice) / RATE)
    hiss *= np.sqrt(np.mean(voice**2) / np.mean(hiss**2)) * 10 ** (-5 / 20)
    # Whole steps of 16 bits before they are added: the mixture is then their exact sum.
    voice, hiss = (np.round(sound * 32768) / 32768 for sound in (voice, hiss))
    for name, sound in (("noise_test", hiss), ("voice_test", voice), ("mixture", voice + hiss)):
        write(f"noise/{name}", sound)


def write(name: str, sound: np.ndarray) -> None:
    """Write a file of 16 bits."""
    path = AUDIO / f"{name}.flac"
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, sound, RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
