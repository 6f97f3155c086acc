"""Measure how good a shared dictionary is on speakers it has never heard, against how much audio it was learned from.

For each mixture of a woman and a man of the speech set, one dictionary is learned from other women and one from other
men (`fit_shared`), from so many minutes each. On the two held-out speakers it is then scored by

- divergence: of their clean speech, activations fitted, over the mean of the data; lower is better,
- SI-SDR: of both speakers separated from their mixture, over that of doing nothing.

The row "own" is the usual protocol, for comparison: dictionaries of the two speakers' own 20 s. Sizes that the set has
no audio for are left out; `--voices` takes more: a folder with folders f and m, each with one folder of recordings a
speaker. The result goes into the section "dictionary_size" of benchmarks/results.json, and a table to the terminal.
`--quick` only shows that it runs, on the repository's two speakers, who are not held out: its figures mean nothing,
and it writes no file unless `--out` is given.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from measure import one_thread
from numpy.typing import NDArray
from results import RESULTS, machine, save_section
from scenes import FIXTURE, SAMPLE_RATE, SPEECH_SET, TUNED_ON

from inmf_flow import INMF, PointSet, get_transform, separate
from inmf_flow.audio import read_audio
from inmf_flow.evaluate import si_sdr
from inmf_flow.factorize import fit_shared

TRANSFORM = "stft:n_fft=2000,hop_length=1000"
MINUTES = (0.2, 1.0, 5.0, 20.0)
LIMIT = 4
SUFFIXES = {".flac", ".wav", ".ogg", ".mp3"}
Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A file of one speaker's voice."""

    path: Path
    speaker: str
    sex: str


@dataclass(frozen=True)
class Scene:
    """A mixture of a woman and a man, the clean voices, and recordings of theirs that the mixture is not made of."""

    name: str
    mixture: Path
    references: dict[str, Path]
    own: dict[str, Path]
    speakers: frozenset[str]


@dataclass(frozen=True)
class Settings:
    """How dictionaries are learned."""

    components: int = 20
    passes: int = 20
    sample_iterations: int = 100
    updates: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """What the dictionaries of one size come to on one scene."""

    scene: str
    size: str
    minutes: dict[str, float]
    speakers: dict[str, int]
    divergence: float
    si_sdr_improvement: float
    fit_seconds: float


def read_set(folder: Path) -> tuple[list[Recording], list[Scene]]:
    """Return the training recordings of a speech set, and its f/m mixtures that nothing was tuned on."""
    recordings, scenes = [], []
    for meta in sorted(folder.glob("*/meta.json")):
        sources = json.loads(meta.read_text())["sources"]
        for number, source in enumerate(sources, 1):
            recordings.append(Recording(meta.parent / f"train_{number}.flac", source["speaker"], source["sex"]))
        by_sex = {source["sex"]: number for number, source in enumerate(sources, 1)}
        if len(by_sex) < 2 or meta.parent.name in TUNED_ON:
            continue
        references, own = (
            {sex: meta.parent / f"{kind}_{number}.flac" for sex, number in by_sex.items()} for kind in ("ref", "train")
        )
        speakers = frozenset(source["speaker"] for source in sources)
        scenes.append(Scene(meta.parent.name, meta.parent / "mix.flac", references, own, speakers))
    if not scenes:
        raise SystemExit(f"error: no mixtures of a woman and a man in {folder}; build it with benchmarks/build_sets.py")
    return recordings, scenes


def read_voices(folder: Path) -> list[Recording]:
    """Return the recordings in folders f/SPEAKER and m/SPEAKER."""
    paths = (path for sex in "fm" for path in sorted(folder.glob(f"{sex}/*/**/*")) if path.suffix.lower() in SUFFIXES)
    found = [Recording(path, path.relative_to(folder).parts[1], path.relative_to(folder).parts[0]) for path in paths]
    if {one.sex for one in found} != {"f", "m"}:
        raise SystemExit(f"error: no recordings in {folder}/f/SPEAKER and {folder}/m/SPEAKER")
    return found


