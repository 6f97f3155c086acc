"""Two-speaker examples from real recordings, in the protocol of arXiv 2404.04439 (there with TIMIT)."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from debian_packages import Packages
from scipy.signal import butter, sosfiltfilt
from set_audio import SAMPLE_RATE, TEST_SECONDS, TRAIN_SECONDS, Audio, Example, peak_correlation, to_mono

LEVEL_DB = -28.0
COUNT = 40
_ASTERISK = "usr/share/asterisk/sounds/"
_FILLETS = "usr/share/games/fillets-ng/sound/*/"
_KLETTRES = "usr/share/klettres/"
_NO_SPEECH = re.compile(
    r"/(silence|digits|letters|phonetic)/|/(beep|beeperr|confbridge-join|confbridge-leave|"
    r"ascending-2tone|descending-2tone|tt-monkeys|tt-weasels)\."
)
_HIGH_PASS = butter(2, 60, "highpass", fs=SAMPLE_RATE, output="sos")


@dataclass(frozen=True)
class Speaker:
    """Where a voice's clips lie in a package. Core speakers read sentences, the others single syllables."""

    package: str
    pattern: str
    sex: str
    language: str
    licence: str
    core: bool = True
    prefix: str | None = None


def _asterisk(language: str, folder: str, sex: str, licence: str) -> Speaker:
    return Speaker(f"asterisk-core-sounds-{language}-g722", f"{_ASTERISK}{folder}/**/*.g722", sex, language, licence)


def _fillets(language: str, voice: str, sex: str) -> Speaker:
    # Names of levels may stand before the voice's letter.
    prefix = rf"^([a-z0-9]+-)?{voice}-"
    return Speaker(f"fillets-ng-data-{language}", f"{_FILLETS}{language}/*.ogg", sex, language, "GPL-2", prefix=prefix)


def _klettres(language: str, sex: str) -> Speaker:
    return Speaker("klettres-data", f"{_KLETTRES}{language}/**/*.ogg", sex, language, "GPL-2+", core=False)


# The order decides which speakers meet in which example: append only.
SPEAKERS = {
    "ast-en": _asterisk("en", "en_US_f_Allison", "f", "CC-BY-SA-3.0"),
    "ast-it": _asterisk("it", "it_IT_m_Carlo", "m", "CC-BY-3.0"),
    "ast-ru": _asterisk("ru", "ru_RU_f_IvrvoiceRU", "f", "CC-BY-3.0"),
    "festvox-ru": Speaker(
        "festvox-ru", "usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav/*.wav", "m", "ru", "BSD-like"
    ),
    "fil-cs-m": _fillets("cs", "m", "f"),
    "fil-cs-v": _fillets("cs", "v", "m"),
    "fil-nl-m": _fillets("nl", "m", "f"),
    "fil-nl-v": _fillets("nl", "v", "m"),
    "kl-ml": _klettres("ml", "m"),
    "kl-lt": _klettres("lt", "m"),
    "kl-uk": _klettres("uk", "f"),
    "kl-es": _klettres("es", "f"),
    "kl-hu": _klettres("hu", "m"),
    "kl-ru": _klettres("ru", "f"),
}


