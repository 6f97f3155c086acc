from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from inmf_flow import registry
from inmf_flow.errors import ConfigError
from inmf_flow.pipeline.config import Pipeline, PipelineFileError, load_pipeline, pipeline_from_mapping
from inmf_flow.pipeline.config.validate import MAX_PROBLEMS

Load = Callable[..., Pipeline]
Problems = Callable[..., list[str]]

MINIMAL = "name: n\ncorpus: {mixtures: m.wav}\ntransforms: {t: toy}\nsources: {s: {audio: a.wav}}\n"


def test_a_valid_file_is_read_whole(load: Load, valid: str, tmp_path: Path) -> None:
    pipeline = load(valid)
    assert pipeline.corpus.mixtures == ("data/mix/*.flac",)
    assert list(pipeline.transforms) == ["fine", "short", "plain", "rough"]
    assert pipeline.transforms["short"].name == "toy"
    assert pipeline.transforms["short"].options["n_fft"] == 512
    assert pipeline.sources["bob jr."].audio == ("data/bob/a.wav", "data/bob/b.wav")
    assert pipeline.fit.field.spec == "hat:nodes=256"
    assert pipeline.fit.tol == 0.001
    assert pipeline.separate.mask == {"wiener": 2.0}
    assert pipeline.base == tmp_path
    assert pipeline.resolve("data/x.wav") == tmp_path / "data/x.wav"
    assert pipeline.resolve("/abs/x.wav") == Path("/abs/x.wav")
    assert pipeline.run_folder == tmp_path / "runs/two-speakers"


def test_defaults(load: Load) -> None:
    pipeline = load(MINIMAL + "fit:\nseparate:\nreport:\ncluster:\n")
    assert pipeline.sources["s"].components == 20
    assert (pipeline.fit.field.name, pipeline.fit.time_field, pipeline.fit.power) == ("hat", "auto", 0.5)
    assert (pipeline.analyzed, pipeline.synthesized) == (("t",), ("t",))
    assert pipeline.evaluate is None
    assert (pipeline.report.items, pipeline.cluster.scheduler, pipeline.store) == (20, "local", "zarr")


def test_pipelines_are_frozen(load: Load) -> None:
    with pytest.raises(ValidationError):
        load(MINIMAL).fit.power = 1  # type: ignore[misc]


def test_json_is_canonical_and_reads_back(load: Load, valid: str, tmp_path: Path) -> None:
    pipeline = load(valid)
    data = json.loads(json.dumps(pipeline.as_json()))
    again = pipeline_from_mapping(data, tmp_path)
    assert again.as_json() == data
    assert again.base == pipeline.base
    spelled_out = load(MINIMAL + "fit: {analyze: t, power: 0.5}\nseparate: {synthesize: t}\noutput: runs/n\n")
    assert spelled_out.as_json() == load(MINIMAL).as_json()
    assert pickle.loads(pickle.dumps(pipeline)).as_json() == data


def test_the_error_carries_its_problems_through_pickle(load: Load, tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError) as caught:
        load(MINIMAL + "store: maybe\nfial: any\n")
    error = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(error, ConfigError)
    assert isinstance(error, ValueError)
    assert error.problems == caught.value.problems
    assert str(error) == str(caught.value)
    first = error.problems[0]
    assert (first.file, first.line, first.column) == (str(tmp_path / "p.yaml"), 5, 8)