def own_recordings() -> tuple[list[Recording], list[Scene]]:
    """Return the repository's two speakers."""
    names = {"f": "female", "m": "male"}
    folder = FIXTURE / "speech"
    own = {sex: folder / f"{name}_train.flac" for sex, name in names.items()}
    references = {sex: folder / f"{name}_test.flac" for sex, name in names.items()}
    recordings = [Recording(own[sex], name, sex) for sex, name in names.items()]
    return recordings, [Scene("repository", folder / "mixture.flac", references, own, frozenset())]


def corpus(recordings: list[Recording], scene: Scene, sex: str, seed: int) -> list[Recording]:
    """Return recordings of a sex in the order in which corpora grow: one of each speaker, then another of each."""
    by_speaker: dict[str, list[Recording]] = {}
    for one in recordings:
        if one.sex == sex and one.speaker not in scene.speakers:
            by_speaker.setdefault(one.speaker, []).append(one)
    draw = random.Random(f"{seed} {sex}")
    speakers = sorted(by_speaker)
    draw.shuffle(speakers)
    for name in speakers:
        draw.shuffle(by_speaker[name])
    rounds = zip_longest(*(by_speaker[name] for name in speakers))
    return [one for one in chain.from_iterable(rounds) if one is not None]


def excerpts(recordings: list[Recording], minutes: float) -> Iterator[tuple[Recording, Audio]]:
    """Yield the first recordings until there are so many minutes, the last one cut."""
    left = int(minutes * 60 * SAMPLE_RATE)
    for one in recordings:
        audio = _read(one.path)[:left]
        left -= len(audio)
        if len(audio):
            yield one, audio
        if left <= 0:
            return


def learn(recordings: list[Recording], minutes: float, settings: Settings) -> tuple[INMF, float, int] | None:
    """Return a dictionary of so many minutes, how many they are, and of how many speakers; None if there are fewer."""
    transform = get_transform(TRANSFORM)
    items: list[PointSet] = []
    speakers, samples = set(), 0
    for one, audio in excerpts(recordings, minutes):
        items.append(transform.analyze(audio, SAMPLE_RATE).without_synthesis())
        speakers.add(one.speaker)
        samples += len(audio)
    length = samples / SAMPLE_RATE / 60
    if length < 0.99 * minutes:
        return None
    options: dict[str, Any] = {"passes": settings.passes, "sample_iterations": settings.sample_iterations}
    model = fit_shared(items, settings.components, random_state=settings.seed, **options)
    return model, length, len(speakers)


def score(scene: Scene, models: dict[str, INMF], settings: Settings) -> tuple[float, float]:
    """Return the mean divergence of the clean voices, and by how much separation brings the SI-SDR up, decibels."""
    mixture = _read(scene.mixture)
    found = separate(mixture, SAMPLE_RATE, models, TRANSFORM, max_iter=settings.updates)
    divergences, gains = [], []
    for sex, path in scene.references.items():
        reference = _read(path)
        points = get_transform(TRANSFORM).analyze(reference, SAMPLE_RATE).without_synthesis()
        activations = models[sex].transform(points, max_iter=settings.updates)
        level = float(np.power(points.blocks[0].magnitudes, models[sex].power).mean())
        divergences.append(models[sex].divergence(points, activations) / level)
        gains.append(float(si_sdr(reference, found[sex]) - si_sdr(reference, mixture)))
    return statistics.fmean(divergences), statistics.fmean(gains)


