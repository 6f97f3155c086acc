"""A disk that fills up during a run: what is whole stays, the run says what is wrong, and goes on later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inmf_flow.errors import InmfError
from inmf_flow.pipeline.ledger import Ledger
from inmf_flow.store import verify_store
from inmf_flow.testing.faults import full_disk

STAGES = ("analyze", "fit", "separate", "evaluate")
# A run needs about 300 kB in pages of 4 KiB.
SIZES = [24_000, 120_000, *(pytest.param(4096 * pages, marks=pytest.mark.full) for pages in range(2, 62, 2))]

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("size", SIZES)
def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    size: int, unrun: Any, undisturbed: Any, tmp_path: Path
) -> None:
    with full_disk(tmp_path / "disk", size) as disk:
        if disk.kind != "tmpfs":
            pytest.skip("this user may not mount a tmpfs")
        output = disk.folder / "run"
        try:
            said = [reason for _, _, reason in unrun.run(output).failures]
        except (InmfError, OSError) as error:
            said = [str(error)]
        assert any("No space left" in reason for reason in said)
        # What was in flight when the driver gave up goes on on this cluster, and may yet be committed.
        unrun.wait_until_idle()
        committed = {stage: Ledger(output).load(stage) for stage in STAGES}
        if (output / "points.zarr/zarr.json").exists():
            assert all("no record" in problem.what for problem in verify_store(output / "points.zarr"))
        for entries in committed.values():
            for entry in entries.values():
                for name, (bytes_written, _) in entry.outputs.items():
                    assert (output / name).stat().st_size == bytes_written
        disk.make_room(16 << 20)
        outcome = unrun.run(output)
        assert (outcome.status, outcome.failures) == ("done", [])
        kept = {
            stage: sum(entry.status == "done" for entry in entries.values()) for stage, entries in committed.items()
        }
        assert {stage: outcome.counts[stage]["reused"] for stage in kept} == kept
        unrun.assert_equals(undisturbed, output)


def test_a_limit_on_the_size_of_files_takes_the_place_of_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with full_disk(tmp_path, 5000) as disk:
        assert disk.kind == "limit"
        (tmp_path / "small").write_bytes(bytes(5000))
        with pytest.raises(OSError, match="File too large"):
            (tmp_path / "large").write_bytes(bytes(5001))
        disk.make_room(1 << 20)
        (tmp_path / "large").write_bytes(bytes(5001))
    assert (tmp_path / "large").stat().st_size == 5001
