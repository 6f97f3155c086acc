"""Which files can be read from the middle, and headers that are read once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from inmf_flow.audio import audio_info, can_seek, open_audio

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "possible"),
    [
        ("a.wav", "PCM_16", True),
        ("a.flac", "PCM_16", True),
        ("a.mp3", "MPEG_LAYER_III", True),
        ("a.ogg", "VORBIS", True),
        ("a.wav", "G721_32", False),
        ("a.wav", "GSM610", False),
    ],
)
def test_seeking(name: str, subtype: str, possible: bool, tmp_path: Path) -> None:
    soundfile.write(tmp_path / name, NOISE, 16000, subtype=subtype)
    assert can_seek(tmp_path / name) is possible


def test_a_header_that_is_known_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, 16000, subtype="FLOAT")
    info = audio_info(path)
    path.unlink()
    for start in (None, 0.5):
        with open_audio(path, 8000, start, info=info) as reader:
            assert reader.frames == 8000 * (1 - (start or 0))
