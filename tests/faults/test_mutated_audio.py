"""Recordings with damaged bytes: none stops a run or holds it up, and each that cannot be used has its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inmf_flow.testing.faults import mutated_audio

# (seed, number of files): 500 in all, shared out.
FILES = [(1, 40), *(pytest.param(seed, 50, marks=pytest.mark.full) for seed in range(2, 12))]
MOST_SECONDS = 30


@pytest.mark.parametrize(("seed", "count"), FILES)
def test_a_run_over_mutated_audio_ends_with_a_reason_for_each_file(
    seed: int, count: int, unrun: Any, scheduler: str, tmp_path: Any
) -> None:
    from inmf_flow.pipeline import run_pipeline

    project = unrun.copy(tmp_path / "project")
    for name, content in mutated_audio(seed, count):
        for folder in ("mixtures", "male"):
            (project.folder / folder / f"mutated-{name}").write_bytes(content)
    pipeline = project.folder / "pipeline.yaml"
    text = pipeline.read_text().replace("mixtures/*.wav", "mixtures/*").replace("male/*.wav", "male/*", 1)
    pipeline.write_text("".join(line for line in text.splitlines(True) if "evaluate" not in line))
    # Workers are processes: a decoder that crashes takes one of them with it, and not this one.
    outcome = run_pipeline(pipeline, output=project.output, scheduler=scheduler)
    assert outcome.stages["fit"].failed == 0
    for stage, whole in (("analyze", 2), ("separate", 1)):
        counts = outcome.counts[stage]
        assert counts["done"] + counts["failed"] == count + whole
        # Some are damaged where it shows, and some are not.
        assert whole < counts["done"] < count
        reasons = [(item, reason) for failed, item, reason in outcome.failures if failed == stage]
        assert len(reasons) == counts["failed"]
        for item, reason in reasons:
            assert "mutated-" in item
            assert len(reason) > 20
            assert "\n" not in reason
            assert "unexpected" not in reason, (item, reason)
    assert (project.output / "separated/one/male.wav").is_file()
    events = [json.loads(line) for line in (project.output / "events.jsonl").read_text().splitlines()]
    slow = [e for e in events if e["event"] == "item" and e["stage"] != "fit" and e["seconds"] > MOST_SECONDS]
    assert slow == []
    again = run_pipeline(pipeline, output=project.output, scheduler=scheduler)
    assert again.did_nothing
    assert len(again.failures) == len(outcome.failures)
