"""Installed transforms that break while they are used: fit, separate and runs name the plugin, and the rest goes on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

ANALYZE = "def analyze(self, audio, sample_rate, *, span=None):\n        "
SYNTHESIZE = "def synthesize(self, points, gains=None):\n        "
POINTS = "p = super().analyze(audio, sample_rate, span=span); m = p.blocks[0].magnitudes; "
BROKEN = {
    "raises": ANALYZE + "raise KeyError('no such thing')",
    "exits": ANALYZE + "raise SystemExit(3)",
    "nan": ANALYZE + POINTS + "m[..., 0, 0] = float('nan'); return p",
    "negative": ANALYZE + POINTS + "m[..., 0, :2] = -1; return p",
    "nothing": ANALYZE + "return None",
    "shapeless": ANALYZE + POINTS + "object.__setattr__(p.blocks[0], 'magnitudes', m[..., 1:, :]); return p",
    "mixed": ANALYZE + "import numpy as np; return super().analyze(np.atleast_2d(audio)[:1], sample_rate, span=span)",
    "nowhere": "def halo(self, sample_rate):\n        return 5",
    "unmade": "def __init__(self, config=None, **options):\n        raise OSError('no weights')",
}
ONE_WAY = {
    "mute": SYNTHESIZE + "raise ZeroDivisionError('nothing to divide')",
    "cut": SYNTHESIZE + "return super().synthesize(points, gains)[..., 1:]",
    "foul": SYNTHESIZE + "return super().synthesize(points, gains) * float('nan')",
}
# Breaks on loud audio alone: some items of a run are fine.
SOME = (
    ANALYZE + "assert abs(audio).max() < 0.9, 'too loud'\n        return super().analyze(audio, sample_rate, span=span)"
)


@pytest.fixture(scope="module")
def site(shared_site: Any, transform_source: Any) -> Any:
    for name, body in {**BROKEN, **ONE_WAY, "some": SOME, "good": "pass"}.items():
        shared_site.install(f"a-{name}", {f"p-{name}": f"m_{name}"}, {f"m_{name}": transform_source(name, body)})
    return shared_site


@pytest.fixture(scope="module")
def faults(site: Any) -> dict[str, Any]:
    """What analysis and separation by each broken transform raise, in one process."""
    code = """
        import json, sys
        import numpy as np
        import soundfile
        from inmf_flow import INMF, get_transform, separate
        from inmf_flow.separation import analyze_file
        audio = np.random.default_rng(0).normal(0, 0.1, (2, 4000)).astype(np.float32)
        soundfile.write(sys.argv[1], audio.T, 16000)
        good = get_transform("good", n_fft=256)
        model = INMF(1, max_iter=2).fit(good.analyze(audio, 16000))
        found = {}
        for name in json.loads(sys.argv[2]):
            try:
                analyze_file(sys.argv[1], [get_transform(name, n_fft=256)])
            except Exception as error:
                found[name] = type(error).__name__, str(error)
        for name in json.loads(sys.argv[3]):
            try:
                separate(audio, 16000, {"one": model, "two": model}, get_transform(name, n_fft=256), max_iter=2)
            except Exception as error:
                found["separate " + name] = type(error).__name__, str(error)
        print(json.dumps(found))
    """
    names = json.dumps([*BROKEN, "good"]), json.dumps([*BROKEN, *ONE_WAY, "good"])
    done = site.run(code, arguments=[str(site.folder / "noise.wav"), *names])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


MESSAGES = {
    "raises": "analyze raised KeyError: 'no such thing' (m_raises.py, line ",
    "exits": "analyze raised SystemExit: 3 (m_exits.py, line ",
    "nan": "analyze returned 2 magnitudes that are negative or not finite in block 0",
    "negative": "analyze returned 4 magnitudes that are negative or not finite in block 0",
    "nothing": "analyze returned a NoneType; expected a PointSet",
    "shapeless": "analyze returned magnitudes of shape (2, 128, 33) in block 0; expected (129, 33)",
    "mixed": "analyze returned 1 channels in block 0; expected 2",
    "nowhere": "halo returned 5; expected two numbers of samples",
    "unmade": "its construction raised OSError: no weights (m_unmade.py, line ",
}


@pytest.mark.parametrize("use", ["", "separate "], ids=["analysis", "separation"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_analysis_names_plugin_and_transform(faults: dict[str, Any], name: str, use: str) -> None:
    kind, message = faults[use + name]
    assert kind == "PluginError"
    assert message.startswith(f"transform '{name}' of the plugin a-{name}:p-{name} (a-{name} 1.2.3): {MESSAGES[name]}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mute", "synthesize raised ZeroDivisionError: nothing to divide (m_mute.py, line "),
        ("cut", "synthesize returned shape (2, 3999); expected (2, 4000)"),
        ("foul", "synthesize returned samples that are not finite real numbers"),
    ],
)
def test_a_broken_synthesis_names_plugin_and_transform(faults: dict[str, Any], name: str, message: str) -> None:
    kind, found = faults[f"separate {name}"]
    assert kind == "PluginError"
    assert found.startswith(f"transform '{name}' of the plugin a-{name}:p-{name} (a-{name} 1.2.3): {message}")


def test_a_good_one_beside_them_works(faults: dict[str, Any]) -> None:
    assert "good" not in faults
    assert "separate good" not in faults


@pytest.mark.full
def test_fit_and_separate_say_so_without_a_traceback(
    site: Any, inmf: Callable[..., Any], speech: dict[str, Path], tmp_path: Path
) -> None:
    env = {"PYTHONPATH": str(site.folder)}
    model = tmp_path / "voice.safetensors"
    options = ["--components", 2, "--max-iter", 3]
    failed = inmf("fit", speech["male_test"], "-o", model, "--transform", "raises", *options, env=env)
    assert failed.code in (1, 2)
    assert "transform 'raises' of the plugin a-raises:p-raises" in failed.err
    assert not model.exists()
    assert inmf("fit", speech["male_test"], "-o", model, "--transform", "good", *options, env=env).code == 0
    names = ["--model", f"one={model}", "--model", f"two={model}", "--max-iter", 3]
    failed = inmf("separate", speech["mixture"], *names, "-o", tmp_path / "out", "--transform", "foul", env=env)
    assert failed.code == 1
    assert "transform 'foul' of the plugin a-foul:p-foul" in failed.err
    assert not list(tmp_path.glob("out/**/*.wav"))


PIPELINE = """
name: some
corpus: {mixtures: "mixtures/*", sample_rate: 16000}
transforms: {mine: {some: {n_fft: 512}}}
sources:
  one: {audio: "one/*", components: 2}
  two: {audio: "two/*", components: 2}
