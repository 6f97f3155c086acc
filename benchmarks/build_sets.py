"""Rebuild the benchmark sets of real speech and of music from Debian packages.

Each example is a folder OUT/speech/NNN or OUT/music/NNN in the protocol of arXiv 2404.04439: train_1, train_2 (and
train_3; 20 s a source), ref_i (5 s a source, which training never saw), mix (their exact sum, equal levels) and
meta.json (clips, scores, packages, licences), 16 kHz mono FLAC.

speech: 40 pairs of 14 speakers, read sentences and syllables. Needs about 320 MB of packages, and ffmpeg.
music: 16 examples of 2 or 3 instruments, scores of the music21 corpus played by fluidsynth (real sampled instruments),
and 4 of recorded multitracks. Needs about 150 MB of packages, fluidsynth, and `pip install music21 mido`.

Packages are downloaded by apt-get and unpacked into the cache; nothing is installed and no root is needed. ffmpeg and
fluidsynth are taken from the machine, else unpacked as well. Equal versions of the packages give equal samples. A
second call goes on where the first stopped. The recordings' licences (GPL-2, CC-BY-SA and others, see meta.json) are
theirs: do not add them to this repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from debian_packages import MissingToolError, Packages
from music_set import MusicSet
from set_audio import SAMPLE_RATE, is_complete, write_example
from speech_set import SpeechSet

DATA = Path(__file__).resolve().parent / "data"


def build(examples: SpeechSet | MusicSet, out: Path, limit: int | None, seed: int) -> None:
    """Write the first examples of a set that are not there yet."""
    for number in range(1, min(limit or examples.count, examples.count) + 1):
        folder = out / examples.name / f"{number:03d}"
        if is_complete(folder, seed):
            continue
        example = examples.example(number)
        example.meta = {"id": folder.name, "seed": seed, "sample_rate": SAMPLE_RATE, **example.meta}
        write_example(folder, example, examples.level_db)
        names = [source.get("speaker") or source["instrument"] for source in example.meta["sources"]]
        print(f"{examples.name} {folder.name}: {', '.join(names)}", flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", action="store_true", help="build the speech set (both sets without an option)")
    parser.add_argument("--music", action="store_true", help="build the music set")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N examples of each set")
    parser.add_argument("--out", type=Path, default=DATA, help="where the sets go (benchmarks/data)")
    parser.add_argument("--cache", type=Path, help="where packages are unpacked (OUT/packages)")
    parser.add_argument("--seed", type=int, default=2024, help="another draw of clips, windows and pairs (2024)")
    return parser.parse_args()


def main() -> int:
    """Build what was asked for."""
    given = arguments()
    packages = Packages((given.cache or given.out / "packages").resolve())
    both = not (given.speech or given.music)
    try:
        if given.speech or both:
            build(SpeechSet(packages, given.seed), given.out, given.limit, given.seed)
        if given.music or both:
            build(MusicSet(packages, given.seed), given.out, given.limit, given.seed)
    except MissingToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
