"""Pipelines with ``compare``: a run for each variant, nothing fitted twice, and their results side by side."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from inmf_flow import INMF, run_pipeline
from inmf_flow.evaluate import read_metrics_csv
from inmf_flow.pipeline import PipelineFileError, explain_comparison, pipeline_from_mapping
from inmf_flow.separation import analyze_file

from .sets import set_pipeline, write_set

COMPARE = {
    "window": {"512": {"separate": {"synthesize": "short"}}, "1024": {"separate": {"synthesize": "long"}}},
    "method": {"NMF": {"fit": {"field": "matrix", "analyze": "{window}"}}, "hat": {"fit": {"field": "hat"}}},
}
TRANSFORMS = {"512": {"stft": {"n_fft": 512}}, "1024": {"stft": {"n_fft": 1024}}}


def _pipeline(folder: Path, **sections: Any) -> dict[str, Any]:
    fit = {"max_iter": 20, "analyze": "1024"}
    compare = {**COMPARE, "window": {label: {"separate": {"synthesize": label}} for label in ("512", "1024")}}
    return set_pipeline(
        folder, **{"transforms": TRANSFORMS, "fit": fit, "separate": {"max_iter": 15}, "compare": compare, **sections}
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, speech: dict[str, Path], scheduler: str) -> tuple[Path, Any]:
    """A comparison that was run: its folder, and the outcome. Leave it as it is."""
    folder = tmp_path_factory.mktemp("compared")
    write_set(folder / "sets", speech)
    return folder, run_pipeline(_pipeline(folder / "sets"), output=folder / "run", scheduler=scheduler)


def test_each_variant_is_the_run_of_the_pipeline_with_its_keys_replaced(
    compared: tuple[Path, Any], tmp_path: Path, scheduler: str
) -> None:
    folder, outcome = compared
    assert outcome.status == "done", outcome.failures
    assert list(outcome.variants) == ["512/NMF", "512/hat", "1024/NMF", "1024/hat"]
    alone = _pipeline(
        folder / "sets",
        fit={"field": "matrix", "max_iter": 20, "analyze": "512"},
        separate={"max_iter": 15, "synthesize": "512"},
        compare=None,
    )
    expected = run_pipeline(alone, output=tmp_path / "alone", scheduler=scheduler)
    assert outcome.variants["512/NMF"].metrics == expected.metrics
    assert read_metrics_csv(folder / "run/variants/512/NMF/metrics.csv") == expected.metrics
    assert (folder / "run/variants/512/NMF/report.html").is_file()


def test_equal_models_are_fitted_once(compared: tuple[Path, Any]) -> None:
    folder, outcome = compared
    done = {name: each.stages["fit"].done for name, each in outcome.variants.items()}
    assert done == {"512/NMF": 6, "512/hat": 6, "1024/NMF": 6, "1024/hat": 0}
    assert outcome.variants["1024/hat"].stages["fit"].reused == 6
    first, second = (folder / f"run/variants/{name}/hat/models/001-mix/1.safetensors" for name in ("512", "1024"))
    assert first.read_bytes() == second.read_bytes()
    assert first.samefile(second)


def test_the_table_has_the_scores_of_all_variants(compared: tuple[Path, Any]) -> None:
    folder, outcome = compared
    with (folder / "run/comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = [(r["window"], r["method"], r["item"], r["source"], r["metric"], float(r["value"])) for r in rows]
    assert found == [
        (*name.split("/"), row.item, row.source, row.metric, row.value)
        for name, each in outcome.variants.items()
        for row in each.metrics
    ]
    assert {row.item for row in outcome.metrics} == {
        f"{v}/{i}-mix" for v in outcome.variants for i in ("001", "002", "003")
    }


def test_the_summary_is_of_means_quartiles_and_paired_differences(compared: tuple[Path, Any]) -> None:
    folder, outcome = compared
    lines = (folder / "run/comparison.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| 512 |")]
    assert [line[:3] for line in cells] == [["512", "NMF", "6"], ["512", "hat", "6"]]
    values = {name: np.array([row.value for row in outcome.variants[f"512/{name}"].metrics]) for name in ("NMF", "hat")}
    assert [line[3] for line in cells] == [f"{values[name].mean():.2f}" for name in ("NMF", "hat")]
    assert [line[5] for line in cells] == [f"{np.median(values[name]):.2f}" for name in ("NMF", "hat")]
    assert cells[0][7] == "–"
    assert cells[1][7] == f"{(values['hat'] - values['NMF']).mean():+.2f} to NMF"
    low, high = map(float, cells[1][8].split(" to "))
    assert low <= (values["hat"] - values["NMF"]).mean() <= high
    page = (folder / "run/report.html").read_text()
    assert page.count("data:image/svg+xml") == 1
    assert 'href="variants/1024/hat/report.html"' in page


def test_a_second_run_does_nothing_and_writes_nothing(
    compared: tuple[Path, Any], tmp_path: Path, scheduler: str
) -> None:
    shutil.copytree(compared[0], tmp_path / "again")
    run = tmp_path / "again/run"
    pipeline = _pipeline(tmp_path / "again/sets")
    run_pipeline(pipeline, output=run, scheduler=scheduler)
    written = ("comparison.csv", "comparison.json", "comparison.md", "report.html")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.suffix in (".json", ".csv", ".html")}
    assert {path.name for path in before} >= set(written) - {"comparison.md"}
    assert run_pipeline(pipeline, output=run, scheduler=scheduler).did_nothing
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (run / "comparison.md").unlink()
    run_pipeline(pipeline, output=run, scheduler=scheduler)
    assert (run / "comparison.md").is_file()


def test_a_model_that_was_damaged_is_not_taken_over(compared: tuple[Path, Any], tmp_path: Path, scheduler: str) -> None:
    shutil.copytree(compared[0], tmp_path / "damaged")
    run = tmp_path / "damaged/run"
    expected = (run / "variants/1024/hat/models/001-mix/1.safetensors").read_bytes()
    shutil.rmtree(run / "variants/1024/hat")
    damaged = run / "variants/512/hat/models/001-mix/1.safetensors"
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    pipeline = _pipeline(tmp_path / "damaged/sets", store="zarr")
    # The variant alone, so that nobody mends the other's model first.
    del pipeline["compare"]["window"]["512"]
    outcome = run_pipeline(pipeline, output=run, scheduler=scheduler)
    assert outcome.status == "done", outcome.failures
    assert (run / "variants/1024/hat/models/001-mix/1.safetensors").read_bytes() == expected


@pytest.mark.full
def test_failures_of_a_variant_are_told_with_its_name(
    tmp_path: Path, speech: dict[str, Path], inmf: Any, scheduler: str
) -> None:
    write_set(tmp_path / "sets", speech, ("001", "002"))
    (tmp_path / "sets/002/train_1.flac").unlink()
    file = tmp_path / "set.yaml"
    compare = {"method": COMPARE["method"] | {"NMF": {"fit": {"field": "matrix"}}}}
    file.write_text(yaml.safe_dump(_pipeline(tmp_path / "sets", compare=compare)))
    done = inmf("run", file, "--scheduler", scheduler)
    assert done.code == 1
    assert "failed: separate hat/002-mix: there is no model of 002-mix/1" in done.out
    assert "| hat | 2 |" in done.out
    planned = inmf("run", file, "--scheduler", scheduler, "--dry-run")
    assert planned.code == 0
    assert "nothing to do" in planned.out
    assert inmf("run", file, "--scheduler", scheduler, "--set", "fail=never").code == 0
    assert inmf("report", tmp_path / "runs/set").out.strip().endswith("report.html")


def test_the_plan_counts_models_that_variants_have_in_common_once(tmp_path: Path, speech: dict[str, Path]) -> None:
    write_set(tmp_path / "sets", speech)
    plan = explain_comparison(pipeline_from_mapping(_pipeline(tmp_path / "sets", store="none")), tmp_path / "run")
    assert {name: len(each.stages["fit"].todo) for name, each in plan.explained.items()} == dict.fromkeys(
        ["512/NMF", "512/hat", "1024/NMF", "1024/hat"], 6
    )
    assert plan.fits == 18
    assert not (tmp_path / "run").exists()


def test_ctrl_c_ends_a_comparison_which_then_goes_on(tmp_path: Path, speech: dict[str, Path], scheduler: str) -> None:
    write_set(tmp_path / "sets", speech)
    file = tmp_path / "set.yaml"
    file.write_text(yaml.safe_dump(_pipeline(tmp_path / "sets"), sort_keys=False))
    command = [str(Path(sys.executable).with_name("inmf")), "run", str(file), "--scheduler", scheduler]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    first = tmp_path / "runs/set/variants/512/NMF/report.html"
    end = time.monotonic() + 60
    while not first.exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, (tmp_path / "log").read_text()
    assert not (tmp_path / "runs/set/comparison.csv").exists()
    outcome = run_pipeline(file, scheduler=scheduler)
    assert outcome.status == "done"
    assert outcome.variants["512/NMF"].did_nothing
    assert (tmp_path / "runs/set/report.html").is_file()


def test_the_divergence_is_that_of_the_model_at_unit_energy(
    tmp_path: Path, speech: dict[str, Path], scheduler: str
) -> None:
    write_set(tmp_path / "sets", speech, ("001", "002"))
    pipeline = set_pipeline(
        tmp_path / "sets",
        corpus={"mixtures": str(tmp_path / "sets/*/train_*.flac"), "sample_rate": 16000},
        sources={"speaker": {"audio": "{folder}/{file}", "components": 4}},
        evaluate={"references": None, "divergence": True},
        fit={"max_iter": 50, "analyze": "long"},
        separate={"max_iter": 50, "synthesize": "short"},
    )
    outcome = run_pipeline(pipeline, output=tmp_path / "run", scheduler=scheduler)
    assert outcome.status == "done", outcome.failures
    assert {(row.source, row.metric) for row in outcome.metrics} == {("mixture", "divergence")}
    model = INMF.load(tmp_path / "run/models/001-train_1/speaker.safetensors")
    points = analyze_file(tmp_path / "sets/001/train_1.flac", [_transform("stft:n_fft=512")])
    import soundfile

    audio, _ = soundfile.read(tmp_path / "sets/001/train_1.flac")
    unscaled = model.divergence(points, model.transform(points, 50))
    row = next(row for row in outcome.metrics if row.item == "001-train_1")
    # The Kullback-Leibler divergence grows with the magnitudes to the power, here 0.5.
    assert row.value == pytest.approx(unscaled * np.square(audio).sum() ** -0.25, rel=1e-3)
    assert run_pipeline(pipeline, output=tmp_path / "run", scheduler=scheduler).did_nothing
    changed = run_pipeline(
        {**pipeline, "fit": {"max_iter": 60, "analyze": "long"}}, output=tmp_path / "run", scheduler=scheduler
    )
    assert changed.stages["evaluate"].done == 4


def _transform(spec: str) -> Any:
    from inmf_flow.transform import get_transform

    return get_transform(spec)


@pytest.mark.parametrize(
    ("compare", "said"),
    [
        ({"method": {"a": {"fit": {"field": "hut"}}}}, "compare (method a): no field named 'hut' is installed"),
        ({"method": {"a": {"fit": {"feild": "hat"}}}}, "compare (method a): unknown key 'feild' in fit"),
        ({"method": {"a": {"output": "x"}}}, "changes 'output', which all variants have in common"),
        ({"method": {"a": None, "A": None}}, "differ by case alone"),
        ({"item": {"a": None}}, "an axis cannot be called 'item'"),
        ({"method": {}}, "has no labels"),
        (
            {"a": dict.fromkeys("bcdefghijklmnopqrs"), "b": dict.fromkeys("bcdefghijklmnopqrs")},
            "324 variants on 2 axes",
        ),
        ({"method": {"a/b": None}}, "a name that can be a file's"),
        ({}, "compare"),
    ],
)
def test_what_is_wrong_with_a_comparison_is_said(compare: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError) as caught:
        pipeline_from_mapping(set_pipeline(tmp_path, compare=compare))
    assert said in str(caught.value)


def test_faults_of_variants_have_their_place_in_the_file(tmp_path: Path, inmf: Any) -> None:
    file = tmp_path / "set.yaml"
    pipeline = yaml.safe_dump(set_pipeline(tmp_path), sort_keys=False)
    file.write_text(pipeline + "compare:\n  method:\n    one: {fit: {field: matrix}}\n    two:\n      fit: {tol: -1}\n")
    line = len(file.read_text().splitlines())
    done = inmf("validate", file)
    assert done.code == 2
    assert f"{file}:{line}:18: compare (method two): fit.tol must be" in done.err


def test_the_example_of_the_documentation_has_the_variants_that_it_says(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/experiments.md").read_text(encoding="utf-8")
    block = text.split("```yaml\n")[1].split("```")[0]
    pipeline = pipeline_from_mapping(yaml.safe_load(block), tmp_path)
    assert [variant.name for variant in pipeline.variants] == ["1000/NMF", "1000/hat", "2000/NMF", "2000/hat"]


def test_keys_that_a_variant_does_not_name_stay() -> None:
    pipeline = pipeline_from_mapping(
        set_pipeline(
            Path("/sets"),
            transforms={"short": {"stft": {"n_fft": 512, "hop_length": 128}}, "long": "stft:n_fft=2048"},
            fit={"field": {"hat": {"nodes": 32}}, "max_iter": 7, "analyze": "long"},
            compare={
                "what": {
                    "nothing": None,
                    "hop": {"transforms": {"short": {"stft": {"hop_length": 64}}}},
                    "field": {"fit": {"field": {"matrix": None}}},
                    "nodes": {"fit": {"field": {"hat": {"nodes": 64}}}, "sources": {"1": {"components": 9}}},
                }
            },
        )
    )
    found = {variant.name: variant.pipeline for variant in pipeline.variants}
    assert found["nothing"].as_json() == pipeline_from_mapping(pipeline.as_json() | {"compare": None}).as_json()
    hop = found["hop"].transforms["short"].options
    assert (hop["n_fft"], hop["hop_length"]) == (512, 64)
    assert found["field"].fit.field.as_json() == {"matrix": {}}
    assert found["field"].fit.max_iter == 7
    assert found["nodes"].fit.field.as_json() == {"hat": {"nodes": 64}}
    assert [source.components for source in found["nodes"].sources.values()] == [9, 4]


@pytest.mark.parametrize("name", ["paper-separation", "paper-reconstruction", "compare"])
def test_the_pipelines_of_the_experiments_compare_equal_windows(name: str) -> None:
    from inmf_flow.pipeline import load_pipeline

    pipeline = load_pipeline(Path(__file__).parents[2] / f"pipelines/{name}.yaml")
    for variant in pipeline.variants:
        window, method = variant.labels["window"], variant.labels["method"]
        assert variant.pipeline.synthesized == (f"w{window}",)
        assert variant.pipeline.analyzed == ((f"w{window}",) if method == "NMF" else ("w2000",))
        options = variant.pipeline.transforms[f"w{window}"].options
        assert (options["n_fft"], options["hop_length"], options["window"]) == (
            int(window),
            int(window) // 2,
            "sqrt_hann",
        )


@pytest.mark.full
def test_the_small_experiment_runs(tmp_path: Path, audio_dir: Path, scheduler: str) -> None:
    file = Path(__file__).parents[2] / "pipelines/compare.yaml"
    overrides = ["fit.max_iter=30", "separate.max_iter=20", "report.items=0"]
    outcome = run_pipeline(file, output=tmp_path, scheduler=scheduler, overrides=overrides)
    assert outcome.status == "done", outcome.failures
    assert {row.metric for row in outcome.metrics} == {"sdr", "sir", "sar", "stoi", "divergence"}
    means = {
        name: np.mean([row.value for row in each.metrics if row.metric == "divergence"])
        for name, each in outcome.variants.items()
    }
    # Frozen templates cost little at another window: less than a tenth more than a fit to it.
    assert means["1000/hat"] < 1.1 * means["1000/NMF"]
