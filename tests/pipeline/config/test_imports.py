from __future__ import annotations

import subprocess
import sys

from inmf_flow import registry


def output_of(code: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return ran.stdout.split()


def test_validating_imports_nothing_heavy() -> None:
    loaded = output_of("import sys, inmf_flow.pipeline.config; print(*sys.modules)")
    heavy = {"torch", "scipy", "librosa", "dask", "distributed", "zarr", "matplotlib"}
    assert not heavy & set(loaded)


def test_names_of_fields_divergences_and_metrics_are_known_before_their_parts_are_imported() -> None:
    code = (
        "import sys\n"
        "from inmf_flow.pipeline.config import pipeline_from_mapping\n"
        "pipeline_from_mapping({'name': 'n', 'corpus': {'mixtures': 'm.wav'}, 'transforms': {'t': 'stft'},"
        " 'sources': {'s': {'audio': 'a.wav'}}, 'evaluate': {'references': '{source}.wav', 'metrics': 'stoi'},"
        " 'fit': {'field': 'network', 'time_field': 'matrix', 'beta_loss': 'frobenius'}})\n"
        "print(*sys.modules)"
    )
    assert not {"torch", "inmf_flow.factorize", "inmf_flow.evaluate"} & set(output_of(code))


def test_the_names_that_the_tables_know_are_those_of_the_parts_themselves() -> None:
    # In a process of its own, because the parts register themselves once, when they are first imported.
    registered = output_of(
        "import inmf_flow.factorize, inmf_flow.evaluate\n"
        "from inmf_flow.registry import divergences, fields, metrics\n"
        "print(*fields._entries, *divergences._entries, *metrics._entries)"
    )
    tables = (registry.fields, registry.divergences, registry.metrics)
    assert sorted(registered) == sorted(name for table in tables for name in table.built_in)
