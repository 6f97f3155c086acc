"""Examples of two or three instruments: scores played with sampled instruments, and recorded multitracks."""

from __future__ import annotations

import random
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from debian_packages import MissingToolError, Packages
from set_audio import SAMPLE_RATE, TEST_SECONDS, TRAIN_SECONDS, Audio, Example, to_mono

LEVEL_DB = -26.0
_LONGEST_SECONDS = 150.0
_SOUND_FONT = "usr/share/sounds/sf2/FluidR3_GM.sf2"
_SONGS = "usr/share/games/fretsonfire/data/songs/sectoid"
_RECORDED = 4
# General MIDI programs.
_INSTRUMENTS = {
    19: "church organ", 22: "harmonica", 24: "nylon guitar", 40: "violin", 41: "viola", 42: "cello",
    52: "choir aahs", 56: "trumpet", 57: "trombone", 58: "tuba", 60: "french horn", 68: "oboe", 70: "bassoon",
    71: "clarinet", 73: "flute",
}  # fmt: skip
_QUARTETS = [
    *(f"beethoven/opus18no1/movement{i}.mxl" for i in (1, 2, 3, 4)),
    *(f"beethoven/opus59no1/movement{i}.mxl" for i in (2, 4)),
    *(f"haydn/opus74no1/movement{i}.mxl" for i in (1, 2, 3, 4)),
    *(f"haydn/opus1no1/movement{i}.mxl" for i in (1, 4, 5)),
]
_CHORALES = [
    "bach/bwv" + number
    for number in (
        *("1.6", "10.7", "101.7", "102.7", "103.6", "104.6", "108.6", "110.7", "111.6", "112.5", "113.8", "114.7"),
        *("115.6", "116.6", "117.4", "119.9", "120.6", "121.6", "122.6", "123.6", "124.6", "125.6", "126.6", "127.5"),
        *("128.5", "13.6", "130.6", "133.6", "135.6", "136.6", "139.6", "14.5"),
    )
]
_COLLECTIONS = {"quartets": (_QUARTETS, 104), "chorales": (_CHORALES, 80)}
# Collection, then for each source the part of the four-part score and the program that plays it.
_PLAN: list[tuple[str, list[tuple[int, int]]]] = [
    ("quartets", [(0, 40), (3, 42)]),
    ("quartets", [(0, 40), (3, 42)]),
    ("quartets", [(0, 40), (3, 70)]),
    ("quartets", [(0, 73), (3, 42)]),
    ("quartets", [(0, 73), (2, 41)]),
    ("quartets", [(0, 68), (3, 42)]),
    ("quartets", [(0, 40), (2, 71), (3, 42)]),
    ("quartets", [(0, 73), (2, 41), (3, 70)]),
    ("chorales", [(0, 73), (3, 70)]),
    ("chorales", [(0, 68), (3, 42)]),
    ("chorales", [(0, 56), (3, 57)]),
    ("chorales", [(0, 71), (3, 58)]),
    ("chorales", [(0, 52), (3, 19)]),
    ("chorales", [(0, 22), (3, 24)]),
    ("chorales", [(0, 40), (2, 60), (3, 70)]),
    ("chorales", [(0, 73), (1, 71), (3, 57)]),
]
Note = tuple[float, float, int]


