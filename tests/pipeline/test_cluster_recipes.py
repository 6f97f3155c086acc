"""docs/clusters.md and the files of deploy/: what users copy works as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from distributed import LocalCluster

from inmf_flow.errors import ClusterError
from inmf_flow.pipeline import load_pipeline
from inmf_flow.pipeline.cluster import Certificates, open_client

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _document() -> str:
    return (ROOT / "docs/clusters.md").read_text(encoding="utf-8")


def _commands(beginning: str) -> list[list[str]]:
    """Return the shell commands of the page that begin so, without the variables before them."""
    blocks = [body for kind, body in _FENCE.findall(_document()) if kind == "sh"]
    lines = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line) for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(beginning)]


def _certificates(folder: Path) -> Certificates:
    (command,) = _commands("sh deploy/tls/make-certificates.sh")
    subprocess.run([command[0], str(ROOT / command[1]), str(folder / command[2])], check=True, capture_output=True)
    return Certificates(*(folder / command[2] / name for name in ("ca.pem", "cert.pem", "key.pem")))


def test_the_commands_of_the_page_make_a_cluster_under_tls_that_nobody_else_can_use(
    fresh: Any, inmf: Any, dask_processes: Any, tmp_path: Path
) -> None:
    tls = _certificates(dask_processes.folder)
    assert tls.key is not None
    assert tls.key.stat().st_mode & 0o077 == 0
    (scheduler,) = _commands("dask scheduler")
    address = dask_processes.scheduler(*scheduler[2:], "--port", "0", "--no-dashboard")
    assert address.startswith("tls://127.0.0.1:")
    worker, gpu = _commands("dask worker")
    here = ["--nworkers", "1", "--host", "127.0.0.1"]
    dask_processes.start("worker", address, *worker[3:], *here)
    dask_processes.start("worker", address, *gpu[3:], *here)
    log = dask_processes.folder / "log"
    dask_processes.wait_for(lambda: log.read_text().count("Registered to:") == 2)

    (block,) = (body for kind, body in _FENCE.findall(_document()) if kind == "yaml" and "tls: {ca:" in body)
    section = yaml.safe_load(block.replace("tls://HOST:8786", address))["cluster"]
    fresh.file.write_text(
        re.sub(r"(?m)^cluster:.*$", f"cluster: {{scheduler: '{address}', tls: TLS}}", fresh.file.read_text()).replace(
            "TLS", str(section["tls"])
        )
    )
    (fresh.folder / "tls").symlink_to(tls.ca.parent)
    options = ["--set", "cluster.resources={fit: {GPU: 1}}", "--set", "evaluate=null", "--set", "separate.max_iter=2"]
    done = inmf("run", fresh.file, *options, cwd=fresh.folder)
    assert done.code == 0, done.err
    assert fresh.done() == {"analyze": 4, "fit": 2, "separate": 3, "report": 1}
    assert fresh.document()["pipeline"]["cluster"]["tls"]["key"] == "tls/key.pem"

    strange = _certificates(tmp_path)
    with pytest.raises(ClusterError, match=r"no scheduler answers.*certificates of the same authority"):
        _open(address, strange, seconds=3)


def _open(address: str, tls: Certificates, seconds: float = 20) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inmf_flow.pipeline.cluster._CONNECT_SECONDS", seconds)
        with open_client(address, None, tls=tls):
            pass


def test_a_certificate_that_is_not_there_is_named() -> None:
    tls = Certificates(Path("ca.pem"), Path("cert.pem"))
    with pytest.raises(ClusterError, match=r"cluster\.tls\.ca: a certificate's file cannot be read; got ca\.pem"):
        _open("tls://127.0.0.1:1", tls)


@pytest.fixture
def jobqueue(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A module in place of dask_jobqueue whose jobs are processes of this machine, and what it was asked for."""
    asked: list[dict[str, Any]] = []

    class SLURMCluster(LocalCluster):
        """As the real one in what the file uses of it."""

        def __init__(self, security: Any, protocol: str, scheduler_options: dict[str, Any], **options: Any) -> None:
            asked.append(options)
            super().__init__(
                n_workers=0, threads_per_worker=1, security=security, protocol=protocol, **scheduler_options
            )

        def scale(self, jobs: int) -> Any:
            asked[-1].setdefault("jobs", jobs)
            return super().scale(min(jobs, 1))

    module = ModuleType("dask_jobqueue")
    module.SLURMCluster = SLURMCluster  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_jobqueue", module)
    monkeypatch.delitem(sys.modules, "inmf_slurm", raising=False)
    monkeypatch.syspath_prepend(str(DEPLOY / "slurm"))
    monkeypatch.setenv("INMF_PARTITION", "batch")
    monkeypatch.setenv("INMF_JOBS", "64")
    return asked


@pytest.mark.parametrize("factory", ["cpus", "gpus"])
def test_the_slurm_file_is_a_factory_with_the_certificates_of_the_pipeline(
    jobqueue: list[dict[str, Any]], tmp_path: Path, factory: str
) -> None:
    with open_client(f"inmf_slurm:{factory}", None, tls=_certificates(tmp_path)) as client:
        assert client.scheduler.address.startswith("tls://")
        assert client.submit(abs, -2).result() == 2
    (options,) = jobqueue
    known = {"queue": "batch", "cores": 1, "processes": 1, "jobs": 64, "walltime": "04:00:00"}
    assert known.items() <= options.items()
    assert ("--resources" in options["worker_extra_args"]) is (factory == "gpus")
    assert ("--gres=gpu:1" in options.get("job_extra_directives", ())) is (factory == "gpus")


