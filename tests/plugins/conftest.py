"""Throwaway distributions, as pip would have installed them, for tests with real dependents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Every transform of these tests: a subclass of the STFT costs three lines and works.
HEADER = """
from inmf_flow.hookspecs import hookimpl
from inmf_flow_stft.transform import Stft
"""


@dataclass
class Site:
    """A folder of installed distributions."""

    folder: Path

    def install(
        self,
        distribution: str,
        entry_points: dict[str, str] | str,
        modules: dict[str, str] | None = None,
        *,
        version: str = "1.2.3",
        metadata: bool = True,
    ) -> None:
        """Write modules (text after a common header) and a dist-info folder with entry points."""
        for name, source in (modules or {}).items():
            (self.folder / f"{name}.py").write_text(HEADER + textwrap.dedent(source))
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        if isinstance(entry_points, dict):
            lines = [f"{name} = {value}" for name, value in entry_points.items()]
            entry_points = "\n".join(["[inmf_flow]", *lines, ""])
        (info / "entry_points.txt").write_text(entry_points)

    def run(
        self, code: str, *, arguments: Sequence[str] = (), check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in a fresh process that sees the distributions."""
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(code), *arguments],
            env={**os.environ, "PYTHONPATH": str(self.folder), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def records(self, **environment: str) -> dict[str, dict[str, Any]]:
        """Load everything in a fresh process; each plugin's record by its key, in the order of loading."""
        code = """
            import dataclasses, json
            from inmf_flow.plugins import plugin_records
            print(json.dumps([(r.key, dataclasses.asdict(r)) for r in plugin_records()]))
        """
        return dict(json.loads(self.run(code, **environment).stdout.splitlines()[-1]))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    return Site(folder)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def transform(name: str, body: str = "pass") -> str:
    """Source of a plugin with one transform."""
    return (
        f"class T(Stft):\n    name = {name!r}\n    {body}\n\n\n"
        "@hookimpl\ndef register_transforms(register):\n    register(T)\n"
    )


@pytest.fixture(scope="session")
def transform_source() -> Any:
    return transform