# Each: a line to put after MINIMAL, and what must be said of it at line 5.
@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("stroe: zarr", "1: unknown key 'stroe', did you mean 'store'?"),
        ("fit: {pover: 1}", "7: unknown key 'pover' in fit, did you mean 'power'?"),
        ("report: {zzz: 1}", "10: unknown key 'zzz' in report, expected 'items'"),
        ("store: zar", "8: store must be 'zarr' or 'none', got 'zar', did you mean 'zarr'?"),
        (
            "store: no",
            "8: store must be 'zarr' or 'none', got no, which YAML reads as false: put it in quotes",
        ),
        ("fail: 3", "7: fail must be 'any' or 'never', got 3: put it in quotes"),
        ("output: 1e3", "9: output must be text or null, got 1e3: put it in quotes"),
        ("output: ' '", "9: output must be text that is not empty, got ' '"),
        ("report: 3", "9: report must be a mapping, got 3"),
        ("report: {items: -1}", "17: report.items must be a whole number at least 0, got -1"),
        (
            "cluster: {workers: 0}",
            "20: cluster.workers must be a whole number from 1 to 65536 or null, got 0",
        ),
        (
            "cluster: {workers: yes}",
            "20: cluster.workers must be a whole number from 1 to 65536 or null, got yes, which YAML reads as true",
        ),
        (
            "cluster: {scheduler: my host}",
            "22: cluster.scheduler must be 'local', an address such as tcp://127.0.0.1:8786, "
            "or package.module:factory, got 'my host'",
        ),
        ("fit: {tol: -1}", "12: fit.tol must be a number at least 0, got -1"),
        ("fit: {tol: .nan}", "12: fit.tol must be a number at least 0, got .nan"),
        ("fit: {tol: small}", "12: fit.tol must be a number at least 0, got 'small'"),
        ("fit: {power: 0}", "14: fit.power must be a number greater than 0 and at most 4, got 0"),
        ("fit: {power: true}", "14: fit.power must be a number greater than 0 and at most 4, got true"),
        ("fit: {max_iter: 10.0}", "17: fit.max_iter must be a whole number at least 1 or null, got 10.0"),
        ("fit: {max_iter: '10'}", "17: fit.max_iter must be a whole number at least 1 or null, got '10'"),
        (
            "fit: {optimizer: MU}",
            "18: fit.optimizer must be 'mu', 'warm', 'rprop' or null, got 'MU', did you mean 'mu'?",
        ),
        ("fit: {weights: [area]}", "16: fit.weights must be 'area' or 'uniform', got a list"),
        (
            "fit: {random_state: -1}",
            "21: fit.random_state must be a whole number from 0 to 4294967295, got -1",
        ),
        (
            "fit: {field: hatt}",
            "14: no field named 'hatt' is installed, expected 'grid', 'hat', 'matrix', 'network' or 'siren', "
            "did you mean 'hat'?",
        ),
        (
            "fit: {field: {netwrk: {}}}",
            "15: no field named 'netwrk' is installed, expected 'grid', 'hat', 'matrix', 'network' or 'siren', "
            "did you mean 'network'?",
        ),
        (
            "fit: {field: {hat: 3}}",
            "14: fit.field must be one field with its options, such as {name: {option: value}}, or its name, "
            "got a mapping",
        ),
        (
            "fit: {time_field: xyz}",
            "19: no field named 'xyz' is installed, expected 'auto', 'grid', 'hat', 'matrix', 'network' or 'siren'",
        ),
        (
            "fit: {beta_loss: kl}",
            "18: no divergence named 'kl' is installed, expected 'frobenius', 'itakura-saito' or 'kullback-leibler'",
        ),
        (
            "fit: {beta_loss: [1]}",
            "18: fit.beta_loss must be the name of a divergence, such as 'kullback-leibler', "
            "or the number beta from -100 to 100, got a list",
        ),
        ("fit: {analyze: [t, u]}", "20: no transform of this pipeline is named 'u', expected 't'"),
        ("fit: {analyze: [t, t]}", "16: fit.analyze must be a list without repetitions, got a list"),
        (
            "fit: {analyze: []}",
            "16: fit.analyze must be text, a list of text with at least 1 entry or null, ",
        ),
        (
            "separate: {synthesize: tt}",
            "24: no transform of this pipeline is named 'tt', expected 't', did you mean",
        ),
        (
            "separate: {quality: fas}",
            "21: separate.quality must be 'fast' or 'default', got 'fas', did you mean",
        ),
        (
            "separate: {mask: papr}",
            "18: separate.mask must be 'default', 'paper', 'binary' or 'divergence', or {wiener: e} with a number e",
        ),
        (
            "separate: {mask: {wiener: 0}}",
            "18: separate.mask must be 'default', 'paper', 'binary' or 'divergence', or {wiener: e} with a number e",
        ),
        (
            "separate: {mask: {wiener: 100}}",
            "18: separate.mask must be 'default', 'paper', 'binary' or 'divergence', or {wiener: e} with a number e",
        ),
        ("cluster: {scheduler: 'inproc://1'}", "22: cluster.scheduler must be 'local', an address such as tcp://"),
        ("evaluate: {}", "1: the key 'references' is missing in evaluate, expected text"),
        ("evaluate: {references: x.wav}", "24: evaluate.references must be a path with {source} in it, and"),
        (
            "evaluate: {references: '{source.x}'}",
            "24: evaluate.references must be a path with {source} in it",
        ),
        ("evaluate: {references: '{source}{'}", "24: evaluate.references must be a path with {source} in it"),
        (
            "evaluate: {references: '{source}', metrics: [si_srd]}",
            "46: no metric named 'si_srd' is installed, expected 'sar', 'sdr', 'si_sdr', 'sir' or 'stoi', "
            "did you mean 'si_sdr'?",
        ),
        ("name: other", "1: duplicate key 'name', first given in line 1"),
    ],
)
def test_each_fault_says_where_what_got_and_expected(problems: Problems, line: str, what: str) -> None:
    (said,) = problems(MINIMAL + line + "\n")
    assert said.startswith(f"p.yaml:5:{what}")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("s: {}", "11: sources.s has neither 'audio' nor 'model', expected one of them"),
        (
            "s: {audio: a, model: m.safetensors}",
            "25: sources.s has 'audio' and 'model', expected only one of them",
        ),
        ("s: {model: gone.safetensors}", "22: sources.s.model is not there, got 'gone.safetensors' (in "),
        (
            "s: {model: m.pkl}",
            "22: sources.s.model is not a model file, got 'm.pkl', expected an existing .safe",
        ),
        ("s: 3", "14: sources.s must be a mapping, got 3"),
        ("s: {audio: [a, 3]}", "26: sources.s.audio[1] must be text or a mapping, got 3: put it in quotes"),
        (
            "s: {audio: a, components: 1e9}",
            "37: sources.s.components must be a whole number from 1 to 4096, got 1e9",
        ),
        ("a/b: {audio: a}", "11: the name 'a/b' is not allowed, expected a name that can be a file's"),
        (".a: {audio: a}", "11: the name '.a' is not allowed"),
        ("'a ': {audio: a}", "11: the name 'a ' is not allowed"),
        ('"a\\nb": {audio: a}', "11: the name 'a\\nb' is not allowed"),
        (f"{'a' * 121}: {{audio: a}}", f"11: the name '{'a' * 76}... is not allowed"),
        (
            "x: {audio: a}, no: {audio: a}",
            "26: YAML reads the key no as false, expected text: put it in quotes",
        ),
    ],
)
def test_faults_of_sources(problems: Problems, tmp_path: Path, source: str, what: str) -> None:
    (tmp_path / "m.safetensors").touch()
    (said,) = problems(MINIMAL.replace("s: {audio: a.wav}", source))
    assert said.startswith(f"p.yaml:4:{what}")


