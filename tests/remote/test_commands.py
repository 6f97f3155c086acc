"""The commands on ``s3://`` paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

from inmf_flow.cli import main
from inmf_flow.files import atomic_write
from inmf_flow.remote import RemotePath


def inmf(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def voices(moto_place: RemotePath, speech: dict[str, Path], tmp_path: Path) -> RemotePath:
    mixed = 0
    for source in ("male", "female"):
        for name, kind in (("train", "train"), ("test", f"ref/one/{source}")):
            audio, rate = soundfile.read(speech[f"{source}_{name}"], start=8000, frames=8000)
            soundfile.write(tmp_path / "clip.wav", audio, rate, subtype="FLOAT")
            target = f"{source}.wav" if kind == "train" else f"{kind}.wav"
            atomic_write(moto_place / target, (tmp_path / "clip.wav").read_bytes())
            mixed = mixed + audio if name == "test" else mixed
    soundfile.write(tmp_path / "clip.wav", mixed, rate, subtype="FLOAT")
    atomic_write(moto_place / "mix" / "one.wav", (tmp_path / "clip.wav").read_bytes())
    return moto_place


def test_fit_separate_and_evaluate_without_a_pipeline(voices: RemotePath, capsys: Any, tmp_path: Path) -> None:
    for source in ("male", "female"):
        options = ("--components", 2, "--max-iter", 3)
        assert inmf("fit", voices / f"{source}.wav", "-o", voices / f"{source}.safetensors", *options) == 0
    models = [text for s in ("male", "female") for text in ("--model", f"{s}={voices}/{s}.safetensors")]
    assert inmf("separate", f"{voices}/mix/*.wav", *models, "-o", voices / "out", "--max-iter", 2) == 0
    assert f"{voices}/out/one/male.wav" in capsys.readouterr().out.splitlines()
    scores = voices / "scores.json"
    folders = ("--estimates", voices / "out", "--references", voices / "ref", "--json", scores)
    assert inmf("evaluate", *folders, "--metric", "si_sdr") == 0
    assert len(json.loads(scores.read_bytes())["rows"]) == 2
    # The same models and mixture on this machine give the same bytes.
    for source in ("male", "female"):
        (tmp_path / f"{source}.safetensors").write_bytes((voices / f"{source}.safetensors").read_bytes())
    (tmp_path / "one.wav").write_bytes((voices / "mix/one.wav").read_bytes())
    local = [text for s in ("male", "female") for text in ("--model", f"{s}={tmp_path}/{s}.safetensors")]
    assert inmf("separate", tmp_path / "one.wav", *local, "-o", tmp_path / "out", "--max-iter", 2) == 0
    assert (tmp_path / "out/one/male.wav").read_bytes() == (voices / "out/one/male.wav").read_bytes()


def test_store_commands_and_a_fit_from_stored_points(voices: RemotePath, capsys: Any) -> None:
    from inmf_flow import get_transform
    from inmf_flow.audio import read_audio
    from inmf_flow.store import PointsStore

    path = voices / "points.zarr"
    points = get_transform("stft").analyze(*read_audio(voices / "male.wav")).without_synthesis()
    PointsStore.create(path).write_part("p0", {"male": points}, {"male": "k"}, "hash")
    assert inmf("store", "info", path) == 0
    assert f"{path}: 1 items in 1 parts" in capsys.readouterr().out
    assert inmf("fit", path, "-o", voices / "stored.safetensors", "--components", 2, "--max-iter", 2) == 0
    assert inmf("store", "verify", path) == 0
    (path / "parts/p0/grid_magnitudes/c.0").unlink()
    assert inmf("store", "verify", path) == 1
    assert inmf("store", "repair", path) == 0
    assert "part p0: removed; lost with it: male" in capsys.readouterr().out
    assert inmf("store", "verify", path) == 0


def test_what_is_missing_there_is_one_line(voices: RemotePath, capsys: Any) -> None:
    assert inmf("store", "info", voices / "nothing") == 2
    assert inmf("fit", voices / "*.ogg", "-o", voices / "m.safetensors") == 2
    assert inmf("separate", voices / "mix", "--model", f"a={voices}/none.safetensors", "-o", voices / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["inmf"] * 3
    assert "no points store is there" in lines[0]
    assert "no audio file matches" in lines[1]
    assert "there is no such model file" in lines[2]
