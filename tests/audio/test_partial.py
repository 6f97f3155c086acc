"""A WAV file written over several runs holds what was committed, and nothing that was not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow.audio import PartialWavWriter, read_audio, write_audio
from inmf_flow.errors import ArgumentError

AUDIO = np.random.default_rng(0).uniform(-2, 2, (2, 5000)).astype(np.float32)


class SmallRiffWriter(PartialWavWriter):
    """Takes RF64 beyond 20 kB."""

    _riff_limit = 20_000


@pytest.mark.parametrize("kind", [PartialWavWriter, SmallRiffWriter])
def test_several_runs_write_what_one_does(kind: type[PartialWavWriter], tmp_path: Path) -> None:
    path, done, digest = tmp_path / "a.wav", 0, ""
    for stop in (1000, 1700, 5000):
        writer = kind(path, 16000, 2)
        assert done == 0 or writer.take_up(done, digest)
        with writer:
            assert writer.frames == done
            writer.write(AUDIO[:, done:stop])
            digest, done = writer.commit(), stop
            # Lost with the run.
            writer.write(np.ones((2, 300)))
        assert np.array_equal(read_audio(path)[0][:, :stop], AUDIO[:, :stop])
    with kind(path, 16000, 2) as whole:
        whole.write(AUDIO)
        whole.commit()
    once = path.read_bytes()
    if kind is PartialWavWriter:
        write_audio(tmp_path / "b.wav", AUDIO, 16000)
        assert once == (tmp_path / "b.wav").read_bytes()
    else:
        assert once.startswith(b"RF64")


def test_only_what_was_committed_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with PartialWavWriter(path, 16000, 2) as writer:
        writer.write(AUDIO)
        digest = writer.commit()
    assert PartialWavWriter(path, 16000, 2).take_up(5000, digest)
    assert not PartialWavWriter(path, 16000, 2).take_up(4999, digest)
    assert not PartialWavWriter(path, 16000, 2).take_up(5001, digest)
    assert not PartialWavWriter(tmp_path / "gone.wav", 16000, 2).take_up(5000, digest)
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(content)
    assert not PartialWavWriter(path, 16000, 2).take_up(5000, digest)


def test_what_is_not_open_cannot_be_committed(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="not open"):
        PartialWavWriter(tmp_path / "a.wav", 16000, 2).commit()
