"""What an audio file is, and opening it with one clear error when it is none."""

from __future__ import annotations

import errno
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import soundfile

from inmf_flow.audio.headers import promise_of, promised_bytes
from inmf_flow.errors import AudioError, AudioNotFoundError, AudioUnreachableError
from inmf_flow.remote import RemoteFile, RemotePath, as_path

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


class RemoteSoundFile(SequentialFile):
    """A sound file on an object store.

    libsndfile takes a request that fails for the end of the file, so that each read is asked whether one has.
    """

    def __init__(self, content: _Quiet) -> None:
        self._object = content
        try:
            super().__init__(content)
        except soundfile.SoundFileError:
            content.check()
            raise
        # A header of which a part could not be had may still look like one.
        content.check()

    def read(self, *arguments: Any, **options: Any) -> Any:
        """Read as soundfile does.

        Raises
        ------
        AudioUnreachableError
            When the store failed meanwhile, whatever came of that.
        """
        try:
            return super().read(*arguments, **options)
        finally:
            self._object.check()

    def seek(self, *arguments: Any) -> int:
        """Seek as soundfile does; raises as `read`."""
        try:
            return int(super().seek(*arguments))
        finally:
            self._object.check()

    def promised_bytes(self) -> tuple[int, int] | None:
        """Return what `inmf_flow.audio.headers.promised_bytes` does, from what is held of the object."""
        place = self._object.tell()
        self._object.seek(0)
        try:
            return promise_of(cast(BinaryIO, self._object), self._object.size)
        finally:
            self._object.seek(place)
            self._object.check()

    def close(self) -> None:
        """Close the file, and the object with it."""
        super().close()
        self._object.close()


class _Quiet(RemoteFile):
    """An object that ends where a request fails: libsndfile's callbacks must not raise."""

    def readinto(self, buffer: Any, /) -> int:
        try:
            return super().readinto(buffer)
        except OSError:
            return 0

    def check(self) -> None:
        """Raise what no callback could."""
        if self.error is not None:
            raise _unreachable(self.path, self.error) from None


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
    path = as_path(path)
    with open_stream(path) as stream:
        return _describe(stream, path)


def open_stream(path: Path) -> Any:
    """Open an audio file for sequential reading, as a context manager. Errors as for `audio_info`."""
    _check_path(path)
    try:
        if isinstance(path, RemotePath):
            stream = _open_remote(path)
        else:
            # As bytes, because soundfile cannot encode names that are not valid text.
            stream = SequentialFile(os.fsencode(path))
    except AudioError:
        raise
    except (soundfile.SoundFileError, OSError) as error:
        raise decode_error(path, error) from None
    if stream.format == "RAW":
        # libsndfile takes .vox, .gsm and the like for headerless telephone audio, whatever they hold.
        stream.close()
        raise _headerless(path)
    return stream


def _open_remote(path: RemotePath) -> RemoteSoundFile:
    try:
        content = _Quiet(path)
    except FileNotFoundError as error:
        raise _not_found(path, error) from None
    except OSError as error:
        raise _unreachable(path, error) from None
    if content.size == 0:
        raise _empty(path)
    return RemoteSoundFile(content)


def _not_found(path: Path, error: OSError) -> AudioNotFoundError:
    # Of a bucket that is not there the store says more than that this object is not.
    got = None if not isinstance(path, RemotePath) or error.strerror == os.strerror(errno.ENOENT) else error.strerror
    return AudioNotFoundError("there is no such audio file", where=path, got=got)


def _unreachable(path: Path, error: OSError) -> AudioUnreachableError:
    return AudioUnreachableError("the audio file cannot be reached", where=path, got=error.strerror)


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
    if isinstance(path, RemotePath):
        # Opening it says whether it is there, and without a request more.
        if path.suffix.lower() == ".raw":
            raise _headerless(path)
        return
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise AudioNotFoundError("there is no such audio file", where=path) from None
    except OSError as error:
        raise _unreachable(path, error) from None
    if stat.S_ISDIR(mode):
        raise AudioError("a folder is not an audio file", where=path, expected="a file")
    if not stat.S_ISREG(mode):
        raise AudioError("a pipe, socket or device is not an audio file", where=path, expected="a regular file")
    if not os.access(path, os.R_OK):
        raise AudioUnreachableError("the audio file cannot be read", where=path, got="permission denied")
    if path.stat().st_size == 0:
        raise _empty(path)
    if path.suffix.lower() == ".raw":
        raise _headerless(path)


def _empty(path: Path) -> AudioError:
    return AudioError("the audio file is empty", where=path, got="0 bytes")


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
    _check_promise(path, stream, frames)
    if frames >= _UNKNOWN_FRAMES:
        frames = _count_frames(path, rate)
    if frames < 1:
        raise AudioError("the file holds no audio", where=path, got="0 frames")
    return AudioInfo(path, rate, channels, frames, str(stream.format))


def _check_promise(path: Path, stream: Any, frames: int) -> None:
    """Raise where a whole frame or more of what the header promises is missing."""
    found = stream.promised_bytes() if isinstance(stream, RemoteSoundFile) else promised_bytes(path)
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
