"""What the benchmarks fit: a hybrid scene of two notes (case a) and speech as one STFT (case b).

Audio has unit energy and magnitudes are those of an orthonormal transform, as in the paper: divergences are then of its
order (5e-4 for speech), and the published networks start where they did.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import read_audio
from inmf_flow.points import PointSet
from inmf_flow.transform import get_transform

SAMPLE_RATE = 16000
FIXTURE = Path(__file__).resolve().parent.parent / "pipelines" / "audio"
SPEECH_SET = Path(__file__).resolve().parent / "data" / "speech"
Audio = NDArray[np.float32]
# Clips that are measured unless another number is asked for.
SPEAKERS, SCENES = 4, 3
# Examples of the speech set whose clips served to choose the engine's defaults.
TUNED_ON = frozenset({"002", "006", "010", "014"})

# Three times (one note, the other, both), one third for each transform.
_NOTE_SECONDS = 0.6
_CQT_LOWEST, _CQT_BINS, _CQT_PER_OCTAVE, _CQT_HOP = 110.0, 288, 48, 8
# Points that a channel of the CQT keeps within one length of its window.
_CQT_POINTS_PER_WINDOW = 4


@dataclass(frozen=True)
class Clip:
    """Mono audio at 16 kHz and a name to report it by."""

    name: str
    audio: Audio


def stft_points(audio: Audio, n_fft: int = 2000) -> PointSet:
    """Return the orthonormal STFT (square root of Hann, half overlap) of audio scaled to unit energy."""
    # Calibration "noise" divides by the window's energy, n_fft / 2.
    transform = get_transform("stft", n_fft=n_fft, calibration="noise")
    return transform.analyze(_unit_energy(audio) / np.float32(np.sqrt(2)), SAMPLE_RATE).without_synthesis()


def clips_of(case: str, folder: Path | None = None, limit: int | None = None) -> list[Clip]:
    """Return what a case is measured on: scenes of notes, or speech."""
    return note_scenes(limit) if case == "notes" else speech_clips(folder, limit)


def speech_clips(folder: Path | None = None, limit: int | None = None) -> list[Clip]:
    """Return speech to train on: the repository's two clips of 10 s, and before them 20 s each of a set's speakers.

    Parameters
    ----------
    folder
        A benchmark set made by build_sets.py; examples that defaults were chosen on are left out.
    limit
        Speakers taken from the set (4), each from the first example that has them; 0 takes all.
    """
    paths: dict[str, Path] = {}
    for meta in sorted(folder.glob("*/meta.json")) if folder else ():
        for number, source in enumerate(json.loads(meta.read_text())["sources"], 1):
            name = source.get("speaker") or f"{source['instrument']} {meta.parent.name}"
            if meta.parent.name not in TUNED_ON:
                paths.setdefault(name, meta.parent / f"train_{number}.flac")
    if folder and not paths:
        raise SystemExit(f"error: no examples in {folder}; build them with benchmarks/build_sets.py")
    count = SPEAKERS if limit is None else limit
    paths = dict(list(paths.items())[: count or None])
    own = {name: FIXTURE / "speech" / f"{name}_train.flac" for name in ("female", "male")}
    clips = [(name, _read(path)) for name, path in {**paths, **own}.items()]
    return [Clip(f"{name}, {len(audio) / SAMPLE_RATE:.0f} s", audio) for name, audio in clips]


def note_scenes(limit: int | None = None) -> list[Clip]:
    """Return recordings of a first note, a second note and both together, three times over; 3 scenes, or 0 for all.

    Two are cut from the repository's recorded electric guitar, at its strongest onsets. The others are synthesized
    pianos: no recording of single piano notes is at hand that may be shipped.
    """
    recorded = _read(FIXTURE / "music" / "guitar_train.flac")
    held_out = _read(FIXTURE / "music" / "guitar_test.flac")
    pairs = {
        "piano C4 G4 (synthesized)": (piano_note(261.63, 1), piano_note(392.0, 2)),
        "guitar (recorded)": strongest_onsets(recorded),
        "guitar, other part (recorded)": strongest_onsets(held_out),
        "piano A2 E4 (synthesized)": (piano_note(110.0, 3), piano_note(329.63, 4)),
        "piano D4 F#4 (synthesized)": (piano_note(293.66, 5), piano_note(369.99, 6)),
    }
    scenes = []
    count = SCENES if limit is None else limit
    for name, (first, second) in list(pairs.items())[: count or None]:
        phrase = np.concatenate([first, second, (first + second) / 2])
        scenes.append(Clip(name, np.tile(phrase, 3)))
    return scenes


@cache
def piano_note(pitch: float, seed: int) -> Audio:
    """Return a piano-like note: inharmonic partials, two detuned strings each, decays that quicken with frequency."""
    draw = np.random.default_rng(seed)
    t = np.arange(int(_NOTE_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    note = np.zeros(len(t))
    for number in range(1, 40):
        frequency = number * pitch * np.sqrt(1 + 4e-4 * number**2)
        if frequency > 0.45 * SAMPLE_RATE:
            break
        # The hammer strikes at about an eighth of the string, which hardly excites the partials with a node there.
        level = abs(np.sin(np.pi * number / 8.2)) * number**-1.1 * draw.uniform(0.6, 1.4)
        for detune in (1.0, 1 + draw.uniform(2e-4, 8e-4)):
            decay = np.exp(-t * (1.5 + 3e-3 * frequency * draw.uniform(0.5, 1.0)))
            note += level * decay * np.sin(2 * np.pi * frequency * detune * t + draw.uniform(0, 2 * np.pi))
    knock = draw.standard_normal(len(t)) * np.exp(-t / 0.01) * 0.15
    attack = np.minimum(t / 0.004, 1)
    note = attack * (note + knock * np.abs(note).max())
    return _level(_faded(note))


def strongest_onsets(audio: Audio) -> tuple[Audio, Audio]:
    """Return the two pieces of a recording that begin with the steepest rises of its level, not overlapping."""
    length, step = int(_NOTE_SECONDS * SAMPLE_RATE), SAMPLE_RATE // 100
    frames = audio[: len(audio) // step * step].reshape(-1, step)
    level = np.convolve((frames.astype(np.float64) ** 2).mean(1), np.ones(3) / 3, "same")
    rise = np.diff(np.log10(level + 1e-4 * level.max()), prepend=np.log10(level[0] + 1e-4 * level.max()))
    rise[-(length // step) :] = -np.inf
    first = int(rise.argmax())
    rise[max(0, first - length // step) : first + length // step] = -np.inf
    second = int(rise.argmax())
    pieces = [_level(_faded(audio[at * step :][:length])) for at in sorted((first, second))]
    return pieces[0], pieces[1]


def hybrid_points(scene: Audio) -> PointSet:
    """Return a third of a recording as an STFT of 128, one of 1024, and one as a CQT, laid end to end in time."""
    thirds = np.split(_unit_energy(scene), 3)
    parts = [
        get_transform("stft", n_fft=n_fft, calibration="noise").analyze(third / np.float32(np.sqrt(2)), SAMPLE_RATE)
        for n_fft, third in zip((128, 1024), thirds, strict=False)
    ]
    parts.append(_cqt_points(thirds[2]))
    return PointSet.end_to_end([part.without_synthesis() for part in parts], gap=0.0)


def _cqt_points(audio: Audio) -> PointSet:
    """Return CQT magnitudes as scattered points: each channel at a rate of its own, at true times and hertz.

    There are 48 channels an octave from 110 Hz to 7 kHz. A channel keeps 4 points in one length of its window,
    staggered against its neighbours, as transforms do whose channels have different rates.
    """
    import librosa

    coefficients = librosa.cqt(
        audio,
        sr=SAMPLE_RATE,
        hop_length=_CQT_HOP,
        fmin=_CQT_LOWEST,
        n_bins=_CQT_BINS,
        bins_per_octave=_CQT_PER_OCTAVE,
        tuning=0.0,
    )
    hertz = librosa.cqt_frequencies(_CQT_BINS, fmin=_CQT_LOWEST, bins_per_octave=_CQT_PER_OCTAVE)
    lengths, _ = librosa.filters.wavelet_lengths(freqs=hertz, sr=SAMPLE_RATE, window="hann")
    times, frequencies, magnitudes = [], [], []
    for channel, length in enumerate(lengths):
        step = max(1, round(length / _CQT_POINTS_PER_WINDOW / _CQT_HOP))
        frames = np.arange(channel * 7 % step, coefficients.shape[1], step)
        times.append(frames * _CQT_HOP / SAMPLE_RATE)
        frequencies.append(np.full(len(frames), hertz[channel]))
        magnitudes.append(np.abs(coefficients[channel, frames]))
    return PointSet.from_points(
        np.concatenate(times),
        np.concatenate(frequencies),
        np.concatenate(magnitudes),
        duration=len(audio) / SAMPLE_RATE,
    )


def _read(path: Path) -> Audio:
    audio, _ = read_audio(path, SAMPLE_RATE)
    return audio.mean(axis=0)


def _unit_energy(audio: Audio) -> Audio:
    return audio / np.float32(np.linalg.norm(audio.astype(np.float64)))


def _level(audio: NDArray[np.floating]) -> Audio:
    return (audio / np.sqrt((audio.astype(np.float64) ** 2).mean())).astype(np.float32)


def _faded(audio: NDArray[np.floating]) -> NDArray[np.floating]:
    fade = np.minimum(1, np.arange(len(audio))[::-1] / (0.02 * SAMPLE_RATE))
    return audio * fade
