"""One run of everything: the files of the contract, and the second run that does nothing."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

STAGES = {"analyze": 4, "fit": 2, "separate": 3, "evaluate": 3, "report": 1}
MIXTURES = {"one": "mixtures/one.flac", "two": "mixtures/two.flac", "wide": "mixtures/wide.wav"}


@pytest.fixture(scope="session")
def run(first_run: Any) -> Any:
    return first_run[0]


def test_it_says_what_it_does_and_what_came_of_it(first_run: Any) -> None:
    _, done = first_run
    out, err = done.out.splitlines(), done.err.splitlines()
    assert err[0] == "run voices: analyse 4 of 4, fit 2 of 2, separate 3 of 3, evaluate 3 of 3, report 1 of 1"
    events = [line for line in err if ": done in" in line]
    assert len(events) == sum(STAGES.values())
    assert events[-1].startswith("report report.html: done in")
    for item in MIXTURES:
        for source in ("male", "female"):
            assert any(f"separated/{item}/{source}.wav" in line and "SI-SDR" in line for line in out)
    assert any(line.startswith("mean SI-SDR:") for line in out)
    assert "report: runs/voices/report.html" in out
    assert out[-1].endswith("analyze 4, fit 2, separate 3, evaluate 3, report 1")


def test_run_json_tells_the_whole_story(run: Any) -> None:
    document = run.document()
    assert (document["format"], document["name"], document["status"]) == (1, "voices", "done")
    assert document["counts"] == {n: {"done": k, "reused": 0, "failed": 0} for n, k in STAGES.items()}
    assert set(document["timings"]) == {*STAGES, "total"}
    assert all(seconds >= 0 for seconds in document["timings"].values())
    assert {"inmf_flow", "python", "torch"} <= set(document["versions"])
    assert document["pipeline"]["fit"]["max_iter"] == 20
    assert document["failures"] == []
    assert len(document["config_hash"]) == 32


def test_run_json_describes_every_source(run: Any) -> None:
    sources = run.document()["sources"]
    assert list(sources) == ["male", "female"]
    for name, source in sources.items():
        assert (source["status"], source["reason"], source["n_components"]) == ("done", None, 4)
        assert source["model"] == f"models/{name}.safetensors"
        assert [(run.output / path).resolve().name for path in source["files"]] == ["a.wav", "b.wav"]
        assert all((run.output / path).is_file() for path in source["files"])
        iterations, divergences = zip(*source["divergence_curve"], strict=True)
        assert list(iterations) == sorted(iterations)
        assert divergences[-1] < divergences[0]


def test_run_json_describes_every_item(run: Any) -> None:
    items = run.document()["items"]
    assert list(items) == sorted(MIXTURES)
    for name, item in items.items():
        info = soundfile.info(run.folder / MIXTURES[name])
        assert (item["status"], item["reason"]) == ("done", None)
        assert (run.output / item["mixture"]).resolve() == (run.folder / MIXTURES[name]).resolve()
        assert item["outputs"] == {s: f"separated/{name}/{s}.wav" for s in ("male", "female")}
        assert all((run.output / path).is_file() for path in item["references"].values())
        assert item["sample_rate"] == info.samplerate
        assert item["duration"] == pytest.approx(info.duration)


@pytest.mark.parametrize("item", MIXTURES)
def test_estimates_have_the_form_of_the_mixture_and_add_up_to_it(run: Any, item: str) -> None:
    mixture, rate = soundfile.read(run.folder / MIXTURES[item], always_2d=True, dtype="float64")
    total = np.zeros_like(mixture)
    for source in ("male", "female"):
        path = run.output / "separated" / item / f"{source}.wav"
        estimate, estimate_rate = soundfile.read(path, always_2d=True, dtype="float64")
        assert soundfile.info(path).subtype == "FLOAT"
        assert b"PEAK" not in path.read_bytes()[:200]
        assert (estimate_rate, estimate.shape) == (rate, mixture.shape)
        assert np.abs(estimate).max() > 0.01
        total += estimate
    np.testing.assert_allclose(total, mixture, atol=2e-6)


def test_points_and_models_can_be_used_from_python(run: Any) -> None:
    from inmf_flow import INMF, open_points, separate

    points = open_points(run.output / "points.zarr")
    assert sorted(points) == ["female/a", "female/b", "male/a", "male/b"]
    assert points["male/a"].duration == pytest.approx(1.2)
    models = {name: INMF.load(run.output / "models" / f"{name}.safetensors") for name in ("male", "female")}
    assert models["male"].provenance["files"] == ["a.wav", "b.wav"]
    mixture, rate = soundfile.read(run.folder / MIXTURES["one"], dtype="float32")
    estimates = separate(mixture, rate, models, "stft:n_fft=512", max_iter=15)
    written, _ = soundfile.read(run.output / "separated/one/male.wav", dtype="float32")
    np.testing.assert_allclose(estimates["male"], written, atol=1e-6)


def test_metrics_have_a_row_for_every_estimate(run: Any) -> None:
    with (run.output / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["item", "source", "metric", "value", "baseline", "improvement", "oracle", "estimate"]
    assert {(r["item"], r["source"], r["metric"]) for r in rows} == {
        (item, source, "si_sdr") for item in MIXTURES for source in ("male", "female")
    }
    for row in rows:
        assert float(row["value"]) - float(row["baseline"]) == pytest.approx(float(row["improvement"]), abs=1e-9)


def test_the_page_is_one_file_that_loads_nothing(run: Any) -> None:
    page = (run.output / "report.html").read_text()
    assert page.count("<audio") >= 3
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_nothing_unfinished_is_left(run: Any) -> None:
    assert not [name for name in run.files() if ".inmf-tmp" in name]
    assert {path.name for path in run.folder.iterdir()} == {
        "pipeline.yaml", "male", "female", "mixtures", "references", "runs"
    }  # fmt: skip


def test_a_second_fresh_run_gives_the_same_bytes(run: Any, corpus: Any, tmp_path: Path) -> None:
    # Another folder, other processes, started by somebody else.
    other = corpus.copy(tmp_path / "elsewhere")
    other.run("--set", "report.items=0")
    assert other.results().keys() == run.results().keys()
    assert [name for name, data in other.results().items() if data != run.results()[name]] == []


def test_the_second_run_does_nothing_and_says_so(project: Any) -> None:
    for path in project.output.rglob("*"):
        # What changed just now is read again by the next run, to be sure.
        os.utime(path, (time.time() - 3600,) * 2)
    project.run()
    before, content = project.stamps(), project.files()
    done = project.run()
    assert done.out.splitlines()[0] == f"nothing to do: all {sum(STAGES.values())} results are up to date"
    assert done.err == ""
    assert "separated: runs/voices/separated/one/male.wav" in done.out
    assert project.stamps() == before
    assert project.files() == content


def test_the_second_run_needs_neither_torch_nor_a_cluster(project: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inmf_flow", "run", str(project.file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=dict(os.environ),
    )
    assert "nothing to do" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "inmf_flow" in imported
    assert not imported & {"torch", "distributed", "dask", "zarr", "matplotlib", "scipy", "librosa", "numba"}


def test_a_folder_that_was_moved_is_still_up_to_date(without_pictures: Any, tmp_path: Path) -> None:
    moved = without_pictures.copy(tmp_path / "another place")
    assert "nothing to do" in moved.run().out
    first, second = without_pictures.output / "run.json", moved.output / "run.json"
    assert first.read_bytes() == second.read_bytes()


def test_estimates_are_listed_alike_by_the_first_run_and_the_second(first_run: Any, project: Any) -> None:
    def listed(out: str) -> list[str]:
        return [line for line in out.splitlines() if line.startswith("separated:")]

    assert listed(project.run().out) == listed(first_run[1].out)