def measure(recordings: list[Recording], scene: Scene, sizes: tuple[float, ...], settings: Settings) -> Iterator[Score]:
    """Yield the scores of every size that there is audio for, then that of the speakers' own dictionaries."""
    orders = {sex: corpus(recordings, scene, sex, settings.seed) for sex in "fm"}
    own = {sex: [Recording(path, sex, sex)] for sex, path in scene.own.items()}
    for size, (lists, minutes) in {
        **{f"{minutes:g} min": (orders, minutes) for minutes in sizes},
        "own": (own, min(len(_read(path)) for path in scene.own.values()) / SAMPLE_RATE / 60),
    }.items():
        begin = time.process_time()
        learned = {sex: learn(lists[sex], minutes, settings) for sex in "fm"}
        seconds = time.process_time() - begin
        found = {sex: one for sex, one in learned.items() if one is not None}
        if len(found) < 2:
            continue
        divergence, gain = score(scene, {sex: one[0] for sex, one in found.items()}, settings)
        lengths, speakers = ({sex: one[at] for sex, one in found.items()} for at in (1, 2))
        yield Score(scene.name, size, lengths, speakers, divergence, gain, seconds)


def table(scores: list[Score]) -> str:
    """Return a Markdown table, a row for each size."""
    rows = ["| audio a dictionary | speakers | divergence | SI-SDR gained, dB | scenes | CPU seconds |"]
    rows.append("|---|---:|---:|---:|---:|---:|")
    for size in dict.fromkeys(one.size for one in scores):
        same = [one for one in scores if one.size == size]
        gains = [one.si_sdr_improvement for one in same]
        spread = f" ± {1.96 * statistics.stdev(gains) / len(gains) ** 0.5:.2f}" if len(gains) > 1 else ""
        speakers = statistics.median(count for one in same for count in one.speakers.values())
        divergence = statistics.fmean(one.divergence for one in same)
        seconds = statistics.fmean(one.fit_seconds for one in same)
        rows.append(
            f"| {size} | {speakers:g} | {divergence:.4f} | {statistics.fmean(gains):.2f}{spread} "
            f"| {len(same)} | {seconds:.1f} |"
        )
    return "\n".join(rows)


def _read(path: Path) -> Audio:
    audio, _ = read_audio(path, SAMPLE_RATE)
    return audio.mean(axis=0)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", type=Path, metavar="FOLDER", help="a speech set made by build_sets.py (benchmarks/data/speech)"
    )
    parser.add_argument("--voices", type=Path, metavar="FOLDER", help="learn from these: f/SPEAKER and m/SPEAKER")
    parser.add_argument("--limit", type=int, metavar="N", default=LIMIT, help=f"mixtures ({LIMIT}); 0 takes all")
    parser.add_argument("--minutes", type=float, nargs="+", default=MINUTES, help="sizes of the corpus a dictionary")
    parser.add_argument("--components", type=int, default=Settings.components, help="of a dictionary (20)")
    parser.add_argument("--quick", action="store_true", help="the repository's recordings, a few passes")
    parser.add_argument("--out", type=Path, help="results file (benchmarks/results.json)")
    return parser.parse_args()


def main() -> None:
    """Measure every size on every scene and print the table."""
    given = arguments()
    one_thread()
    settings = replace(Settings(), components=given.components)
    sizes = tuple(given.minutes)
    if given.quick:
        recordings, scenes = own_recordings()
        settings, sizes = replace(settings, components=4, passes=2, sample_iterations=2, updates=5), (0.05, 0.1)
    else:
        recordings, scenes = read_set(given.set or SPEECH_SET)
        recordings = read_voices(given.voices) if given.voices else recordings
    scores: list[Score] = []
    for scene in scenes[: given.limit or None]:
        found = list(measure(recordings, scene, sizes, settings))
        scores += found
        print(f"{scene.name}: " + ", ".join(f"{one.size} {one.si_sdr_improvement:.2f} dB" for one in found), flush=True)
    out = given.out or (None if given.quick else RESULTS)
    if out:
        section = {"machine": machine(), "settings": asdict(settings), "scores": [asdict(one) for one in scores]}
        save_section("dictionary_size", section, out)
    print(f"\n{table(scores)}")


if __name__ == "__main__":
    main()
