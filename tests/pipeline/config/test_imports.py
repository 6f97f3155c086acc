from __future__ import annotations

import subprocess
import sys

from inmf_flow.pipeline.config.kinds import BUILT_IN_DIVERGENCES, BUILT_IN_FIELDS, BUILT_IN_METRICS


def output_of(code: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return ran.stdout.split()


def test_validating_imports_nothing_heavy() -> None:
    loaded = output_of("import sys, inmf_flow.pipeline.config; print(*sys.modules)")
    heavy = {"torch", "scipy", "librosa", "dask", "distributed", "zarr", "matplotlib"}
    assert not heavy & set(loaded)


def test_the_names_written_down_here_are_those_of_the_parts_themselves() -> None:
    # In a process of its own, because the parts register themselves once, when they are first imported.
    registered = output_of(
        "import inmf_flow.factorize, inmf_flow.evaluate\n"
        "from inmf_flow.registry import divergences, fields, metrics\n"
        "print(*fields._entries, *divergences._entries, *metrics._entries)"
    )
    assert sorted(registered) == sorted([*BUILT_IN_FIELDS, *BUILT_IN_DIVERGENCES, *BUILT_IN_METRICS])
