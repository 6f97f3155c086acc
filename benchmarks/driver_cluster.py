"""A local Dask cluster whose workers do no audio work: what is left is what the driver of a run costs.

`cluster` is the factory that the pipeline of `driver.py` names as its scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Seconds of audio that each simulated item is said to last.
ITEM_SECONDS = 5.0
# What stands for a separated file; the size differs from that of the inputs.
_OUTPUT = b"simulated estimate"


def cluster() -> Any:
    """Return a client of two worker processes whose stages are simulated."""
    from distributed import Client, LocalCluster, WorkerPlugin

    class Simulated(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            from driver_cluster import simulate

            simulate()

    options = {"dashboard": False}
    made = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        scheduler_kwargs=options,
        memory_limit=0,
    )
    client = Client(made)
    client.register_plugin(Simulated())
    return client


def simulate() -> None:
    """Put stages that only write small files in the place of those that work."""
    from inmf_flow.pipeline import tasks

    tasks._STAGES["fit"] = _fit
    tasks._STAGES["separate"] = _separate
    tasks._STAGES["evaluate"] = _evaluate


def _receipt(item: str, inputs: Mapping[str, str], files: list[Path], folder: Path, extra: dict[str, Any]) -> Any:
    from inmf_flow.pipeline.ledger import Entry, describe_output
    from inmf_flow.pipeline.tasks import Receipt

    outputs = {name: known for path in files for name, known in describe_output(folder, path).items()}
    return Receipt(Entry(item, inputs, "done", outputs=outputs, extra=extra), 0.0)


def _fit(task: Any) -> list[Any]:
    made = []
    for item, inputs, payload in task.items:
        path = task.run_folder / "models" / f"{item}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Path(payload["model"]).read_bytes())
        made.append(_receipt(item, inputs, [path], task.run_folder, {"items": [], "n_components": 2}))
    return made


def _separate(task: Any) -> list[Any]:
    made = []
    for item, inputs, _ in task.items:
        folder = task.run_folder / "separated" / item
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{source}.wav" for source in task.settings["models"]]
        for path in files:
            path.write_bytes(_OUTPUT)
        extra = {"duration": ITEM_SECONDS, "sample_rate": 16000, "channels": 1, "notes": []}
        made.append(_receipt(item, inputs, files, task.run_folder, extra))
    return made


def _evaluate(task: Any) -> list[Any]:
    made = []
    for item, inputs, payload in task.items:
        rows = [[source, "si_sdr", 10.0, 0.0, 10.0] for source in payload["references"]]
        made.append(_receipt(item, inputs, [], task.run_folder, {"rows": rows}))
    return made
