"""Missing audio: INMF fills gaps and holes, adds an upper band, and takes noise away.

The recordings come with the repository; models are learned from other stretches of the same voice.

    python examples/missing_audio.py [--picture FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from inmf_flow import INMF, get_transform, separate
from inmf_flow.audio import read_audio
from inmf_flow.separation.missing import extend_bandwidth, inpaint

AUDIO = Path(__file__).resolve().parents[1] / "pipelines" / "audio"
RATE, CUTOFF, GAP = 16000, 3400, 0.02
STFT = get_transform("stft", n_fft=1024, hop_length=256)


def sound(name: str) -> np.ndarray:
    """Return a recording, [samples]."""
    return read_audio(AUDIO / f"{name}.flac")[0][0]


def learned(name: str, components: int) -> INMF:
    """Return a dictionary of a recording."""
    return INMF(components, max_iter=100).fit(STFT.analyze(sound(name), RATE))


def decibels(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Return the signal-to-noise ratio."""
    return float(10 * np.log10((truth**2).sum() / ((truth - estimate) ** 2).sum()))


def levels(audio: np.ndarray) -> np.ndarray:
    """Return the levels of an STFT in decibels, no lower than -80."""
    return 20 * np.log10(STFT.analyze(audio, RATE).blocks[0].magnitudes + 1e-4)


def main() -> None:
    """Spoil, mend, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", metavar="FILE")
    picture = parser.parse_args().picture
    voice, truth = learned("speech/female_train", 30), sound("speech/female_test")

    gaps = [(start, start + GAP) for start in np.arange(0.3, 3.8, 0.5)]
    hidden = np.zeros(len(truth), bool)
    for start, stop in gaps:
        hidden[round(start * RATE) : round(stop * RATE)] = True
    places = np.arange(len(truth))
    lines = np.interp(places[hidden], places[~hidden], truth[~hidden])
    filled = inpaint(np.where(hidden, 0, truth), RATE, gaps, model=voice, transform=STFT)
    print(f"gaps, by lines: {decibels(truth[hidden], lines):.1f} dB;", end=" ")
    print(f"filled: {decibels(truth[hidden], filled[hidden]):.1f} dB")

    spectrum = np.fft.rfft(truth)
    spectrum[np.fft.rfftfreq(len(truth), 1 / RATE) >= CUTOFF] = 0
    narrow = np.fft.irfft(spectrum, len(truth)).astype(np.float32)
    wide = extend_bandwidth(narrow, RATE, voice, CUTOFF, transform=STFT)
    high = STFT.analyze(truth, RATE).blocks[0].frequencies > CUTOFF + 50
    off = [np.sqrt(np.mean((levels(x) - levels(truth))[high] ** 2)) for x in (narrow, wide)]
    print(f"upper band, missing: {off[0]:.1f} dB off; extended: {off[1]:.1f} dB off")

    clean, noisy = sound("noise/voice_test"), sound("noise/mixture")
    models = {"voice": voice, "noise": learned("noise/train", 8)}
    denoised = separate(noisy, RATE, models, STFT, mask={"wiener": 2})["voice"]
    print(f"noisy: {decibels(clean, noisy):.1f} dB; denoised: {decibels(clean, denoised):.1f} dB")
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(15, 4), layout="constrained")
        shown = {"narrow": narrow, "extended": wide, "truth": truth, "noisy": noisy, "denoised": denoised}
        for axis, (title, audio) in zip(figure.subplots(1, 5), shown.items(), strict=True):
            axis.imshow(levels(audio), origin="lower", aspect="auto", vmin=-80, vmax=-20)
            axis.set(title=title, xticks=[], yticks=[])
        figure.savefig(picture)


if __name__ == "__main__":
    main()
