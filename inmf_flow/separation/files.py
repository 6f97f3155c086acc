"""Separation from file to files, at constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from inmf_flow._version import __version__
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import content_digest
from inmf_flow.files import digest_bytes, digest_file
from inmf_flow.points import PointSet
from inmf_flow.remote import RemotePath, as_path, is_remote
from inmf_flow.separation.analysis import analyze_excerpts
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.file_segments import FileSegments, Mixture
from inmf_flow.separation.masks import Mask
from inmf_flow.separation.resume import outputs_for
from inmf_flow.separation.supervised import (
    BLOCK_SECONDS,
    BlockSeparation,
    TransformChoice,
    as_transforms,
    member_transforms,
    shares_channels,
)
from inmf_flow.transform import Transform, checked_analysis

#: What to do with the outputs that an interrupted separation of a long file has left.
Unfinished = Literal["ignore", "resume", "restart"]

# Long enough that records and what is analysed twice cost next to nothing, short enough to lose little.
SEGMENT_SECONDS = 300.0
# Raise it when equal settings give other bytes than before.
_VERSION = "1"


@dataclass(frozen=True)
class FileProgress:
    """How far the separation of a file has come.

    Attributes
    ----------
    done, total
        Seconds of audio; MP3 and Ogg headers may only estimate the total.
    resumed
        Seconds that earlier runs had done.
    """

    done: float
    total: float
    resumed: float


@dataclass(frozen=True)
class SeparatedFile:
    """What was written.

    Attributes
    ----------
    outputs
        The files by source.
    sample_rate, channels, frames
        Of the mixture, and so of each.
    known
        Hertz up to which the sources could be told apart.
    """

    outputs: dict[str, Path]
    sample_rate: int
    channels: int
    frames: int
    known: float


def separate_file(
    mixture: Path | str,
    folder: Path | str,
    dictionary: Dictionary,
    transform: TransformChoice,
    *,
    mask: Mask | None = None,
    max_iter: int = 100,
    sample_rate: int | None = None,
    block_seconds: float = BLOCK_SECONDS,
    refine: float | None = None,
    channels: str = "each",
    start: float | None = None,
    stop: float | None = None,
    segment_seconds: float = SEGMENT_SECONDS,
    unfinished: Unfinished = "ignore",
    progress: Callable[[FileProgress], None] | None = None,
) -> SeparatedFile:
    """Separate an audio file and write ``folder/SOURCE.wav`` for each source.

    Parameters
    ----------
    mixture
        Anything libsndfile reads.
    folder
        Made if it is not there. Files appear when all are whole.
    dictionary, transform, mask, max_iter, refine, channels
        As in `separate`.
    sample_rate
        Hertz at which to analyse; the file's own by default. Outputs have the file's rate, channels and length; the
        band that analysis does not see is shared equally, so that estimates still add up.
    start, stop
        The part of the file to separate, in seconds from the file's start; None stands for its start and its end.
        Estimates of parts that meet, laid end to end, have every sample of the file once.
    segment_seconds
        A longer file is separated in segments of so many seconds, each as if nothing before it had been, so that the
        bytes that are written do not depend on where a run was interrupted. Files in which one cannot seek are one
        segment.
    unfinished
        ``"resume"`` keeps what is done in ``folder/.partial`` after each segment, and goes on with what an interrupted
        run of the same mixture, models and options has left there; ``"restart"`` begins anew and keeps it too;
        ``"ignore"`` does neither. Folders on object stores and file systems without locks keep nothing.
    progress
        Called when it begins and after each block.

    Raises
    ------
    AudioError
        When the file cannot be read to its end, or holds samples that are not finite; when the part does not lie in it.
    OutputError
        When outputs cannot be written, or another process is writing the same ones.
    """
    if not 0 < segment_seconds < math.inf:
        got = f"segment_seconds {segment_seconds!r}"
        raise ArgumentError("segments must have a length", got=got, expected="seconds above 0")
    if unfinished not in ("ignore", "resume", "restart"):
        raise ArgumentError(
            "no such way with what is unfinished", got=repr(unfinished), expected="'ignore', 'resume' or 'restart'"
        )
    mask = mask or Mask()
    source = Mixture.of(as_path(mixture), sample_rate, start, stop)
    if shares_channels(channels) and source.info.channels > 1:
        first = as_transforms(transform)[:1]
        dictionary = dictionary.with_channels(analyze_excerpts(mixture, first, sample_rate, start=start, stop=stop))
    work = BlockSeparation(source.rate, dictionary, transform, mask, max_iter, refine)
    segments = FileSegments(source, work, block_seconds, segment_seconds, share_rest=not mask.paper)
    outputs = {name: as_path(folder) / f"{name}.wav" for name in dictionary.names}
    key = None
    if unfinished != "ignore" and segments.length is not None and not is_remote(as_path(folder)):
        options = [mask, max_iter, refine, channels, block_seconds, segment_seconds]
        key = _key(source, dictionary, transform, options)
    rate = source.info.sample_rate
    with outputs_for(outputs, rate, source.info.channels, key, unfinished == "restart") as written:
        resumed = written.frames

        def tell() -> None:
            if progress is not None:
                progress(
                    FileProgress(written.frames / rate, max(segments.frames, written.frames) / rate, resumed / rate)
                )

        tell()
        if not written.is_whole:
            for number, estimates in enumerate(segments.separated(segments.number_after(written.frames))):
                if number:
                    # Not after the last: what is whole is said by another record.
                    written.commit()
                for piece in estimates:
                    written.write(piece)
                    tell()
    trials = [_trial(each, source.rate) for each in as_transforms(transform)]
    known = min(member.known_band(trials, source.rate) for member in dictionary.members)
    return SeparatedFile(outputs, rate, source.info.channels, written.frames, known)


# A transform does not change, and the files of a batch are separated by the same.
@lru_cache(maxsize=8)
def _trial(transform: Transform, sample_rate: int) -> PointSet:
    """Return the points of one sample: they lie at all frequencies that a transform has."""
    return checked_analysis(transform, np.zeros(1, np.float32), sample_rate).without_synthesis()


def _key(
    mixture: Mixture, dictionary: Dictionary, transform: TransformChoice, settings: list[object]
) -> dict[str, str]:
    """Return all that the bytes of outputs depend on, by what messages call it."""
    if isinstance(mixture.path, RemotePath):
        # Its time of change holds the object's tag: another content has another.
        status = mixture.path.stat()
        content = f"{status.st_size} {status.st_mtime_ns}"
    else:
        content = digest_file(mixture.path)
    transforms = [
        [f"{type(each).__qualname__} {each.version} {each.config!r}" for each in chosen]
        for chosen in member_transforms(transform, dictionary)
    ]
    described = {
        "mixture": [content, mixture.rate, mixture.start, mixture.stop],
        "model": [dictionary.names, *map(content_digest, dictionary.models)],
        "transform": transforms,
        "setting": settings,
        "version of this program": [__version__, _VERSION],
    }
    return {name: digest_bytes(repr(value).encode()) for name, value in described.items()}