class MusicSet:
    """Scores first, trained on other pieces; then recorded songs, trained on another part of the same song."""

    name = "music"
    level_db = LEVEL_DB
    count = len(_PLAN) + _RECORDED

    def __init__(self, packages: Packages, seed: int) -> None:
        self.packages, self.seed = packages, seed
        self._scores: dict[str, list[list[Note]] | None] = {}
        self._played: dict[tuple[str, int, int], Audio | None] = {}
        self._test_pieces: dict[int, str] = {}

    def example(self, number: int) -> Example:
        """Return an example, numbered from 1; packages are fetched when they are not there."""
        if number > len(_PLAN):
            return self._recorded(number)
        collection, parts = _PLAN[number - 1]
        pieces, tempo = _COLLECTIONS[collection]
        order = list(pieces)
        if collection == "chorales":
            # Each chorale is a test once at most, whichever examples were built before.
            used = {self._test_piece(i) for i in range(1, number) if _PLAN[i - 1][0] == collection}
            order = [piece for piece in order if piece not in used]
        draw = random.Random(f"{self.seed}-{number}")
        draw.shuffle(order)
        for piece in order:
            example = self._scored(piece, order, parts, tempo, draw)
            if example is not None:
                self._test_pieces[number] = piece
                return example
        raise ValueError(f"no piece fits example {number}")

    def _test_piece(self, number: int) -> str:
        if number not in self._test_pieces:
            self.example(number)
        return self._test_pieces[number]

    def _scored(
        self, piece: str, order: Sequence[str], parts: list[tuple[int, int]], tempo: int, draw: random.Random
    ) -> Example | None:
        played = [self._play(piece, part, program, tempo) for part, program in parts]
        whole = [audio for audio in played if audio is not None and len(audio) >= 8 * SAMPLE_RATE]
        start = _busy_window(whole, draw, 1.0) if len(whole) == len(parts) else None
        if start is None:
            return None
        sources, train = [], []
        for part, program in parts:
            audio, pieces = np.zeros(0), []
            for other in reversed(order):
                if other == piece or len(audio) >= TRAIN_SECONDS * SAMPLE_RATE:
                    continue
                more = self._play(other, part, program, tempo)
                if more is not None and _activity(more).any():
                    pieces.append(other)
                    audio = np.concatenate([audio, _without_pauses(more, TRAIN_SECONDS - len(audio) / SAMPLE_RATE)])
            if len(audio) < TRAIN_SECONDS * SAMPLE_RATE:
                return None
            train.append(audio)
            sources.append(
                {
                    "instrument": _INSTRUMENTS[program],
                    "gm_program": program,
                    "test_piece": piece,
                    "part": part,
                    "train_pieces": pieces,
                }
            )
        meta = {
            "kind": "fluidsynth, score by music21",
            "bpm": tempo,
            "test_start_s": start,
            "soundfont": Path(_SOUND_FONT).name,
            "licence": "MIT (FluidR3 GM); score: see the music21 corpus",
            "sources": sources,
        }
        return Example(train, [_cut(audio, start) for audio in whole], meta)

    def _recorded(self, number: int) -> Example:
        root = self.packages.root("fretsonfire-songs-sectoid")
        songs = sorted((path.parent for path in root.glob(f"{_SONGS}/*/guitar.ogg")), key=str)
        song = songs[number - len(_PLAN) - 1]
        read = [soundfile.read(song / name, always_2d=True) for name in ("guitar.ogg", "song.ogg")]
        length = min(len(audio) for audio, _ in read)
        tracks = [to_mono(audio[:length], read[0][1]) for audio, _ in read]
        start = _busy_window(tracks, random.Random(f"{self.seed}-{number}"), 60.0)
        if start is None:
            raise ValueError(f"{song.name}: the sources never play together")
        before, after = int((start - 5) * SAMPLE_RATE), int((start + 10) * SAMPLE_RATE)
        rest = [np.concatenate([track[5 * SAMPLE_RATE : before], track[after:]]) for track in tracks]
        train = [_without_pauses(track, TRAIN_SECONDS + 20)[-int(TRAIN_SECONDS * SAMPLE_RATE) :] for track in rest]
        meta = {
            "kind": "real multitrack, train from another part of the same song",
            "test_start_s": start,
            "licence": "Expat/MIT, (c) Carlos Viola Iborra (Sectoid)",
            "sources": [
                {"instrument": "electric guitar (recorded)", "file": f"{_SONGS}/{song.name}/guitar.ogg"},
                {"instrument": "rest of the band", "file": f"{_SONGS}/{song.name}/song.ogg"},
            ],
        }
        return Example(train, [_cut(track, start) for track in tracks], meta)

    def _play(self, piece: str, part: int, program: int, tempo: int) -> Audio | None:
        """Return a part played by an instrument; None for pieces that are not in four parts."""
        key = (piece, part, program)
        if key not in self._played:
            if piece not in self._scores:
                self._scores[piece] = _read_score(piece)
            score = self._scores[piece]
            notes = score[part] if score else []
            self._played[key] = self._render(notes, program, tempo, f"{self.seed}-{key}") if notes else None
        return self._played[key]

    def _render(self, notes: list[Note], program: int, tempo: int, seed: str) -> Audio:
        fluidsynth, environment = self.packages.tool("fluidsynth")
        font = self.packages.root("fluid-soundfont-gm") / _SOUND_FONT
        with tempfile.TemporaryDirectory() as folder:
            midi, wav = Path(folder, "part.mid"), Path(folder, "part.wav")
            _write_midi(notes, program, tempo, random.Random(seed), midi)
            options = ["-ni", "-q", "-g", "0.5", "-C", "0", "-R", "1", "-r", "44100", "-O", "s16", "-T", "wav"]
            command = [str(fluidsynth), *options, "-F", str(wav), str(font), str(midi)]
            subprocess.run(command, check=True, env=environment, capture_output=True)
            audio, rate = soundfile.read(wav, always_2d=True)
        return to_mono(audio[: int(_LONGEST_SECONDS * rate)], rate)