def _manifests() -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found[f"{document['kind']}/{document['metadata']['name']}"] = document
    return found


def _pods() -> dict[str, dict[str, Any]]:
    return {name: each["spec"]["template"] for name, each in _manifests().items() if "template" in each["spec"]}


def test_the_manifests_fit_together() -> None:
    manifests, pods = _manifests(), _pods()
    assert set(pods) == {
        "Deployment/inmf-scheduler", "Deployment/inmf-workers", "Deployment/inmf-gpu-workers", "Job/inmf-duet"
    }  # fmt: skip
    service = manifests["Service/inmf-scheduler"]["spec"]
    policy = manifests["NetworkPolicy/inmf"]["spec"]
    reached = [name for name, pod in pods.items() if service["selector"].items() <= pod["metadata"]["labels"].items()]
    assert reached == ["Deployment/inmf-scheduler"]
    everybody = policy["podSelector"]["matchLabels"].items()
    for name, pod in pods.items():
        assert everybody <= pod["metadata"]["labels"].items(), name
        selector = manifests[name]["spec"].get("selector", {"matchLabels": {}})["matchLabels"]
        assert selector.items() <= pod["metadata"]["labels"].items(), name
        (container,) = pod["spec"]["containers"]
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes), name
        assert volumes["tls"]["secret"]["secretName"] == "inmf-tls"
        if "scheduler" not in name:
            claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
            assert manifests[f"PersistentVolumeClaim/{claim}"]["spec"]["accessModes"] == ["ReadWriteMany"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert "memory" in container["resources"]["limits"]
    (rule,) = manifests["Job/inmf-duet"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == pods["Job/inmf-duet"]["spec"]["containers"][0]["name"]
    assert pods["Job/inmf-duet"]["spec"]["restartPolicy"] == "Never"
    scheduler = pods["Deployment/inmf-scheduler"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in scheduler["ports"]}
    assert service["ports"][0]["port"] == ports[service["ports"][0]["targetPort"]] == 8786
    assert ports[scheduler["readinessProbe"]["httpGet"]["port"]] == 8787
    images = {pod["spec"]["containers"][0]["image"].partition("-cuda")[0] for pod in pods.values()}
    assert len(images) == 1


def test_the_commands_of_the_pods_are_those_of_the_programs(tmp_path: Path) -> None:
    import typer.main
    from distributed.cli import dask_scheduler, dask_worker

    from inmf_flow.cli import app

    programs = {
        ("dask", "scheduler"): dask_scheduler.main,
        ("dask", "worker"): dask_worker.main,
        ("inmf", "run"): typer.main.get_command(app).commands["run"],  # type: ignore[attr-defined]
    }
    tls = _certificates(tmp_path).ca.parent
    for name, pod in _pods().items():
        program, command, *arguments = pod["spec"]["containers"][0]["args"]
        arguments = [each.replace("=/tls/", f"={tls}/") for each in arguments]
        context = programs[program, command].make_context(command, arguments)
        if command == "worker":
            assert context.params["scheduler"] == "tls://inmf-scheduler:8786"
            assert (context.params["nthreads"], str(context.params["n_workers"])) == (1, "1")
            assert (context.params["resources"] == "GPU=1") is ("gpu" in name)
        elif command == "run":
            assert context.params["scheduler"] == "tls://inmf-scheduler:8786"
    assert set(programs) == {tuple(pod["spec"]["containers"][0]["args"][:2]) for pod in _pods().values()}


def test_what_the_driver_sets_is_a_pipeline_that_is_valid(fresh: Any) -> None:
    arguments = _pods()["Job/inmf-duet"]["spec"]["containers"][0]["args"]
    overrides = [argument.removeprefix("--set=") for argument in arguments if argument.startswith("--set=")]
    tls = load_pipeline(fresh.file, overrides).cluster.tls
    assert tls is not None
    assert (tls.ca, tls.cert, tls.key) == ("/tls/ca.pem", "/tls/cert.pem", "/tls/key.pem")


def test_the_page_names_files_that_are_there_and_options_that_are_keys(fresh: Any) -> None:
    text = _document()
    for name in re.findall(r"(?:\b|\")(deploy/[\w./-]+\w)", text):
        assert (ROOT / name).exists(), name
    for block in (body for kind, body in _FENCE.findall(text) if kind == "yaml" and body.startswith("cluster:")):
        load_pipeline(fresh.file, [f"cluster={yaml.safe_load(block)['cluster']}"])


def test_the_image_installs_what_it_is_told_and_runs_as_nobody_special() -> None:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    instructions = {line.split()[0] for line in lines}
    assert {"FROM", "ARG", "RUN", "USER", "CMD"} <= instructions
    assert lines.index("USER 1000") > max(number for number, line in enumerate(lines) if line.startswith("RUN"))
    assert "$PACKAGES" in next(line for line in lines if line.startswith("RUN pip install"))


def test_the_events_of_the_page_are_those_of_a_run(first_run: Any) -> None:
    from inmf_flow.pipeline.events import read_events

    section = _document().split("## Watching", 1)[1]
    listed = {
        name for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    told = {event["event"] for event in read_events(first_run[0].output)}
    assert told <= listed
    of_watching = {"arrived", "watching"}
    assert listed - told <= {"worker_lost", "worker_refused", "progress"} | of_watching
