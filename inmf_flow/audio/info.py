"""What an audio file is, and opening it with one clear error when it is none."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from inmf_flow.audio.headers import promised_bytes
from inmf_flow.errors import AudioError, AudioNotFoundError, AudioUnreachableError

# Without MATLAB's .mat (seldom audio), Sound Designer II (its header is in a resource fork) and headerless
# formats (.raw, .vox, .gsm, .ul, .al: rate and encoding would be guesses).
AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".bwf", ".rf64", ".w64", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf"}
    | {".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2"}
    | {
        ".voc",
        ".nist",
        ".sph",
        ".sf",
        ".ircam",
        ".paf",
        ".pvf",
        ".avr",
        ".htk",
        ".sds",
        ".svx",
        ".iff",
        ".wve",
        ".xi",
    }
)
"""Suffixes, lower case and with the dot, of the files that libsndfile reads."""

# Seconds that the decoded audio may lack of what the header says. An MP3 may have no length in it, so that
# libsndfile guesses one from its first frame; Ogg decoders may differ by a packet; other headers are exact.
_LENGTH_SLACK = {"MP3": math.inf, "OGG": 0.1}
# What libsndfile reports where the header does not know the length.
_UNKNOWN_FRAMES = 1 << 62
# One damaged byte can turn a second into hours, all of which would be resampled and analysed.
_LOWEST_RATE = 100
_CONVERT = "Convert it to WAV or FLAC."


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes
    ----------
    path
        The file.
    sample_rate
        Hertz.
    channels
        The number of channels.
    frames
        Samples per channel. Exact, but for MP3 and Ogg, where a header may only estimate it.
    format
        libsndfile's name of the container: ``"WAV"``, ``"FLAC"``, ...
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    format: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate

    @property
    def length_slack(self) -> float:
        """Seconds that the audio may be shorter than ``frames`` says; 0 where the header is exact."""
        return _LENGTH_SLACK.get(self.format, 0.0)


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is only read forwards.

    soundfile seeks after every read of a seekable file, which fails where a FLAC stream does not say its
    length and costs a search in every compressed format.
    """

    def seekable(self) -> bool:
        """Say no, so that soundfile does not seek."""
        return False


def audio_info(path: Path | str) -> AudioInfo:
    """Read the header of an audio file.

    Parameters
    ----------
    path
        Any file that libsndfile reads.

    Raises
    ------
    AudioNotFoundError
        When nothing is there.
    AudioError
        When it is not audio, holds no samples, is truncated, or is headerless audio.
    """
    path = Path(path)
    with open_stream(path) as stream:
        return _describe(stream, path)


def open_stream(path: Path) -> Any:
    """Open an audio file for sequential reading, as a context manager. Errors as for `audio_info`."""
    _check_path(path)
    try:
        # As bytes, because soundfile cannot encode names that are not valid text.
        stream = SequentialFile(os.fsencode(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise decode_error(path, error) from None
    if stream.format == "RAW":
        # libsndfile takes .vox, .gsm and the like for headerless telephone audio, whatever they hold.
        stream.close()
        raise _headerless(path)
    return stream


def decode_error(path: Path, error: Exception, second: float | None = None) -> AudioError:
    """Say what libsndfile found wrong with a file; ``second`` is where decoding stopped."""
    if second is not None:
        return AudioError(
            "the audio is truncated or damaged",
            where=path,
            got=f"no further samples that can be decoded after {second:.3f} s",
            hint="Replace the file, or cut it before the damage.",
        )
    reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return AudioError(
        "the file cannot be read as audio",
        where=path,
        got=reason.strip().rstrip(".") or "a damaged or unsupported header",
        expected="WAV, FLAC, Ogg, MP3, AIFF or another format that libsndfile reads",
    )


def _check_path(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise AudioNotFoundError("there is no such audio file", where=path) from None
    except OSError as error:
        raise AudioUnreachableError("the audio file cannot be reached", where=path, got=error.strerror) from None
    if stat.S_ISDIR(mode):
        raise AudioError("a folder is not an audio file", where=path, expected="a file")
    if not stat.S_ISREG(mode):
        raise AudioError("a pipe, socket or device is not an audio file", where=path, expected="a regular file")
    if not os.access(path, os.R_OK):
        raise AudioUnreachableError("the audio file cannot be read", where=path, got="permission denied")
    if path.stat().st_size == 0:
        raise AudioError("the audio file is empty", where=path, got="0 bytes")
    if path.suffix.lower() == ".raw":
        raise _headerless(path)


def _headerless(path: Path) -> AudioError:
    return AudioError("headerless audio does not say its sample rate, channels and encoding", where=path, hint=_CONVERT)


def _describe(stream: Any, path: Path) -> AudioInfo:
    rate, channels, frames = int(stream.samplerate), int(stream.channels), int(stream.frames)
    if rate < _LOWEST_RATE or channels < 1:
        raise AudioError(
            "the header is wrong",
            where=path,
            got=f"{rate} Hz and {channels} channels",
            expected=f"at least {_LOWEST_RATE} Hz and 1 channel",
        )
    _check_promise(path, frames)
    if frames >= _UNKNOWN_FRAMES:
        frames = _count_frames(path, rate)
    if frames < 1:
        raise AudioError("the file holds no audio", where=path, got="0 frames")
    return AudioInfo(path, rate, channels, frames, str(stream.format))


def _check_promise(path: Path, frames: int) -> None:
    """Raise where a whole frame or more of what the header promises is missing."""
    found = promised_bytes(path)
    if found is None or found[0] == found[1]:
        return
    promised, present = found
    if frames == 0 or (promised - present) * frames >= present:
        share = 100.0 * present / promised
        raise AudioError(
            "the audio is truncated",
            where=path,
            got=f"{frames} frames ({share:.1f} % of what its header promises)",
            expected=f"{promised} bytes of samples",
            hint="Copy the file again.",
        )


def _count_frames(path: Path, rate: int) -> int:
    """Count by decoding, for streams whose header does not say how long they are."""
    frames = 0
    with open_stream(path) as stream:
        try:
            while count := len(stream.read(1 << 16, dtype="float32")):
                frames += count
        except soundfile.SoundFileError as error:
            raise decode_error(path, error, frames / rate) from None
    return frames