def test_a_source_may_be_a_model_that_exists(load: Load, problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").touch()
    text = MINIMAL.replace("audio: a.wav", "model: m.safetensors")
    assert load(text).as_json()["sources"] == {"s": {"model": "m.safetensors"}}
    (said,) = problems(text.replace("model:", "components: 5, model:"))
    assert "sources.s.components only has a meaning with 'audio'" in said


@pytest.mark.parametrize(
    ("transform", "what"),
    [
        (
            "{toy: {hop_lenght: 3}}",
            "24: unknown key 'hop_lenght' in transforms.t.toy, did you mean 'hop_length'?",
        ),
        ("{toy: {n_fft: 1}}", "31: transforms.t.toy.n_fft must be a whole number at least 2, got 1"),
        (
            "{toy: {window: no}}",
            "32: transforms.t.toy.window must be text, got no, which YAML reads as false: put",
        ),
        (
            "{toy: {calibration: noize}}",
            "37: transforms.t.toy.calibration must be 'tone' or 'noise', got 'noize',",
        ),
        ("{toy: {n_fft: 4, hop_length: 8}}", "23: transforms.t.toy: hop_length must not exceed n_fft"),
        ("{toy: 3}", "17: transforms.t must be one transform with its options"),
        ("toy:n_fft=x", "14: transforms.t.n_fft must be a whole number at least 2, got 'x'"),
        ("toy:n_fft", "17: transforms.t must be one transform with its options, such as {name: {option"),
        ("{stfft: {}}", "18: no transform named 'stfft' is installed, expected 'lossy' or 'toy'"),
        (
            "tooy",
            "17: no transform named 'tooy' is installed, expected 'lossy' or 'toy', did you mean 'toy'?",
        ),
        ("{toy: {}, lossy: {}}", "17: transforms.t must be one transform with its options"),
        ("3", "17: transforms.t must be one transform with its options"),
        (
            "lossy",
            "14: separate.synthesize needs a transform that can be inverted, got 't' (lossy), the first",
        ),
    ],
)
def test_faults_of_transforms(problems: Problems, transform: str, what: str) -> None:
    (said,) = problems(MINIMAL.replace("t: toy", f"t: {transform}"))
    assert said.startswith(f"p.yaml:3:{what}")


def test_a_transform_that_cannot_be_inverted_cannot_synthesize(problems: Problems, valid: str) -> None:
    (said,) = problems(valid.replace("synthesize: fine", "synthesize: rough"))
    assert said == "p.yaml:15:24: separate.synthesize needs a transform that can be inverted, got 'rough' (lossy)"


def test_a_plugin_that_breaks_is_one_problem_among_others(problems: Problems) -> None:
    class BadConfig(BaseModel):
        size: int = 1

        @field_validator("size")
        @classmethod
        def _broken(cls, value: int) -> int:
            raise RuntimeError("the plugin is broken\nsecond line")

    class Bad:
        Config = BadConfig

    class NoConfig:
        pass

    registry.transforms.register("bad", Bad)
    registry.transforms.register("bare", NoConfig)
    said = problems(MINIMAL.replace("t: toy", "t: {bad: {size: 2}}, u: bare") + "store: x\n")
    assert said == [
        "p.yaml:3:23: transforms.t.bad: the plugin is broken",
        "p.yaml:3:38: the plugin of 'bare' has no Config, so it cannot be used",
        "p.yaml:5:8: store must be 'zarr' or 'none', got 'x'",
    ]


def test_all_errors_of_a_file_come_at_once_in_reading_order(problems: Problems) -> None:
    text = """\
nam: x
corpus:
  mixtures: []
  sample_rate: fast
  sample_rate: 3
transforms:
  fine:
    toy: {hop_lenght: 3}
  other: {tooy: {}}
sources:
  a/b: {audio: x, components: 0}
  b: {}
fit: {analyze: [fin], field: hatt}
separate: {synthesize: otter}
evaluate: {metrics: [sdrr]}
stor: zarr
"""
    said = problems(text)
    assert [line.split(": ")[0] for line in said] == [
        "p.yaml:1:1",
        "p.yaml:3:13",
        "p.yaml:4:16",
        "p.yaml:5:3",
        "p.yaml:8:11",
        "p.yaml:9:11",
        "p.yaml:11:3",
        "p.yaml:11:31",
        "p.yaml:12:3",
        "p.yaml:13:17",
        "p.yaml:13:30",
        "p.yaml:14:24",
        "p.yaml:15:1",
        "p.yaml:15:22",
        "p.yaml:16:1",
    ]


def test_a_misspelt_key_is_not_also_missing(problems: Problems) -> None:
    assert problems(MINIMAL.replace("sources:", "sorces:")) == [
        "p.yaml:4:1: unknown key 'sorces', did you mean 'sources'?"
    ]


def test_thousands_of_errors_are_cut_short(problems: Problems) -> None:
    said = problems(MINIMAL + "".join(f"extra{i}: 1\n" for i in range(3000)))
    assert len(said) == MAX_PROBLEMS + 1
    assert said[-1].endswith("more problems")


def test_names_in_the_thousands_do_not_take_minutes(problems: Problems) -> None:
    transforms = ", ".join(f"t{i}: toy" for i in range(3000))
    text = MINIMAL.replace("t: toy", transforms)
    text += f"fit: {{analyze: [{', '.join(f'u{i}' for i in range(3000))}]}}\n"
    assert any("transforms must be a mapping" in line for line in problems(text))


def test_relative_files_are_found_beside_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "p.yaml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load_pipeline("sub/p.yaml").base == tmp_path / "sub"


def test_transforms_that_are_used_together_have_one_calibration(problems: Problems, valid: str) -> None:
    changed = valid.replace("plain: toy", "plain: toy:calibration=noise").replace("[fine, rough]", "[fine, plain]")
    (said,) = problems(changed)
    assert "fit.analyze names transforms of different calibrations, which cannot be joined" in said
    assert "fine: tone, plain: noise" in said
