"""Reading a recording's audio, from its start to its stop, as if it were a file of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import AudioReader, open_audio
from inmf_flow.corpus.recording import Recording

_CHUNK_FRAMES = 1 << 16


def open_recording(recording: Recording, sample_rate: int | None = None) -> AudioReader:
    """Open a recording's audio for reading in blocks, from its start to its stop; see `inmf_flow.audio.open_audio`."""
    return open_audio(recording.path, sample_rate, recording.start, recording.stop)


def read_recording(recording: Recording, sample_rate: int | None = None) -> tuple[NDArray[np.float32], int]:
    """Read a recording's audio at once: float32 [channels, samples], and its rate. Errors as of `open_recording`."""
    with open_recording(recording, sample_rate) as reader:
        nothing = np.zeros((reader.info.channels, 0), np.float32)
        return np.concatenate([*reader.blocks(_CHUNK_FRAMES), nothing], axis=1), reader.sample_rate
