"""Workers and schedulers with other software than the driver's are refused before anything is done, or not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from distributed import Client

from inmf_flow._version import __version__
from inmf_flow.errors import ClusterError
from inmf_flow.pipeline import load_pipeline
from inmf_flow.pipeline.dispatch import TaskQueue, dispatch
from inmf_flow.pipeline.versions import (
    Software,
    check_here,
    differences,
    software_at,
    software_here,
    used_plugins,
    worker_problem,
)
from inmf_flow.pipeline.workers import Workers

HERE = Software(
    (("python", "3.11.2"), ("inmf-flow", "0.1.0"), ("dask", "2026.8.0"), ("torch", "2.6.0+cpu"), ("zarr", "3.1.6")),
    (("transform", "stft", "inmf-flow 0.1.0"), ("transform", "wobble", "inmf-wobble 1.0")),
)


def _other(**packages: str) -> Software:
    named = {name.replace("_", "-"): version for name, version in packages.items()}
    return Software(tuple({**dict(HERE.packages), **named}.items()), HERE.plugins)


@pytest.mark.parametrize(
    ("there", "matters"),
    [
        ({"python": "3.12.2"}, True),
        ({"python": "3.11.9"}, False),
        ({"dask": "2026.9.0"}, True),
        ({"dask": "2026.8.1"}, False),
        ({"torch": "2.5.1+cpu"}, True),
        ({"torch": "2.6.1+cpu"}, False),
        ({"torch": "none"}, True),
        ({"inmf_flow": "0.1.1"}, True),
        ({"zarr": "4.1.6"}, True),
    ],
)
def test_what_decides_results_or_messages_has_to_be_the_same(there: dict[str, str], matters: bool) -> None:
    (difference,) = differences(HERE, _other(**there))
    assert difference.matters is matters
    assert (worker_problem(HERE, "w", _other(**there)) is not None) is matters


def test_builds_of_one_release_for_other_devices_are_the_same() -> None:
    assert differences(HERE, _other(torch="2.6.0+cu124")) == []
    assert differences(HERE, HERE) == []


def test_a_plugin_of_another_version_or_none_names_what_to_install() -> None:
    there = Software(HERE.packages, (("transform", "stft", "inmf-flow 0.1.0"), ("transform", "wobble", "none")))
    assert str(worker_problem(HERE, "tcp://w:1 (node7)", there)) == (
        "tcp://w:1 (node7): a worker has other software than this process; got transform wobble none; "
        "expected transform wobble inmf-wobble 1.0. Run there: pip install 'inmf-wobble==1.0'."
    )


def test_the_message_names_all_differences_and_one_command() -> None:
    problem = str(worker_problem(HERE, "w", _other(python="3.13.1", inmf_flow="none", torch="2.4.0")))
    assert "got python 3.13.1, inmf-flow none, torch 2.4.0;" in problem
    assert problem.endswith("Use Python 3.11 there. Run there: pip install 'inmf-flow==0.1.0' 'torch==2.6.*'.")


def test_the_plugins_of_a_pipeline_are_those_that_it_uses(project: Any) -> None:
    pipeline = load_pipeline(project.file, ["fit.time_field=matrix", "evaluate.metrics=[si_sdr, stoi]"])
    assert used_plugins(pipeline) == (
        ("divergence", "kullback-leibler"), ("field", "hat"), ("field", "matrix"),
        ("metric", "si_sdr"), ("metric", "stoi"), ("transform", "stft"),
    )  # fmt: skip


def test_workers_say_what_they_run(scheduler: str) -> None:
    used = (("transform", "stft"), ("transform", "absent"))
    with Client(scheduler) as client:
        answers = software_at(client, used)
    assert len(answers) == 2
    assert set(answers.values()) == {software_here(used)}
    assert software_here(used).plugins[1] == ("transform", "absent", "none")
    assert dict(software_here(used).packages)["inmf-flow"] == __version__


def test_a_task_is_not_done_where_the_software_is_another() -> None:
    check_here(software_here((("transform", "stft"),)))
    with pytest.raises(ClusterError, match="other software than the run; got inmf-flow"):
        check_here(Software((("inmf-flow", "9.9"),)))


def _refused(fresh: Any, inmf: Callable[..., Any], address: str, **more: Any) -> str:
    done = inmf("run", fresh.file, "--scheduler", address, cwd=fresh.folder, **more)
    assert done.code == 2, done.err
    (line,) = done.err.splitlines()
    assert fresh.document()["status"] == "failed"
    assert not (fresh.output / "points.zarr").exists()
    return str(line)


def test_a_worker_without_inmf_flow_is_named_at_the_start(
    fresh: Any, inmf: Callable[..., Any], dask_processes: Any, with_versions: Callable[..., dict[str, str]]
) -> None:
    address = dask_processes.scheduler()
    dask_processes.worker("--name", "bare", env=with_versions(inmf_flow=None, torch="2.0.1"))
    line = _refused(fresh, inmf, address)
    assert "(bare): a worker has other software than this process; got inmf-flow none, torch 2.0.1; expected " in line
    assert f"Run there: pip install 'inmf-flow=={__version__}' 'torch==" in line


def test_a_scheduler_of_another_installation_is_named_at_the_start(
    fresh: Any, inmf: Callable[..., Any], dask_processes: Any, with_versions: Callable[..., dict[str, str]]
) -> None:
    address = dask_processes.scheduler(env=with_versions(inmf_flow="0.0.1", distributed="2024.8.0"))
    dask_processes.worker()
    line = _refused(fresh, inmf, address)
    assert line.startswith(f"inmf: {address}: the scheduler has other software than this process; ")
    assert "got inmf-flow 0.0.1, distributed 2024.8.0; expected " in line


@pytest.mark.full
def test_a_scheduler_needs_dask_alone(
    fresh: Any, dask_processes: Any, with_versions: Callable[..., dict[str, str]]
) -> None:
    fresh.scheduler = dask_processes.scheduler(env=with_versions(inmf_flow=None, torch=None, zarr=None))
    dask_processes.worker()
    fresh.run("--set", "evaluate=null", "--set", "fit.max_iter=2", "--set", "separate.max_iter=2")
    assert fresh.done() == {"analyze": 4, "fit": 2, "separate": 3, "report": 1}


def test_a_plugin_that_only_the_driver_has_is_named_with_its_distribution(
    fresh: Any, inmf: Callable[..., Any], tmp_path: Any
) -> None:
    site = tmp_path / "site"
    info = site / "inmf_twin-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "inmf_twin.py").write_text(
        "from inmf_flow.hookspecs import hookimpl\n"
        "from inmf_flow_stft.transform import Stft\n"
        "class Twin(Stft):\n    name = 'twin'\n"
        "@hookimpl\ndef register_transforms(register):\n    register(Twin)\n"
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: inmf-twin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[inmf_flow]\ntwin = inmf_twin\n")
    fresh.file.write_text(fresh.file.read_text().replace("stft:", "twin:"))
    line = _refused(fresh, inmf, fresh.scheduler, env={"PYTHONPATH": str(site)})
    assert (
        "a worker has other software than this process; got transform twin none; expected transform twin inmf-twin"
        in line
    )
    assert "pip install 'inmf-twin==1.0'. 2 of 2 workers cannot be used." in line


@pytest.mark.full
def test_a_worker_that_joins_with_other_software_gets_no_work(
    dask_processes: Any, separations: Any, with_versions: Callable[..., dict[str, str]]
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    address = dask_processes.scheduler()
    dask_processes.worker("--name", "good")
    with Client(address) as client:
        client.wait_for_workers(1)
        workers = Workers(client, software_here((("transform", "stft"),)), lambda event, **k: told.append((event, k)))
        dask_processes.worker("--name", "bare", env=with_versions(inmf_flow=None))
        dask_processes.worker("--name", "old", env=with_versions(zarr="2.18.0"))

        def tasks() -> Any:
            number = 0
            while [event for event, _ in told].count("worker_refused") < 2:
                assert number < 500, told
                yield separations(f"early-{number}")
                number += 1
            for more in range(6):
                yield separations(f"late-{more}")

        queue = TaskQueue.of("separate", tasks())
        receipts = [receipt for _, each in dispatch(client, queue, workers=workers) for receipt in each]
        executed = client.run(lambda dask_worker: (dask_worker.name, dask_worker.state.executed_count))
    assert [receipt.entry.reason for receipt in receipts if receipt.entry.status != "done"] == []
    assert len(receipts) >= 6
    reasons = {known["name"]: known["reason"] for event, known in told if event == "worker_refused"}
    assert "inmf-flow none" in reasons["bare"]
    assert "zarr 2.18.0" in reasons["old"]
    assert set(workers.refused) == {known["worker"] for event, known in told if event == "worker_refused"}
    assert dict(executed.values())["good"] >= len(receipts)