class SpeechSet:
    """All pairs of the core speakers, then the others each with a core speaker."""

    name = "speech"
    level_db = LEVEL_DB
    count = COUNT

    def __init__(self, packages: Packages, seed: int) -> None:
        self.packages, self.seed = packages, seed
        self.pairs = _pairs(COUNT, random.Random(seed))
        self._clips: dict[str, list[Path]] = {}
        self._cleaned: dict[Path, Audio | None] = {}

    def example(self, number: int) -> Example:
        """Return an example, numbered from 1; its packages are fetched when they are not there."""
        draw = random.Random(f"{self.seed}-{number}")
        result = Example([], [], {"snr_db": 0.0, "kind": "real speech", "sources": []})
        for name in self.pairs[number - 1]:
            speaker = SPEAKERS[name]
            root = self.packages.root(speaker.package)
            clips = self._clips.get(name) or _clips(root, speaker)
            self._clips[name] = clips
            test, test_clips, train, train_clips = self._draw(clips, draw)
            result.train.append(train)
            result.test.append(test)
            result.meta["sources"].append(
                {
                    "speaker": name,
                    "sex": speaker.sex,
                    "language": speaker.language,
                    "package": speaker.package,
                    "licence": speaker.licence,
                    "train_seconds": round(len(train) / SAMPLE_RATE, 2),
                    "train_clips": [str(clip.relative_to(root)) for clip in train_clips],
                    "test_clips": [str(clip.relative_to(root)) for clip in test_clips],
                }
            )
        return result

    def _draw(self, clips: list[Path], draw: random.Random) -> tuple[Audio, list[Path], Audio, list[Path]]:
        """Return test and training audio from different clips, in a random order."""
        order = list(clips)
        draw.shuffle(order)
        rest = iter(order)
        # The test first, so that a speaker with little material still fills it.
        test, test_clips = self._collect(rest, TEST_SECONDS, None)
        train, train_clips = self._collect(rest, TRAIN_SECONDS, test)
        return test, test_clips, train, train_clips

    def _collect(self, clips: Iterator[Path], seconds: float, apart_from: Audio | None) -> tuple[Audio, list[Path]]:
        wanted = int(seconds * SAMPLE_RATE)
        parts: list[Audio] = []
        used: list[Path] = []
        for clip in clips:
            if clip not in self._cleaned:
                self._cleaned[clip] = clean(self._load(clip))
            audio = self._cleaned[clip]
            # The same sentence is sometimes shipped in two encodings.
            if audio is None or (apart_from is not None and peak_correlation(apart_from, audio) > 0.8):
                continue
            parts.append(audio)
            used.append(clip)
            if sum(map(len, parts)) >= wanted:
                break
        return (np.concatenate(parts)[:wanted] if parts else np.zeros(0)), used

    def _load(self, clip: Path) -> Audio:
        if clip.suffix != ".g722":
            return to_mono(*soundfile.read(clip, always_2d=True))
        ffmpeg, environment = self.packages.tool("ffmpeg")
        command = [str(ffmpeg), "-v", "error", "-f", "g722", "-i", str(clip), "-f", "s16le", "-"]
        raw = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
        return np.frombuffer(raw, "<i2") / 32768.0


def _pairs(count: int, draw: random.Random) -> list[tuple[str, str]]:
    core = [name for name, speaker in SPEAKERS.items() if speaker.core]
    others = [name for name, speaker in SPEAKERS.items() if not speaker.core]
    among_core = list(itertools.combinations(core, 2))
    draw.shuffle(among_core)
    mixed: list[tuple[str, str]] = []
    for other in itertools.islice(itertools.cycle(others), max(0, count - len(among_core))):
        mixed.append((other, draw.choice([name for name in core if (other, name) not in mixed])))
    return (among_core + mixed)[:count]


def _clips(root: Path, speaker: Speaker) -> list[Path]:
    """Return a speaker's clips, each content once."""
    found = sorted(root.glob(speaker.pattern), key=str)
    if speaker.prefix:
        found = [path for path in found if re.match(speaker.prefix, path.name)]
    clips: dict[bytes, Path] = {}
    for path in found:
        if not _NO_SPEECH.search(str(path)):
            clips.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    if len(clips) < 20:
        raise ValueError(f"{speaker.package} has {len(clips)} clips at {speaker.pattern}, expected 20 or more")
    return list(clips.values())


def clean(audio: Audio) -> Audio | None:
    """Return a clip without rumble, silent ends and long pauses, at RMS 1; None where there is too little speech."""
    if len(audio) < SAMPLE_RATE // 4:
        return None
    filtered = sosfiltfilt(_HIGH_PASS, audio)
    frame = SAMPLE_RATE // 50
    frames = filtered[: len(filtered) // frame * frame].reshape(-1, frame)
    level = np.sqrt((frames**2).mean(axis=1))
    active = level > level.max() * 10 ** (-35 / 20)
    if level.max() < 3e-3 or active.sum() * 0.02 < 0.3:
        return None
    speech = np.flatnonzero(active)
    kept = np.zeros(len(frames), bool)
    pause = 0
    for index in range(max(0, speech[0] - 2), min(len(frames), speech[-1] + 3)):
        pause = 0 if active[index] else pause + 1
        kept[index] = pause <= 10
    result = frames[kept].ravel()
    fade = np.linspace(0, 1, int(0.01 * SAMPLE_RATE))
    result[: len(fade)] *= fade
    result[-len(fade) :] *= fade[::-1]
    return result / np.sqrt((result**2).mean())
