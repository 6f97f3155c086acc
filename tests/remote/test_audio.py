"""Audio on object stores: the samples of the same file here, and failures that are not taken for the file's end."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.audio import audio_info, open_audio, read_audio, write_audio
from inmf_flow.errors import AudioError, AudioNotFoundError, AudioUnreachableError
from inmf_flow.files import atomic_write
from inmf_flow.remote import RemoteFile, RemotePath, client


@pytest.fixture(scope="module")
def recordings(speech: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same minute in several formats."""
    audio, rate = soundfile.read(speech["mixture"])
    folder = tmp_path_factory.mktemp("formats")
    paths = {suffix: folder / f"minute.{suffix}" for suffix in ("wav", "flac", "ogg", "aiff", "mp3")}
    for path in paths.values():
        soundfile.write(path, np.tile(audio, -(-60 * rate // len(audio)))[: 60 * rate], rate)
    return paths


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff", "mp3"])
def test_samples_are_those_of_the_file(place: RemotePath, recordings: dict[str, Path], suffix: str) -> None:
    local, remote = recordings[suffix], place / f"minute.{suffix}"
    atomic_write(remote, local.read_bytes())
    assert audio_info(remote).frames == audio_info(local).frames
    np.testing.assert_array_equal(read_audio(remote)[0], read_audio(local)[0])
    for limits in ((None, 7.5), (31.25, 33.0), (58.0, None)):
        pieces = []
        for path in (local, remote):
            with open_audio(path, 8000, *limits) as reader:
                pieces.append(np.concatenate(list(reader.blocks(4096)), axis=1))
        np.testing.assert_array_equal(*pieces)


def test_a_header_costs_one_request_and_a_segment_not_the_whole_file(
    moto_place: RemotePath, recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = recordings["wav"].read_bytes()
    atomic_write(moto_place / "long.wav", content)
    asked: list[int] = []
    real = client.read_range

    def counted(bucket: str, key: str, start: int, stop: int, etag: str | None = None) -> Any:
        asked.append(stop - start)
        return real(bucket, key, start, stop, etag)

    monkeypatch.setattr(client, "read_range", counted)
    audio_info(moto_place / "long.wav")
    assert len(asked) == 1
    with open_audio(moto_place / "long.wav", None, 40.0, 41.0) as reader:
        list(reader.blocks(4096))
    assert len(asked) <= 4
    assert sum(asked) < 0.6 * len(content)


def test_reading_here_and_there_gives_the_bytes_of_the_object(place: RemotePath) -> None:
    content = os.urandom(3_000_000)
    atomic_write(place / "object", content)
    generator = np.random.default_rng(0)
    with io.BufferedReader(RemoteFile(place / "object")) as stream:
        for start, count in generator.integers(0, 400_000, (20, 2)) * [8, 1]:
            stream.seek(int(start))
            assert stream.read(int(count)) == content[start : start + count]
        stream.seek(-7, os.SEEK_END)
        assert stream.read() == content[-7:]


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture_of_both(moto_place: RemotePath) -> None:
    atomic_write(moto_place / "object", b"a" * 1_000_000)
    with RemoteFile(moto_place / "object") as stream:
        stream.seek(900_000)
        atomic_write(moto_place / "object", b"b" * 1_000_000)
        with pytest.raises(OSError, match="replaced meanwhile"):
            stream.read(10)


def test_a_server_that_goes_away_is_not_the_end_of_the_audio(
    own_server: Any, recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INMF_S3_PATIENCE", "0.5")
    path = RemotePath("s3://corpora/minute.wav")
    atomic_write(path, recordings["wav"].read_bytes())
    own_server.stop()
    with pytest.raises(AudioUnreachableError, match="cannot be reached"):
        audio_info(path)
    own_server.start()
    assert audio_info(path).duration == 60


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_losing_the_server_between_blocks_may_pass(
    moto_place: RemotePath, recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    atomic_write(moto_place / "long", recordings[suffix].read_bytes())
    with open_audio(moto_place / "long") as reader:
        blocks = reader.blocks(16000)
        next(blocks)
        # The object can be had no more from here on.
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("INMF_S3_PATIENCE", "0.2")
        with pytest.raises(AudioUnreachableError):
            list(blocks)


def test_what_is_no_audio_is_told_as_of_files(place: RemotePath, recordings: dict[str, Path]) -> None:
    atomic_write(place / "cut.wav", recordings["wav"].read_bytes()[:-90_000])
    atomic_write(place / "text.wav", "hello")
    atomic_write(place / "nothing.wav", b"")
    with pytest.raises(AudioError, match="the audio is truncated"):
        audio_info(place / "cut.wav")
    with pytest.raises(AudioError, match="cannot be read as audio"):
        audio_info(place / "text.wav")
    with pytest.raises(AudioError, match="the audio file is empty"):
        audio_info(place / "nothing.wav")
    with pytest.raises(AudioNotFoundError, match="there is no such audio file"):
        audio_info(place / "none.wav")


def test_audio_is_written_as_into_a_file(place: RemotePath, tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-1, 1, (2, 5000)).astype(np.float32)
    for path in (place / "out.wav", tmp_path / "out.wav"):
        write_audio(path, audio, 16000)
    assert (place / "out.wav").read_bytes() == (tmp_path / "out.wav").read_bytes()