def _read_score(piece: str) -> list[list[Note]] | None:
    """Return (onset, duration, pitch) of each part, in quarter notes; None where there are not four parts."""
    try:
        from music21 import corpus
    except ImportError as error:
        raise MissingToolError("music21 is missing, which has the scores: pip install music21 mido") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = list(corpus.parse(piece).parts)
    if len(parts) != 4:
        return None
    return [
        sorted(
            (float(note.offset), float(note.quarterLength), pitch.midi)
            for note in part.stripTies().flatten().notes
            if note.quarterLength > 0
            for pitch in note.pitches
        )
        for part in parts
    ]


def _write_midi(notes: list[Note], program: int, tempo: int, draw: random.Random, path: Path) -> None:
    """Write notes as a person plays them: onsets off by 10 ms, loudness that drifts, ends a little early."""
    try:
        import mido
    except ImportError as error:
        raise MissingToolError("mido is missing, which writes MIDI files: pip install music21 mido") from error
    quarter = 60.0 / tempo
    events, velocity = [], 85.0
    for onset, duration, pitch in notes:
        if onset * quarter > _LONGEST_SECONDS:
            break
        velocity = min(112, max(60, velocity + draw.gauss(0, 5) - 0.1 * (velocity - 88)))
        begin = max(0.0, onset * quarter + draw.gauss(0, 0.01))
        end = begin + max(0.06, duration * quarter * draw.uniform(0.82, 0.98))
        events += [(begin, 1, pitch, int(velocity)), (end, 0, pitch, 0)]
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    track.append(mido.Message("program_change", program=program, channel=0))
    now = 0
    for second, starts, pitch, loudness in sorted(events):
        tick = int(second / quarter * 480)
        kind = "note_on" if starts else "note_off"
        track.append(mido.Message(kind, note=pitch, velocity=loudness, channel=0, time=max(0, tick - now)))
        now = max(now, tick)
    midi = mido.MidiFile(ticks_per_beat=480)
    midi.tracks.append(track)
    midi.save(path)


def _activity(audio: Audio) -> np.ndarray:
    """Return for each tenth of a second whether something sounds."""
    size = SAMPLE_RATE // 10
    level = np.sqrt((audio[: len(audio) // size * size].reshape(-1, size) ** 2).mean(axis=1))
    return level > 0.03 * np.percentile(level, 95) if level.any() else np.zeros(len(level), bool)


def _busy_window(tracks: list[Audio], draw: random.Random, earliest: float) -> float | None:
    """Return a second at which a test may start, so that every source plays nearly all the time."""
    active = [_activity(track) for track in tracks]
    length, size = min(map(len, active)), int(TEST_SECONDS * 10)
    for share in (0.9, 0.8, 0.7, 0.6):
        starts = range(int(earliest * 10), length - size, 5)
        fitting = [i for i in starts if all(one[i : i + size].mean() >= share for one in active)]
        if fitting:
            return draw.choice(fitting) / 10
    return None


def _without_pauses(audio: Audio, seconds: float) -> Audio:
    """Return the first seconds of what is left when pauses are cut to 0.3 s."""
    size, pause = SAMPLE_RATE // 10, 0
    kept = []
    for index, active in enumerate(_activity(audio)):
        pause = 0 if active else pause + 1
        if pause <= 3:
            kept.append(audio[index * size : (index + 1) * size])
    return (np.concatenate(kept) if kept else np.zeros(0))[: int(seconds * SAMPLE_RATE)]


def _cut(audio: Audio, start: float) -> Audio:
    return audio[int(start * SAMPLE_RATE) : int((start + TEST_SECONDS) * SAMPLE_RATE)]