fit: {max_iter: 5}
separate: {max_iter: 5}
report: {items: 0}
"""


@pytest.mark.full
def test_a_run_fails_the_items_on_which_it_breaks_and_does_the_others(
    site: Any, inmf: Callable[..., Any], speech: dict[str, Path], tmp_path: Path
) -> None:
    voice, rate = soundfile.read(speech["male_test"], frames=16000, dtype="float32")
    voice *= 0.5 / np.abs(voice).max()
    for name in ("mixtures/soft", "one/soft", "two/soft"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", voice, rate)
    for name in ("mixtures/loud", "two/loud"):
        soundfile.write(tmp_path / f"{name}.wav", voice * 1.9, rate)
    for path in tmp_path.rglob("*.wav"):
        # A file that changed just now is read again by the next run, to be sure.
        os.utime(path, (time.time() - 3600,) * 2)
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    env = {"PYTHONPATH": str(site.folder)}
    finished = inmf("run", file, "--workers", 1, env=env)
    assert finished.code == 1
    run = tmp_path / "runs" / "some"
    document = json.loads((run / "run.json").read_text())
    assert {stage: counts["failed"] for stage, counts in document["counts"].items() if counts["failed"]} == {
        "analyze": 1,
        "separate": 1,
    }
    reason = "transform 'some' of the plugin a-some:p-some (a-some 1.2.3): analyze raised AssertionError: too loud"
    assert finished.out.count(reason) + finished.err.count(reason) >= 2
    assert sorted(path.parent.name for path in run.glob("separated/*/*.wav")) == ["soft", "soft"]
    assert inmf("store", "verify", run / "points.zarr", env=env).code == 0
    # Mended without a new version: what had failed is tried again, and nothing else.
    mended = shutil.copytree(site.folder, tmp_path / "site")
    (mended / "m_some.py").write_text((mended / "m_some.py").read_text().replace("< 0.9", "< 9"))
    again = inmf("run", file, "--workers", 1, env={"PYTHONPATH": str(mended)})
    assert again.code == 0, again.out + again.err
    counts = json.loads((run / "run.json").read_text())["counts"]
    assert counts["analyze"]["reused"] == 2
    assert counts["analyze"]["done"] == 1
