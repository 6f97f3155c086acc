"""What only the parts themselves know: options of fields, what an optimizer can fit, which masks there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from inmf_flow import registry
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.separation import parse_mask

Load = Callable[..., Pipeline]
Problems = Callable[..., list[str]]

MINIMAL = "name: n\ncorpus: {mixtures: m.wav}\ntransforms: {t: toy}\nsources: {s: {audio: a.wav}}\n"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (
            "fit: {field: {hat: {noodes: 5}}}",
            "21: unknown key 'noodes' in fit.field.hat, did you mean 'nodes'?",
        ),
        ("fit: {field: 'hat:noodes=5'}", "14: unknown key 'noodes' in fit.field, did you mean 'nodes'?"),
        ("fit: {field: {matrix: {nodes: 5}}}", "24: unknown key 'nodes' in fit.field.matrix, expected no options"),
        (
            "fit: {time_field: 'network:size=5'}",
            "19: unknown key 'size' in fit.time_field, expected 'hidden', 'layers' or 'features'",
        ),
        (
            "fit: {time_field: 'hat:nodes'}",
            "19: fit.time_field must be 'auto', NAME or NAME:key=value,... (an option is not of the form key=value)",
        ),
        ("fit: {time_field: 'auto:nodes=5'}", "19: fit.time_field must be 'auto' alone, got 'auto:nodes=5'"),
        (
            "fit: {field: network, optimizer: mu}",
            "14: fit.field is 'network', which multiplicative updates cannot fit, "
            "expected fit.optimizer to be 'warm', 'rprop'",
        ),
        (
            "fit: {optimizer: mu, field: {network: {}}}",
            "30: fit.field is 'network', which multiplicative updates cannot fit",
        ),
        (
            "fit: {optimizer: mu, time_field: network}",
            "34: fit.time_field is 'network', which multiplicative updates cannot fit",
        ),
    ],
)
def test_what_a_field_cannot_be(problems: Problems, line: str, what: str) -> None:
    (said,) = problems(MINIMAL + line + "\n")
    assert said.startswith(f"p.yaml:5:{what}")


class Spline:
    options: ClassVar = {"knots": 4}

    @classmethod
    def check_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(options["knots"], int):
            raise TypeError("knots must be a whole number\nsecond line")
        return options


def test_options_of_an_installed_field_are_checked_by_it(problems: Problems) -> None:
    registry.fields.register("spline", Spline)
    fit = "fit: {field: {spline: {knots: many}}, optimizer: mu}\n"
    assert problems(MINIMAL + fit) == [
        "p.yaml:5:15: fit.field is 'spline', which multiplicative updates cannot fit, "
        "expected fit.optimizer to be 'warm', 'rprop' or null",
        "p.yaml:5:23: fit.field.spline: knots must be a whole number",
    ]


def test_every_mask_that_is_valid_can_be_used(load: Load) -> None:
    for mask in ("default", "paper", "{wiener: 99.9}", "{wiener: 1e-3}"):
        parse_mask(load(MINIMAL + f"separate: {{mask: {mask}}}\n").separate.mask)


def test_installed_plugins_extend_the_names(load: Load) -> None:
    registry.metrics.register("pesq", object())
    registry.fields.register("spline", Spline)
    registry.divergences.register("hinge", object())
    fit = "fit: {field: spline, time_field: 'spline:knots=3', beta_loss: hinge}\n"
    pipeline = load(MINIMAL + fit + "evaluate: {references: '{source}.wav', metrics: pesq}\n")
    assert pipeline.fit.field.name == "spline"
    assert pipeline.evaluate is not None
    assert pipeline.evaluate.metrics == ("pesq",)
