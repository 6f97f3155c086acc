"""Measure what every transform costs, against librosa and PyWavelets where these have the same transform.

For speech at 16 kHz and music at 44.1 kHz, 20 s each: points a second, analysis and synthesis in multiples of real
time on one core, and what a round trip leaves; then how wide an impulse and a tone are shown. Times are CPU time of one
thread; whatever is loaded or compiled on first use is used before, all take turns in one process, and the median of
the turns counts. The results go into the section "transforms" of benchmarks/results.json, and the tables into
docs/transforms.md.

Speech is the repository's. Music is a recorded song of the package that build_sets.py --music unpacks; without it the
repository's recordings of the same song are resampled from 16 kHz, which the results say. `--quick` only shows that it
runs: its figures mean nothing, and it writes nothing unless `--out` is given.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from measure import cpu_seconds, one_thread
from numpy.typing import NDArray
from results import RESULTS, machine
from transform_peers import Peer, peers
from transform_table import PAGE, Comparison, Cost, Measured, Resolution, load, save, tables, write_tables
from transform_widths import spacing, widths

from inmf_flow.audio import read_audio
from inmf_flow.points import PointSet
from inmf_flow.transform import Transform, get_transform

Audio = NDArray[np.float32]
FIXTURE = Path(__file__).resolve().parent.parent / "pipelines" / "audio"
PACKAGES = Path(__file__).resolve().parent / "data" / "packages"
_SONG = "fretsonfire-songs-sectoid/usr/share/games/fretsonfire/data/songs/sectoid/War of freedom"
_SONG_BEGIN = 60

TRANSFORMS = (
    "stft",
    "cqt",
    "cqt:matrix=true",
    "wavelet",
    "wavelet:kind=dwt",
    "wavelet:kind=swt",
    "wavelet:kind=cwt",
    "sinusoidal",
    "reassigned",
)


@dataclass(frozen=True)
class Clip:
    """A mono recording."""

    name: str
    audio: Audio
    rate: int


@dataclass(frozen=True)
class Effort:
    """How much is run."""

    seconds: int = 20
    repeats: int = 5
    # A turn lasts so long at least: short calls are repeated.
    turn_seconds: float = 0.2
    # Hertz around which it is measured what transforms tell apart.
    places: tuple[float, ...] = (100.0, 1000.0, 5000.0)


QUICK = Effort(seconds=1, repeats=1, turn_seconds=0.0, places=(5000.0,))


@dataclass
class Turns:
    """CPU seconds a call of one way there and back, turn by turn."""

    analyze: Callable[[], Any]
    synthesize: Callable[[Any], Audio] | None
    analysis: list[float] = field(default_factory=list)
    synthesis: list[float] = field(default_factory=list)

    def take(self, least: float) -> None:
        """Take a turn."""
        spent, coefficients = seconds_a_call(self.analyze, least)
        self.analysis.append(spent)
        if self.synthesize is not None:
            inverse = self.synthesize
            self.synthesis.append(seconds_a_call(lambda: inverse(coefficients), least)[0])

    @property
    def detail(self) -> dict[str, Any]:
        """The seconds of all turns."""
        return {"analysis_seconds": self.analysis, "synthesis_seconds": self.synthesis}


def measure(clip: Clip, effort: Effort) -> Measured:
    """Return what all transforms cost on a recording, and how they compare to other libraries' on it."""
    transforms = {spec: get_transform(spec) for spec in TRANSFORMS}
    opponents = peers(clip.rate, len(clip.audio))
    turns = {spec: _turns_of(transform, clip) for spec, transform in transforms.items()}
    equal = {one.ours: _turns_of(get_transform(one.ours), clip) for one in opponents}
    theirs = {one.name: Turns(lambda one=one: one.analyze(clip.audio), one.synthesize) for one in opponents}
    points = {spec: _warm(turns[spec], clip) for spec in transforms}
    snr = {name: _warm(one, clip)[1] for name, one in {**equal, **theirs}.items()}
    for _ in range(effort.repeats):
        for one in (*turns.values(), *equal.values(), *theirs.values()):
            one.take(effort.turn_seconds)
    costs = [_cost(spec, transforms[spec], clip, turns[spec], *points[spec]) for spec in transforms]
    comparisons = [
        _comparison(one, clip, theirs[one.name], equal[one.ours], snr[one.name], snr[one.ours]) for one in opponents
    ]
    return Measured(costs, comparisons, [], machine())


def resolutions(sample_rate: int, places: tuple[float, ...]) -> list[Resolution]:
    """Return what each transform tells apart."""
    found = []
    for spec in TRANSFORMS:
        transform = get_transform(spec)
        second = transform.analyze(np.zeros(sample_rate, np.float32), sample_rate)
        for hertz in places:
            shown = widths(transform, hertz, sample_rate)
            found.append(Resolution(spec, sample_rate, hertz, spacing(second, hertz), shown))
    return found


def _turns_of(transform: Transform, clip: Clip) -> Turns:
    return Turns(
        lambda: transform.analyze(clip.audio, clip.rate),
        None if transform.invertible == "none" else transform.synthesize,
    )


