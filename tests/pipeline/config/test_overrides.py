from __future__ import annotations

from collections.abc import Callable

import pytest

from inmf_flow.pipeline.config import Pipeline

Load = Callable[..., Pipeline]
Problems = Callable[..., list[str]]


def test_values_are_read_as_yaml_and_replace_the_file(load: Load, valid: str) -> None:
    overrides = [
        "fit.tol=1e-4",
        "corpus.mixtures=[a.wav, b.wav]",
        "corpus.mixtures.1=c.wav",
        "sources.bob jr..components=5",
        "transforms.rough.lossy.n_fft=64",
        "report.items=3",
        "cluster.workers=",
        "output=out=put",
    ]
    pipeline = load(valid, overrides)
    assert pipeline.fit.tol == 1e-4
    assert pipeline.corpus.mixtures == ("a.wav", "c.wav")
    assert pipeline.sources["bob jr."].components == 5
    assert pipeline.transforms["rough"].options["n_fft"] == 64
    assert pipeline.report.items == 3
    assert pipeline.cluster.workers is None
    assert pipeline.output == "out=put"


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("fit.tol=x", "--set fit.tol: fit.tol must be a number at least 0, got 'x'"),
        ("fit.tol=[", "--set fit.tol: not valid YAML: "),
        ("fit.tol={a: 1, a: 2}", "--set fit.tol: duplicate key 'a', first given in line 1"),
        ("fit={tol: x}", "--set fit: fit.tol must be a number at least 0, got 'x'"),
        ("fti.tol=1", "--set fti: unknown key 'fti', did you mean 'fit'?"),
        ("fit.toll=1", "--set fit.toll: unknown key 'toll' in fit, did you mean 'tol'?"),
        ("name=no", "--set name: name must be text, got no, which YAML reads as false: put it in quotes"),
        ("name.x=1", "--set name.x: name is 'two-speakers', so nothing can be set in it"),
        (
            "sources.bob jr..audio.9=x",
            "--set sources.bob jr..audio.9: sources.bob jr..audio is a list, so",
        ),
        ("fit.tol", "--set fit.tol: expected KEY=VALUE, such as fit.max_iter=50"),
        ("=3", "--set =3: expected KEY=VALUE"),
        ("fit" + ".a" * 100 + "=1", "--set fit.a.a"),
        (
            "corpus.sample_rate=1",
            "--set corpus.sample_rate: corpus.sample_rate must be a whole number from 100",
        ),
    ],
)
def test_the_command_line_is_the_place_of_its_errors(problems: Problems, valid: str, override: str, what: str) -> None:
    said = problems(valid, [override])
    expected = what.replace("--set fti:", "--set fti.tol:") if override.startswith("fti") else what
    assert any(line.startswith(expected) for line in said), said


def test_the_file_keeps_its_places_beside_them(problems: Problems, valid: str) -> None:
    said = problems(valid.replace("workers: 2", "workers: x"), ["fit.tol=x"])
    assert said[0].startswith("p.yaml:17:38: cluster.workers must be")
    assert said[1].startswith("--set fit.tol: fit.tol must be")
