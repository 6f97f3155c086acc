"""Files that are no usable audio: each gives one error with a reason, and no chain of others."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from inmf_flow.audio import audio_info, read_audio, write_audio
from inmf_flow.errors import AudioError


def noise(frames: int, channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((frames, channels))).astype(np.float32)


def refused(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".aiff", ".txt", ""])
def test_text_under_any_name(tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_text("This is no audio.\n" * 40)
    assert "cannot be read as audio; got Format not recognised" in refused(path)


@pytest.mark.parametrize("suffix", [".raw", ".RAW", ".vox", ".gsm"])
def test_headerless_audio_is_not_guessed(tmp_path, suffix):
    path = tmp_path / f"telephone{suffix}"
    path.write_bytes(bytes(range(256)) * 10)
    assert "headerless" in refused(path)


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    assert "is empty; got 0 bytes" in refused(path)


@pytest.mark.parametrize("suffix", [".wav", ".au", ".aiff"])
def test_audio_without_samples(tmp_path, suffix):
    path = tmp_path / f"nothing{suffix}"
    soundfile.write(path, noise(0), 16000)
    assert "holds no audio; got 0 frames" in refused(path)


def test_a_folder(tmp_path):
    path = tmp_path / "folder.wav"
    path.mkdir()
    assert "folder" in refused(path)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    assert "a pipe" in refused(path)


def test_a_dangling_link(tmp_path):
    path = tmp_path / "link.wav"
    path.symlink_to(tmp_path / "gone.wav")
    assert "no such audio file" in refused(path)


def test_a_file_without_permission(tmp_path):
    path = tmp_path / "secret.wav"
    write_audio(path, noise(10).T, 16000)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "permission denied" in refused(path)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_truncated_flac(tmp_path, share):
    path = tmp_path / "cut.flac"
    soundfile.write(path, noise(200_000), 16000)
    cut(path, share)
    message = refused(path)
    assert "truncated" in message
    assert audio_info(path).frames == 200_000  # the header alone looks right


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".w64", ".au", ".rf64"])
@pytest.mark.parametrize("share", [0.99, 0.5])
def test_truncated_uncompressed_audio_is_noticed_at_the_header(tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    soundfile.write(path, noise(20_000), 16000)
    cut(path, share)
    with pytest.raises(AudioError, match="truncated") as caught:
        audio_info(path)
    assert "% of what its header promises" in str(caught.value)


def test_one_missing_frame_is_noticed(tmp_path):
    path = tmp_path / "cut.wav"
    write_audio(path, noise(1000, 2).T, 16000)
    path.write_bytes(path.read_bytes()[:-8])
    assert "got 999 frames" in refused(path)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_a_cut_stream_whose_header_only_estimates_gives_what_is_there(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    soundfile.write(path, noise(200_000), 44100)
    cut(path, 0.5)
    audio, _ = read_audio(path)
    assert 0 < audio.shape[1] < 200_000


def test_a_hole_in_an_ogg_stream_is_noticed(tmp_path):
    path = tmp_path / "hole.ogg"
    soundfile.write(path, noise(200_000), 44100)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert "truncated or damaged; got" in refused(path)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("position", [0, 24_000, 99_999])
def test_samples_that_are_not_finite(tmp_path, value, name, position):
    path = tmp_path / "nan.wav"
    audio = noise(100_000, 2)
    audio[position, 1] = value
    soundfile.write(path, audio, 16000, subtype="FLOAT")
    assert f"got {name} at {position / 16000:.3f} s (sample {position}, channel 2)" in refused(path)


def test_doubles_too_large_for_single_precision(tmp_path):
    path = tmp_path / "huge.wav"
    soundfile.write(path, np.array([0.0, 1e300]), 16000, subtype="DOUBLE")
    assert "got inf at 0.000 s (sample 1" in refused(path)


def test_random_damage_never_gives_anything_but_an_audio_error(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged"
    for suffix in (".wav", ".flac", ".aiff", ".w64", ".au", ".caf"):
        whole = tmp_path / f"whole{suffix}"
        soundfile.write(whole, noise(2000), 16000)
        for _ in range(60):
            content = bytearray(whole.read_bytes())
            for place in rng.integers(0, 120, rng.integers(1, 6)):
                content[place] = rng.integers(0, 256)
            path = tmp_path / f"damaged{suffix}"
            path.write_bytes(content[: rng.integers(20, len(content) + 1)])
            try:
                audio, rate = read_audio(path)
            except AudioError:
                continue
            assert np.isfinite(audio).all()
            assert rate >= 1