def _warm(turns: Turns, clip: Clip) -> tuple[PointSet | None, float | None]:
    """Run once what is timed later; return the points, bare, and decibels of the round trip."""
    found = turns.analyze()
    bare = found.without_synthesis() if isinstance(found, PointSet) else None
    return bare, None if turns.synthesize is None else snr_db(clip.audio, turns.synthesize(found))


def _cost(
    spec: str, transform: Transform, clip: Clip, turns: Turns, points: PointSet | None, snr: float | None
) -> Cost:
    assert points is not None
    seconds = len(clip.audio) / clip.rate
    return Cost(
        transform=spec,
        clip=clip.name,
        sample_rate=clip.rate,
        points=points.n_points / seconds,
        analysis=seconds / statistics.median(turns.analysis),
        synthesis=seconds / statistics.median(turns.synthesis) if turns.synthesis else None,
        snr_db=snr,
        promise_db=transform.min_snr_db,
        detail=turns.detail,
    )


def _comparison(
    peer: Peer, clip: Clip, theirs: Turns, ours: Turns, snr: float | None, our_snr: float | None
) -> Comparison:
    assert snr is not None
    assert our_snr is not None
    sums = [[there + back for there, back in zip(one.analysis, one.synthesis, strict=True)] for one in (theirs, ours)]
    return Comparison(
        peer=peer.name,
        ours=peer.ours,
        clip=clip.name,
        sample_rate=clip.rate,
        analysis=_median_ratio(theirs.analysis, ours.analysis),
        synthesis=_median_ratio(theirs.synthesis, ours.synthesis),
        both=_median_ratio(*sums),
        snr_db=snr,
        our_snr_db=our_snr,
        detail={
            "version": importlib.metadata.version(peer.package),
            **{f"their_{key}": value for key, value in theirs.detail.items()},
            **{f"our_{key}": value for key, value in ours.detail.items()},
        },
    )


def seconds_a_call(work: Callable[[], Any], least: float) -> tuple[float, Any]:
    """Return CPU seconds a call, over as many as last ``least`` seconds together, and what the last one gave."""
    spent, calls, given = 0.0, 0, []
    while calls == 0 or spent < least:
        given.clear()
        spent += cpu_seconds(lambda: given.append(work()))
        calls += 1
    return spent / calls, given[0]


def snr_db(audio: Audio, back: NDArray[Any]) -> float:
    """Return the energy of audio over that of its difference from what came back, in decibels."""
    wanted = audio.astype(np.float64)
    error = back[: len(audio)].astype(np.float64) - wanted
    # Of an exact copy nothing is left: as much as double precision could tell.
    left = max(float(error @ error), 1e-32 * float(wanted @ wanted))
    return float(10 * np.log10(wanted @ wanted / left))


def speech(seconds: int) -> Clip:
    """Return the repository's two speakers, one after the other."""
    audio = np.concatenate([_read(FIXTURE / "speech" / f"{name}_train.flac") for name in ("male", "female")])
    return Clip("speech", audio[: seconds * 16000], 16000)


def music(packages: Path, seconds: int) -> Clip:
    """Return a recorded song at 44.1 kHz, or where its package is not there the repository's recordings, resampled."""
    folder = packages / _SONG
    if folder.is_dir():
        tracks = []
        for name in ("guitar.ogg", "song.ogg"):
            rate = soundfile.info(folder / name).samplerate
            stretch = {"start": _SONG_BEGIN * rate, "frames": seconds * rate}
            tracks.append(soundfile.read(folder / name, dtype="float32", always_2d=True, **stretch)[0].mean(axis=1))
        return Clip("music", np.sum(tracks, axis=0, dtype=np.float32), rate)
    import soxr

    song = _read(FIXTURE / "music" / "guitar_train.flac") + _read(FIXTURE / "music" / "backing_train.flac")
    resampled = soxr.resample(song, 16000, 44100)
    count = seconds * 44100
    return Clip("music, resampled from 16 kHz", np.tile(resampled, -(-count // len(resampled)))[:count], 44100)


def _read(path: Path) -> Audio:
    return read_audio(path)[0].mean(axis=0)


def _median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 s, one turn: shows that it runs")
    parser.add_argument(
        "--packages", type=Path, default=PACKAGES, metavar="FOLDER", help="where build_sets.py unpacked"
    )
    parser.add_argument("--out", type=Path, help="results file (benchmarks/results.json)")
    return parser.parse_args()


def main() -> None:
    """Measure both recordings and print the tables."""
    given = arguments()
    one_thread()
    effort = QUICK if given.quick else Effort()
    parts = []
    for clip in (speech(effort.seconds), music(given.packages, effort.seconds)):
        parts.append(measure(clip, effort))
        print(f"{clip.name}: {len(clip.audio) / clip.rate:.0f} s at {clip.rate} Hz measured", flush=True)
    measured = Measured(
        [one for part in parts for one in part.costs],
        [one for part in parts for one in part.comparisons],
        resolutions(16000, effort.places),
        machine(),
    )
    out = given.out or (None if given.quick else RESULTS)
    if out:
        save(measured, out)
        measured = load(out)
    print(f"\n{tables(measured)}")
    if out == RESULTS:
        write_tables(measured)
        print(f"\nthe tables are in {PAGE.parent.name}/{PAGE.name}")


if __name__ == "__main__":
    main()
